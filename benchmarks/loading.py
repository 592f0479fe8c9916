"""pix load images against psql's \\copy of ready-made rows into a table of the same form; memory too."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from benchmarks.tools import compare, execute, photographs, pix, seconds

IMAGES = 3000
FEW, MANY = 1_000, 20_000
ROUNDS = 3


def run(bench) -> None:
    with tempfile.TemporaryDirectory(dir=bench.home) as home:
        folder = Path(home) / "images"
        rows = Path(home) / "rows.txt"
        images = photographs(IMAGES, folder)
        with rows.open("w") as file:
            for path in images:
                file.write(f"{path.stem}\t\\\\x{path.read_bytes().hex()}\tJPEG\t400\t533\t{path}\n")

        def ours() -> float:
            execute(bench, "TRUNCATE pix.images, pix.items")
            return IMAGES / pix(bench, "load", "images", folder)[0]

        def peer() -> float:
            execute(bench, "DROP TABLE IF EXISTS peer; CREATE TABLE peer (LIKE pix.images INCLUDING ALL)")
            copy = f"\\copy peer (item_id, content, format, width, height, source) FROM '{rows}'"
            command = ["psql", "-Xqc", copy, bench.dsn]
            return IMAGES / seconds(lambda: subprocess.run(command, check=True))

        speed, peer_speed, ratio = compare(ours, peer, ROUNDS)
        size = sum(path.stat().st_size for path in images) / IMAGES / 1000
        print(f"  ours {speed:.0f} images/s, \\copy {peer_speed:.0f} images/s ({size:.0f} kB each)")
        print(f"  ratio {ratio:.2f} (goal: at least 0.5)")
        execute(bench, "DROP TABLE peer")
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory(dir=bench.home) as home:
            photographs(count, Path(home) / "images")
            execute(bench, "TRUNCATE pix.images, pix.items")
            taken, memory = pix(bench, "load", "images", Path(home) / "images")
        print(f"  {count:,} images: peak memory {memory >> 20} MB, {taken:.1f} s (goal: under 250 MB, flat)")
    execute(bench, "TRUNCATE pix.images, pix.items")
    os.sync()
