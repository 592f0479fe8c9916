"""pix load metadata of 100,000 Amazon lines with a title filter, against ast.literal_eval of every line."""

from __future__ import annotations

import ast
import random
import tempfile
from pathlib import Path

from benchmarks.tools import compare, execute, pix, seconds

LINES = 100_000
ROUNDS = 3
WORDS = [
    "women",
    "leather",
    "boots",
    "ankle",
    "suede",
    "heel",
    "zip",
    "slouch",
    "western",
    "rain",
    "winter",
    "shoes",
    "black",
    "brown",
    "casual",
]


def write_lines(path: Path) -> None:
    """Write lines of the form and the length of Amazon's, one in ten about boots."""
    random_ = random.Random(7)
    with path.open("w") as file:
        for number in range(LINES):
            kind = "Boots" if number % 10 == 0 else "Sandals"
            text = " ".join(random_.choices([word for word in WORDS if word != "boots"], k=60))
            ids = [f"B{random_.randrange(10**9):09}" for _ in range(60)]
            item = {
                "asin": f"B{number:09}",
                "title": f"Women's {kind} {text[:40]} No. {number}",
                "price": round(random_.uniform(10, 200), 2),
                "imUrl": f"http://images.example/{number}.jpg",
                "salesRank": {"Shoes": random_.randrange(10**6)},
                "related": {"also_bought": ids[:30], "also_viewed": ids[30:]},
                "categories": [["Clothing, Shoes & Jewelry", "Women", "Shoes", kind]],
                "description": text,
            }
            file.write(f"{item!r}\n")


def run(bench) -> None:
    with tempfile.TemporaryDirectory(dir=bench.home) as home:
        path = Path(home) / "meta.json"
        write_lines(path)

        def ours() -> float:
            execute(bench, "TRUNCATE pix.items")
            return pix(bench, "load", "metadata", path, "--where-title", "boots")[0]

        def peer() -> float:
            with path.open() as lines:
                return seconds(lambda: [None for line in lines if not ast.literal_eval(line)])

        taken, parsing, ratio = compare(ours, peer, ROUNDS)
        size = path.stat().st_size // LINES
    (loaded,) = execute(bench, "SELECT count(*) FROM pix.items")[0]
    print(f"  ours {taken:.1f} s for {LINES:,} lines of {size:,} bytes, {loaded:,} loaded (goal: under 20 s)")
    print(f"  literal_eval alone {parsing:.1f} s; ratio {ratio:.2f}")
