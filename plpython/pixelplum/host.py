"""What this host lets a process have, as the limits of the containers (cgroups, of both versions) are that it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """Return the number of processors, at least one: a part of a processor counts as one.

    Parameters
    ----------
    root : pathlib.Path
        The folder that holds `proc` and `sys`.
    """
    fractions = [len(os.sched_getaffinity(0))]
    for group in _groups("cpu", root):
        quota, *period = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") or ["max"]
        period = period or _words(group / "cpu.cfs_period_us")
        if quota not in ("max", "-1") and period:
            fractions.append(ceil(int(quota) / int(period[0])))
    return max(1, min(fractions))


def available_bytes(root: Path = ROOT) -> int:
    """Return the memory that is free or can be made free: of the host, or of a container that has less.

    Parameters
    ----------
    root : pathlib.Path
        The folder that holds `proc` and `sys`.
    """
    available = [_numbers(root / "proc/meminfo")["MemAvailable:"] << 10]
    for group in _groups("memory", root):
        limit, *_ = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes") or ["max"]
        used = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
        if limit != "max" and used:
            held = _numbers(group / "memory.stat")
            # Files that were read: the kernel gives that memory away where it is wanted.
            cached = sum(held.get(f"total_{kind}", held.get(kind, 0)) for kind in ("active_file", "inactive_file"))
            available.append(max(0, int(limit) - int(used[0]) + cached))
    return min(available)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it, of each kind that limits such things."""
    mine = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        mine |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(root / "proc/self/mountinfo"):
        left, right = line.split(" - ", 1)
        (_, _, _, top, mounted, *_), (kind, _, options) = left.split(), right.split(None, 2)
        name = "" if kind == "cgroup2" else controller
        if kind not in ("cgroup", "cgroup2") or name not in mine or (name and name not in options.split(",")):
            continue
        folder = root / mounted.lstrip("/")
        # A container sees its own group as the top.
        within = mine[name].removeprefix(top.rstrip("/")).strip("/") if mine[name].startswith(top) else ""
        group = folder / within
        yield group
        while group != folder:
            group = group.parent
            yield group


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().splitlines()
    return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _numbers(path: Path) -> dict[str, int]:
    return {words[0]: int(words[1]) for words in map(str.split, _lines(path)) if len(words) > 1}
