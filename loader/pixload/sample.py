"""Writes a sample catalogue of women's boots, in the format of the Amazon data of McAuley et al. 2015.

The images are drawn and the listings invented, so the demo needs no
download; and as every attribute of a boot is known, look-alikes can be
measured against `labels.csv`.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pixload.sample_drawing import Boot, draw_boot

QUALITY = 88
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BRANDS = ("Northwind", "Mary O'Dell", "Calla & Finch", "Harrow Lane", "D'Aubigny", "Stride 9", "Juniper Row")
AUDIENCES = ("Women's", "Ladies'", "Womens")
CATEGORIES = {
    "ankle": "Ankle & Bootie",
    "mid-calf": "Mid-Calf",
    "knee-high": "Knee-High",
    "over-the-knee": "Over-the-Knee",
}
RELATIONS = {"also_bought": 6, "also_viewed": 8, "bought_together": 1, "buy_after_viewing": 4}

# Odd and not a multiple of 3, so that multiplying by it modulo 36**8 never
# gives two items of a catalogue the same id.
ITEM_STRIDE = 1_322_274_193_687
SEED_STRIDE = 870_412_666_469


def draw_catalogue(folder: Path, items: int, seed: int) -> Iterator[Path]:
    """Draw a catalogue of women's boots; the same items and seed give the same bytes.

    An item does not depend on how many follow it. Writes
    `images/<item_id>.jpg`, `metadata.json.gz` (one Python dict a line, as
    McAuley's files have it) and `labels.csv`, over what an earlier run left.

    Parameters
    ----------
    folder : Path
        Where to write; made if it does not exist.
    items : int
        How many boots to draw.
    seed : int
        Picks one of many catalogues.

    Returns
    -------
    Iterator of Path
        Every image once it is written. Before the last one is returned, the
        metadata and the labels are written as well.

    Raises
    ------
    ValueError
        If `items` is less than 1 or `seed` is negative.
    """
    if items < 1:
        raise ValueError(f"a catalogue needs at least 1 item, not {items}")
    if seed < 0:
        raise ValueError(f"the seed must be 0 or more, not {seed}")
    return write_catalogue(Path(folder), items, seed)


def write_catalogue(folder: Path, items: int, seed: int) -> Iterator[Path]:
    """Do the drawing; apart from `draw_catalogue` so that wrong arguments fail at once."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    boots: dict[str, Boot] = {}
    listings = []
    for index in range(items):
        rng = np.random.default_rng([seed, index])
        asin, boot = item_id(seed, index), Boot.random(rng)
        listings.append(listing(asin, boot, boots, rng))
        boots[asin] = boot
        path = images / f"{asin}.jpg"
        write(path, jpeg(boot, rng))
        if index == items - 1:
            write(folder / "metadata.json.gz", metadata(listings))
            write(folder / "labels.csv", labels(boots))
        yield path


def item_id(seed: int, index: int) -> str:
    """Return an id of the form of an ASIN, unique within the catalogue."""
    number = (seed * SEED_STRIDE + (index + 1) * ITEM_STRIDE) % 36**8
    return "PX" + "".join(DIGITS[number // 36**power % 36] for power in range(8))


def style(boot: Boot) -> str:
    """Return what makes two boots look alike: shaft and heel."""
    return f"{boot.shaft} {boot.heel}"


def listing(asin: str, boot: Boot, earlier: dict[str, Boot], rng: np.random.Generator) -> dict:
    """Return the metadata of an item; like the real ones, some lack a price or a brand."""
    brand = BRANDS[rng.integers(len(BRANDS))]
    audience = AUDIENCES[rng.choice(len(AUDIENCES), p=(0.8, 0.12, 0.08))]
    look = boot.color if boot.pattern == "plain" else f"{boot.color} {boot.pattern}"
    entry = {
        "asin": asin,
        "title": f"{brand} {audience} {titled(boot.shaft)} {titled(boot.heel)} Boot, {titled(look)}",
        "price": int(rng.integers(25, 240)) + 0.99,
        "imUrl": f"http://images.example/{asin}.jpg",
        "salesRank": {"Shoes": int(rng.integers(1, 500_000))},
        "related": related(boot, earlier, rng),
        "categories": [["Clothing, Shoes & Jewelry", "Women", "Shoes", "Boots", CATEGORIES[boot.shaft]]],
        "brand": brand,
        "description": f"A {boot.color} {boot.pattern} boot with a {boot.toe} toe, "
        f"a {boot.heel} heel and a {boot.sole} sole. The shaft is {boot.shaft}.",
    }
    lacking = [key for key, fraction in (("price", 0.1), ("brand", 0.2)) if rng.random() < fraction]
    return {key: value for key, value in entry.items() if key not in lacking}


def titled(words: str) -> str:
    """Capitalise as a shop does: Over-the-Knee, Two-Tone."""
    return words.title().replace("-The-", "-the-")


def related(boot: Boot, earlier: dict[str, Boot], rng: np.random.Generator) -> dict[str, list[str]]:
    """Return links to earlier items: who looks at a boot looks at its style, but buys anything."""
    alike = [asin for asin, other in earlier.items() if style(other) == style(boot)]
    links = {}
    for relation, most in RELATIONS.items():
        choices = list(earlier) if "bought" in relation else alike
        count = min(len(choices), int(rng.integers(0, most + 1)))
        if count:
            links[relation] = [choices[k] for k in rng.choice(len(choices), count, replace=False)]
    return links


def jpeg(boot: Boot, rng: np.random.Generator) -> bytes:
    """Return the photograph of a boot as a file."""
    buffer = io.BytesIO()
    draw_boot(boot, rng).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def metadata(listings: list[dict]) -> bytes:
    """Return one dict literal a line, compressed; without a time stamp, to stay the same."""
    return gzip.compress("".join(f"{entry!r}\n" for entry in listings).encode(), mtime=0)


def labels(boots: dict[str, Boot]) -> bytes:
    """Return every attribute of every item as CSV, and its style."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("item_id", "label_set", "label"))
    for asin, boot in boots.items():
        table.writerows((asin, *label) for label in (asdict(boot) | {"style": style(boot)}).items())
    return text.getvalue().encode()


def write(path: Path, content: bytes) -> None:
    """Write a file so that a run that is killed leaves all of it or nothing."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)
