"""The sample catalogue: the same for ever, complete, and of boots that can be told apart."""

from __future__ import annotations

import ast
import csv
import gzip
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixload.sample import draw_catalogue, item_id
from pixload.sample_drawing import SIZE, VOCABULARY

ITEMS = 150


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metadata_of(folder: Path) -> list[dict]:
    with gzip.open(folder / "metadata.json.gz", "rt", encoding="utf-8") as lines:
        return [ast.literal_eval(line) for line in lines]


def labels_of(folder: Path, label_set: str) -> dict[str, str]:
    with open(folder / "labels.csv", newline="", encoding="utf-8") as rows:
        return {row["item_id"]: row["label"] for row in csv.DictReader(rows) if row["label_set"] == label_set}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    written = list(draw_catalogue(folder, ITEMS, seed=7))
    assert len(set(written)) == ITEMS
    return folder


def test_same_seed_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        list(draw_catalogue(tmp_path / name, 5, seed=3))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")


def test_other_seed_gives_other_boots(tmp_path: Path) -> None:
    first, second = (next(draw_catalogue(tmp_path, 1, seed)) for seed in (3, 4))
    assert first.name != second.name
    assert first.read_bytes() != second.read_bytes()


def test_an_item_does_not_depend_on_those_after_it(tmp_path: Path, catalogue: Path) -> None:
    few = list(draw_catalogue(tmp_path, 6, seed=7))
    for path in few:
        assert path.read_bytes() == (catalogue / "images" / path.name).read_bytes()
    assert metadata_of(tmp_path) == metadata_of(catalogue)[:6]
    assert (catalogue / "labels.csv").read_bytes().startswith((tmp_path / "labels.csv").read_bytes())


def test_images_are_yielded_when_written_and_tables_with_the_last(tmp_path: Path) -> None:
    drawing = draw_catalogue(tmp_path, 3, seed=1)
    for path in islice(drawing, 2):
        assert path.is_file()
    assert not (tmp_path / "metadata.json.gz").exists()
    assert next(drawing).is_file()
    assert len(metadata_of(tmp_path)) == 3
    assert len(labels_of(tmp_path, "style")) == 3


def test_a_run_after_a_killed_one_completes_the_catalogue(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    drawing = draw_catalogue(killed, 4, seed=1)
    torn = next(drawing)
    drawing.close()
    torn.write_bytes(b"torn")
    list(draw_catalogue(killed, 4, seed=1))
    list(draw_catalogue(whole, 4, seed=1))
    assert files_of(killed) == files_of(whole)


def test_metadata_describes_the_images(catalogue: Path) -> None:
    entries = metadata_of(catalogue)
    asins = [entry["asin"] for entry in entries]
    assert all(re.fullmatch("PX[0-9A-Z]{8}", asin) for asin in asins)
    assert sorted(asins) == sorted(path.stem for path in (catalogue / "images").iterdir())
    assert len(set(asins)) == ITEMS
    assert all(entry["imUrl"].endswith(f"/{entry['asin']}.jpg") for entry in entries)
    assert all(isinstance(entry["salesRank"]["Shoes"], int) for entry in entries)
    assert any('"' in line for line in map(repr, entries)), "no title with an apostrophe"
    for key in ("price", "brand"):
        assert 0 < sum(key in entry for entry in entries) < ITEMS


def test_metadata_is_no_json(catalogue: Path) -> None:
    first = gzip.decompress((catalogue / "metadata.json.gz").read_bytes()).splitlines()[0]
    assert first.startswith(b"{'asin': 'PX")


def test_related_items_come_earlier(catalogue: Path) -> None:
    seen: set[str] = set()
    relations: set[str] = set()
    for entry in metadata_of(catalogue):
        assert seen.issuperset(asin for asins in entry["related"].values() for asin in asins)
        assert all(len(set(asins)) == len(asins) > 0 for asins in entry["related"].values())
        relations.update(entry["related"])
        seen.add(entry["asin"])
    assert relations == {"also_bought", "also_viewed", "bought_together", "buy_after_viewing"}


@pytest.mark.parametrize("label_set", VOCABULARY)
def test_every_item_has_a_label_of_every_set(catalogue: Path, label_set: str) -> None:
    labels = labels_of(catalogue, label_set)
    assert list(labels) == [entry["asin"] for entry in metadata_of(catalogue)]
    assert set(labels.values()) == set(VOCABULARY[label_set])


def test_style_is_shaft_and_heel(catalogue: Path) -> None:
    shafts, heels = labels_of(catalogue, "shaft"), labels_of(catalogue, "heel")
    assert labels_of(catalogue, "style") == {asin: f"{shafts[asin]} {heels[asin]}" for asin in shafts}


def test_labels_have_one_row_an_item_and_set(catalogue: Path) -> None:
    lines = (catalogue / "labels.csv").read_text().splitlines()
    assert lines[0] == "item_id,label_set,label"
    assert len(lines) == 1 + ITEMS * (len(VOCABULARY) + 1)


def test_images_decode(catalogue: Path) -> None:
    for path in (catalogue / "images").iterdir():
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))


def thumbnail(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.resize((16, 16), Image.Resampling.BOX), float)
    return (pixels - pixels.mean()).ravel()


def histogram(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.resize((100, 100), Image.Resampling.BOX), float).reshape(-1, 3)
    return np.sqrt(np.histogramdd(pixels, bins=6, range=[(0, 256)] * 3)[0]).ravel()


@pytest.mark.parametrize(
    ("label_set", "features", "at_least"),
    [("shaft", thumbnail, 0.6), ("heel", thumbnail, 0.34), ("color", histogram, 0.4)],
)
def test_ten_nearest_neighbors_tell_boots_apart(
    catalogue: Path, label_set: str, features: Callable[[Image.Image], np.ndarray], at_least: float
) -> None:
    """Chance would be 1/4 for the shaft and the heel, 1/8 for the color."""
    labels = labels_of(catalogue, label_set)
    names, truth = np.unique(list(labels.values()), return_inverse=True)
    vectors = []
    for asin in labels:
        with Image.open(catalogue / "images" / f"{asin}.jpg") as image:
            vectors.append(features(image))
    points = np.stack(vectors)
    distances = np.stack([((points - point) ** 2).sum(axis=1) for point in points])
    np.fill_diagonal(distances, np.inf)
    nearest = truth[np.argsort(distances, axis=1)[:, :10]]
    votes = (nearest[:, :, None] == np.arange(len(names))).sum(axis=1)
    accuracy = (votes.argmax(axis=1) == truth).mean()
    assert accuracy >= at_least


def test_ids_are_unique_in_a_large_catalogue() -> None:
    assert len({item_id(7, index) for index in range(20_000)}) == 20_000


@pytest.mark.parametrize("items", [0, -1])
def test_a_catalogue_needs_an_item(tmp_path: Path, items: int) -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        draw_catalogue(tmp_path, items, seed=7)
    assert not list(tmp_path.iterdir())


def test_a_seed_is_not_negative(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed"):
        draw_catalogue(tmp_path, 1, seed=-1)
