import numpy as np
import openTSNE
import pytest

from pixelplum.core.clustering import maps, projections
from pixelplum.errors import TooFewPoints, UnusableArgument


@pytest.fixture(scope="module")
def coordinates() -> np.ndarray:
    random = np.random.default_rng(3)
    return (10 * random.normal(size=(5, 6))[np.arange(200) % 5] + random.normal(size=(200, 6))).astype(np.float32)


def nothing(fraction: float) -> None:
    assert 0 <= fraction <= 1


@pytest.mark.parametrize(
    ("algorithm", "perplexity", "items", "expected"),
    [
        ("tsne", None, 1000, 30),
        ("tsne", None, 16, 5),
        ("tsne", 7, 1000, 7),
        ("umap", None, 10, 9),
        ("pca", 99, 10, None),
    ],
)
def test_perplexity(algorithm, perplexity, items, expected):
    assert maps.check(algorithm, perplexity, items) == expected


@pytest.mark.parametrize(
    ("algorithm", "perplexity", "items"),
    [("tsne", 34, 100), ("tsne", 0.5, 100), ("tsne", np.nan, 100), ("umap", 1, 100)],
)
def test_perplexity_out_of_range(algorithm, perplexity, items):
    with pytest.raises(UnusableArgument, match="for 100 items"):
        maps.check(algorithm, perplexity, items)


def test_too_few():
    with pytest.raises(TooFewPoints, match="at least 4 items, not 1"):
        maps.check("pca", None, 1)
    with pytest.raises(TooFewPoints, match="the same"):
        projections.principal_components(np.ones((9, 3), np.float32), 2, 7)


@pytest.mark.parametrize("many", [1000, 100])
def test_kin_are_near_by_either_library(coordinates, many, monkeypatch):
    monkeypatch.setattr(maps, "MANY", many)
    points = maps.fit(coordinates, "tsne", 10, 7, nothing)
    assert points.shape == (200, 2)
    assert maps.measure(coordinates, points, 7) > 0.95
    further = coordinates[:10] + np.float32(0.01)
    results = maps.extend(further, coordinates, points, "tsne", 10, 7)
    nearest = np.linalg.norm(points - results[:, np.newaxis], axis=2).argmin(axis=1)
    assert (nearest % 5 == np.arange(10) % 5).all()


def test_libraries_that_are_not_needed_are_not_looked_for(coordinates, monkeypatch):
    """To look for pynndescent is to import it, which takes twenty seconds on a new host."""
    monkeypatch.setattr(maps, "MANY", 100)
    monkeypatch.setattr(openTSNE.affinity, "is_package_installed", lambda name: pytest.fail(name))
    points = maps.fit(coordinates, "tsne", 10, 7, nothing)
    maps.extend(coordinates[:3], coordinates, points, "tsne", 10, 7)


def test_what_is_told_can_end_it(coordinates, monkeypatch):
    monkeypatch.setattr(maps, "MANY", 100)

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maps.fit(coordinates, "tsne", 10, 7, stop)


def test_principal_components_of_further_items(coordinates):
    points = maps.fit(coordinates, "pca", None, 7, nothing)
    assert (points == coordinates[:, :2]).all()
    assert maps.extend(coordinates[:3] + 1, coordinates, points, "pca", None, 7) == pytest.approx(
        coordinates[:3, :2] + 1, abs=1e-3
    )
    assert maps.fit(coordinates[:, :1], "pca", None, 7, nothing)[:, 1].tolist() == [0] * 200
