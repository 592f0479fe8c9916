"""Processors and memory are those of the container, where it has less than the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixelplum import host

MB = 1 << 20
AFFINITY = len(os.sched_getaffinity(0))


class Fake:
    """A root folder with the files that the kernel would show."""

    def __init__(self, root: Path, groups: str, mounts: str):
        self.root = root
        self.write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 10240000 kB\n")
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", mounts)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def seen(self) -> tuple[int, int]:
        return host.cores(self.root), host.available_bytes(self.root) // MB


SECOND = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
FIRST = """32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"""


def test_host_without_limits(tmp_path):
    fake = Fake(tmp_path, "0::/user.slice", SECOND)
    assert fake.seen() == (AFFINITY, 10_000)
    fake.write("sys/fs/cgroup/user.slice/memory.max", "max")
    fake.write("sys/fs/cgroup/user.slice/memory.current", "1000000")
    fake.write("sys/fs/cgroup/user.slice/cpu.max", "max 100000")
    assert fake.seen() == (AFFINITY, 10_000)
    assert host.available_bytes() > 0
    assert 1 <= host.cores() <= AFFINITY


def test_second_version(tmp_path):
    """0.7 told of the host's 22 GB in a container of 400 MB, which the kernel then ended."""
    fake = Fake(tmp_path, "0::/", SECOND)
    fake.write("sys/fs/cgroup/memory.max", str(400 * MB))
    fake.write("sys/fs/cgroup/memory.current", str(300 * MB))
    fake.write("sys/fs/cgroup/memory.stat", f"anon 1\nfile {90 * MB}\nactive_file {50 * MB}\ninactive_file {30 * MB}")
    fake.write("sys/fs/cgroup/cpu.max", "100000 100000")
    assert fake.seen() == (1, 180)


def test_first_version(tmp_path):
    fake = Fake(tmp_path, "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/", FIRST)
    fake.write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", str(400 * MB))
    fake.write("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", str(300 * MB))
    fake.write("sys/fs/cgroup/memory/docker/abc/memory.stat", f"active_file 1\ntotal_active_file {50 * MB}")
    fake.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000")
    fake.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    assert fake.seen() == (1, 150)
    fake.write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", str(9223372036854771712))
    fake.write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1")
    assert fake.seen() == (AFFINITY, 10_000)


def test_limits_of_groups_above_count(tmp_path):
    fake = Fake(tmp_path, "0::/shop.slice/database.service", SECOND)
    fake.write("sys/fs/cgroup/shop.slice/database.service/memory.max", "max")
    fake.write("sys/fs/cgroup/shop.slice/database.service/memory.current", "1")
    fake.write("sys/fs/cgroup/shop.slice/memory.max", str(500 * MB))
    fake.write("sys/fs/cgroup/shop.slice/memory.current", str(100 * MB))
    fake.write("sys/fs/cgroup/shop.slice/cpu.max", "90000 100000")
    assert fake.seen() == (1, 400)


def test_container_sees_its_group_as_the_top(tmp_path):
    """Without a namespace of groups, the process's path is that of the host, and the mount is of the group itself."""
    mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    fake = Fake(tmp_path, "4:memory:/docker/abc\n0::/", mounts)
    fake.write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(400 * MB))
    fake.write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(500 * MB))
    assert fake.seen() == (AFFINITY, 0)


TOP = Path("/sys/fs/cgroup")
LIMITS = {
    TOP: {"memory.max": "300000000", "cpu.max": "100000 100000"},
    TOP / "memory": {"memory.limit_in_bytes": "300000000"},
    TOP / "cpu": {"cpu.cfs_quota_us": "100000"},
}
"""Where groups of the second and the first version are made, and what they are told."""


def test_real_group():
    """A process in groups that are made for it."""
    made = []
    try:
        for top, limits in LIMITS.items():
            if not (top / "cgroup.procs").exists():
                continue
            group = top / f"pixelplum-{os.getpid()}"
            group.mkdir()
            made.append(group)
            for name, text in limits.items():
                (group / name).write_text(text)
        join = "".join(f"open('{group}/cgroup.procs', 'w').write('0');" for group in made)
        code = f"{join} from pixelplum import host; print(host.cores(), host.available_bytes())"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no group can be made here: {error}")
    finally:
        for group in made:
            group.rmdir()
    if not made:
        pytest.skip("there are no groups here")
    cores, available = map(int, output.split())
    assert cores == 1
    assert 100e6 < available <= 300e6
