"""Maps: items on a plane, those near one another that look alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelplum.core.threads import CORES, all_cores
from pixelplum.errors import TooFewPoints, UmapMissing, UnusableArgument

USUAL_PERPLEXITY = 30
FEWEST = 4
MANY = 15_000
"""Items from which on openTSNE's interpolation is faster than scikit-learn's tree."""
FEWEST_APPROXIMATE = 1000
"""Items from which on openTSNE looks for neighbors by Annoy."""
ITEMS_PER_THREAD = 1000
"""Fewer keep no thread of scikit-learn's busy: beside other work, they would wait for one another most of the time."""
ROUNDS = 750
"""What openTSNE takes: 250 of early exaggeration, then 500."""
ROUNDS_BETWEEN = 10
NEAR = 5
"""Neighbors that decide where a further item is, and that trustworthiness looks at."""
MEASURED = 2000
"""Items that trustworthiness is measured on."""


def check(algorithm: str, perplexity: float | None, items: int) -> float | None:
    """Return the perplexity to use: for few items, a third of them is the most.

    Raises
    ------
    TooFewPoints
        If there are fewer than four items.
    UnusableArgument
        If it is out of range.
    """
    if items < FEWEST:
        raise TooFewPoints(f"A map must have at least {FEWEST} items, not {items}")
    record = MAPS[algorithm]
    if record.least is None:
        return None
    least, most = record.least, (items - 1) / record.of_items
    if perplexity is None:
        return min(USUAL_PERPLEXITY, most)
    if not least <= perplexity <= most:
        raise UnusableArgument(
            f"perplexity must be from {least} to {most:.4g} for {items:,} items, not {perplexity:g}",
            hint="5 to 50 are usual; leave it out to have one that suits.",
        )
    return perplexity


def fit(
    coordinates: np.ndarray, algorithm: str, perplexity: float | None, seed: int, on_progress: Callable[[float], None]
) -> np.ndarray:
    """Lay out items.

    Parameters
    ----------
    coordinates : numpy.ndarray
        float32, shape (items, components): their principal components.
    algorithm : str, a key of `MAPS`
    perplexity : float or None
        As `check` returns it; for UMAP, the number of neighbors.
    seed : int
        Random seed.
    on_progress : callable
        Takes the fraction that is done, from time to time.

    Returns
    -------
    numpy.ndarray
        float64, shape (items, 2).

    Raises
    ------
    UmapMissing
        If umap-learn is not installed.
    """
    return MAPS[algorithm].fit(coordinates, perplexity, seed, on_progress)


def extend(
    coordinates: np.ndarray, mapped: np.ndarray, points: np.ndarray, algorithm: str, perplexity: float | None, seed: int
) -> np.ndarray:
    """Lay out further items on a map without moving those that are there.

    Parameters
    ----------
    coordinates, mapped : numpy.ndarray
        float32, shape (items, components): of further items, and of those on the map.
    points : numpy.ndarray
        float64, shape (mapped items, 2): where these are.
    algorithm, perplexity, seed
        As for `fit`.

    Returns
    -------
    numpy.ndarray
        float64, shape (further items, 2).
    """
    return MAPS[algorithm].extend(coordinates, mapped, points, perplexity, seed)


def measure(coordinates: np.ndarray, points: np.ndarray, seed: int) -> float:
    """Return how far neighbors on the map are neighbors in fact, on a sample: 1 if all are.

    References
    ----------
    Venna and Kaski 2001, "Neighborhood preservation in nonlinear projection methods".
    """
    from sklearn.manifold import trustworthiness  # slow to import

    rows = np.random.default_rng(seed).permutation(len(coordinates))[:MEASURED]
    neighbors = min(NEAR, (len(rows) - 1) // 2)
    with all_cores():
        return float(trustworthiness(coordinates[rows], points[rows], n_neighbors=neighbors))


def _pca(coordinates: np.ndarray, perplexity: None, seed: int, on_progress: Callable) -> np.ndarray:
    plane = coordinates[:, :2]
    return np.column_stack((plane, np.zeros((len(plane), 2 - plane.shape[1])))).astype(np.float64)


def _extend_pca(coordinates: np.ndarray, mapped: np.ndarray, points: np.ndarray, perplexity: None, seed: int):
    """Principal components are as they are."""
    linear, *_ = np.linalg.lstsq(np.column_stack((mapped, np.ones(len(mapped)))), points, rcond=None)
    return np.column_stack((coordinates, np.ones(len(coordinates)))) @ linear


def _umap(coordinates: np.ndarray, perplexity: float, seed: int, on_progress: Callable) -> np.ndarray:
    """UMAP (McInnes and others 2018), by umap-learn."""
    # It imports TensorFlow for its neural variant, if it can: half a gigabyte, and not as tensorflow_networks does.
    sys.modules["umap.parametric_umap"] = None
    try:
        from umap import UMAP
    except ImportError as error:
        raise UmapMissing from error
    init = "spectral" if len(coordinates) > 20 else "random"
    return (
        UMAP(n_neighbors=round(perplexity), random_state=seed, n_jobs=1, init=init)
        .fit_transform(coordinates)
        .astype(np.float64)
    )


def _extend_umap(coordinates: np.ndarray, mapped: np.ndarray, points: np.ndarray, perplexity: float, seed: int):
    """Further items are at the weighted mean of their neighbors."""
    from sklearn.neighbors import NearestNeighbors  # slow to import

    near = NearestNeighbors(n_neighbors=min(round(perplexity), len(mapped))).fit(mapped)
    distances, rows = near.kneighbors(coordinates)
    weights = 1 / (distances + 1e-12)
    return np.einsum("ij,ijk->ik", weights / weights.sum(axis=1, keepdims=True), points[rows])


def _tsne(coordinates: np.ndarray, perplexity: float, seed: int, on_progress: Callable[[float], None]) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008), by scikit-learn, or openTSNE where items are many."""
    if len(coordinates) < MANY:
        from sklearn.manifold import TSNE  # slow to import

        with all_cores(len(coordinates) // ITEMS_PER_THREAD):
            return TSNE(perplexity=perplexity, random_state=seed).fit_transform(coordinates).astype(np.float64)
    import openTSNE  # slow to import

    done = 0

    def look_up(*_) -> None:
        nonlocal done
        done += ROUNDS_BETWEEN
        on_progress(min(1, done / ROUNDS))

    with all_cores():
        affinities = _affinities(coordinates, perplexity, seed)
        layout = openTSNE.TSNE(random_state=seed, n_jobs=CORES, callbacks=look_up, callbacks_every_iters=ROUNDS_BETWEEN)
        return np.asarray(layout.fit(coordinates, affinities))


def _extend_tsne(coordinates: np.ndarray, mapped: np.ndarray, points: np.ndarray, perplexity: float, seed: int):
    """Where further items are is optimized, among the others (Poličar and others 2019, "openTSNE")."""
    import openTSNE  # slow to import

    with all_cores():
        affinities = _affinities(mapped, perplexity, seed)
        embedding = openTSNE.TSNEEmbedding(points, affinities, n_jobs=CORES, random_state=seed)
        return np.asarray(embedding.transform(coordinates, perplexity=min(NEAR, perplexity)))


def _affinities(coordinates: np.ndarray, perplexity: float, seed: int):
    """Return how near points are to one another, for openTSNE.

    Of its ways to find neighbors this is the one that it would choose; but while it chooses it imports pynndescent,
    which a new host compiles for twenty seconds.
    """
    from openTSNE import affinity, nearest_neighbors

    search = nearest_neighbors.Sklearn if len(coordinates) < FEWEST_APPROXIMATE else nearest_neighbors.Annoy
    k = min(len(coordinates) - 1, int(3 * perplexity))
    index = search(coordinates, k, n_jobs=CORES, random_state=seed)
    return affinity.PerplexityBasedNN(perplexity=perplexity, knn_index=index, n_jobs=CORES)


@dataclass(frozen=True)
class MapAlgorithm:
    """How items are laid out.

    Parameters
    ----------
    name : str
        What it is called in SQL.
    summary : str
        What it is good for.
    fit, extend : callable
        As `fit` and `extend`, without the algorithm's name.
    least : int or None
        The smallest perplexity; None: it has none.
    of_items : int
        The largest perplexity is so many times smaller than the other items.
    """

    name: str
    summary: str
    fit: Callable[..., np.ndarray]
    extend: Callable[..., Any]
    least: int | None = None
    of_items: int = 1


MAPS: dict[str, MapAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        MapAlgorithm("tsne", "t-SNE, which keeps neighbors together", _tsne, _extend_tsne, least=1, of_items=3),
        MapAlgorithm("umap", "UMAP, which keeps more of the distances between groups", _umap, _extend_umap, least=2),
        MapAlgorithm("pca", "the first two principal components", _pca, _extend_pca),
    )
}
