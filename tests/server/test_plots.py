"""Images for slides."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers import store


@pytest.fixture(scope="module")
def with_tree_and_map(stage, with_labels) -> str:
    def fill(db):
        db.ask("SELECT pix.fit_clusters('looks', algorithm => 'ward', k => 4)")
        db.ask("SELECT pix.fit_map('everything')")
        db.ask("UPDATE pix.items SET title = 'A $boot$ of ten 靴 ' || item_id")

    return stage("grouped", with_labels, fill)


@pytest.fixture
def grouped(clone, with_tree_and_map):
    return clone(with_tree_and_map)


@pytest.mark.parametrize(
    "arguments",
    [
        ("map", "everything"), ("map", "everything", "--labels", "heel"),
        ("map", "everything", "--clustering", "looks"), ("cluster", "looks", 1),
        ("cluster", "looks", 7),
    ],
)  # fmt: skip
def test_slides(grouped, tmp_path, arguments):
    kind, name, *rest = arguments
    path = tmp_path / "slide.png"
    choice = [rest.pop(0)] if kind == "cluster" else []
    output = grouped.pix("plot", kind, name, *choice, path, *rest, role="rita")
    assert output.stdout.strip() == str(path)
    assert "Warning" not in output.stderr
    with Image.open(path) as slide:
        assert slide.size == (1920, 1080)
        pixels = np.asarray(slide.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000  # thumbnails are there


def test_without_clusters_or_images(grouped, tmp_path):
    store(grouped, "bare", np.random.default_rng(1).normal(size=(30, 4)))
    grouped.ask("SELECT pix.fit_map('bare', 'bare', 'pca')")
    grouped.pix("plot", "map", "bare", tmp_path / "slide.png")
    grouped.ask("SELECT pix.fit_clusters('bare', 'bare', k => 2)")
    grouped.pix("plot", "cluster", "bare", 1, tmp_path / "slide.png")
    grouped.ask("DELETE FROM pix.map_points")
    assert "has no items any more" in grouped.pix("plot", "map", "bare", tmp_path / "slide.png", check=False).stderr


def test_names_that_are_not_there(grouped, tmp_path):
    path = tmp_path / "slide.png"
    for arguments, message in (
        (("map", "nothing", path), "Map 'nothing' is not known"),
        (("map", "everything", path, "--labels", "nothing"), "has a label of 'nothing'"),
        (("map", "everything", path, "--clustering", "nothing"), "'nothing' is not known"),
        (("cluster", "nothing", 1, path), "'nothing' is not known"),
        (("cluster", "looks", 99, path), "no cluster 99"),
        (("map", "everything", tmp_path / "no" / "slide.png"), "There is no folder"),
    ):
        refused = grouped.pix("plot", *arguments, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert not path.exists()
