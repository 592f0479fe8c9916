"""A server for the benchmarks, images to measure on, and honest timing."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from pixelplum import host
from pixload.conversion.converted import Wishes, save
from pixload.conversion.keras_models import load_application
from pixload.conversion.tensorflow_graphs import convert
from pixload.migration import migrate
from pixload.private_server import PrivateServer

CHECKOUT = Path(__file__).parents[1]
STATE = CHECKOUT / ".pix" / "benchmarks"
PHOTOGRAPHS = CHECKOUT.parent / "shared" / "data" / "clothing"
PIX = Path(sys.executable).parent / "pix"
CORES = host.cores()


@dataclass(frozen=True)
class Bench:
    """A migrated database for as long as the benchmarks take, and a folder for their files."""

    dsn: str
    home: Path

    @property
    def segments(self) -> int:
        """Number of the cluster's segments; 0 on PostgreSQL."""
        if execute(self, "SELECT pix_internal.is_distributed()") == [(False,)]:
            return 0
        return execute(self, "SELECT count(*) FROM gp_dist_random('gp_id')")[0][0]


@contextmanager
def server(dsn: str | None) -> Iterator[Bench]:
    """Migrate a database of its own on the server of `dsn`, or on a private one; drop it afterwards."""
    STATE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE) as home:
        private_server = PrivateServer(Path(home))
        if dsn is None:
            private_server.start()
        owner = Bench(dsn or private_server.dsn, private_server.home)
        database = f"pix_bench_{secrets.token_hex(3)}"
        execute(owner, f"CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0")
        try:
            bench = Bench(make_dsn(**parse_dsn(owner.dsn) | {"dbname": database}), private_server.home)
            migrate(bench.dsn)
            yield bench
        finally:
            execute(owner, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
            execute(owner, f"DROP DATABASE {database}")
            private_server.destroy()


def execute(bench: Bench, sql: str, parameters=None) -> list[tuple]:
    """Run SQL in a connection of its own."""
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def pix(bench: Bench, *arguments) -> tuple[float, int]:
    """Run the command; return its seconds and its peak memory in bytes."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [PIX, *map(str, arguments)], env=os.environ | {"PIX_DSN": bench.dsn},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        peak = max(peak, _peak_memory(process.pid))
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    taken = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"pix {' '.join(map(str, arguments))} failed: {process.stderr.read()}")
    return taken, peak


def _peak_memory(pid: int) -> int:
    """Read the kernel's own mark; wait4 would tell that of the process that started this one."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
    return 0


def photographs(count: int, folder: Path) -> list[Path]:
    """Return that many different images: photographs, or drawn boots, repeated with a byte appended."""
    originals = sorted(PHOTOGRAPHS.glob("*/*.jpg"))
    if not originals:
        subprocess.run([PIX, "sample", STATE / "boots", "--items", "600"], check=True)
        originals = sorted((STATE / "boots" / "images").iterdir())
    folder.mkdir()
    paths = []
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        content = originals[number % len(originals)].read_bytes()
        path.write_bytes(content + number.to_bytes(4, "big"))  # decoders stop before it
        paths.append(path)
    return paths


def inception() -> Path:
    """Return Keras's Inception v3 with random weights as an ONNX file, converted once."""
    path = STATE / "inception_v3_seed_7.onnx"
    if not path.exists():
        save(convert(load_application("inception_v3", None, seed=7), Wishes()), path)
    return path


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(ours: Callable[[], float], peer: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Measure both in turn; return both medians and the median of the ratios ours / peer."""
    pairs = [(ours(), peer()) if number % 2 else (peer(), ours())[::-1] for number in range(rounds)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)
