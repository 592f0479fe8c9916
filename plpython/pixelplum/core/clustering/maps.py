"""Maps: items on a plane, those near one another that look alike."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors

from pixelplum.core.threads import CORES, all_cores
from pixelplum.errors import TooFewPoints, UmapMissing, UnusableArgument

USUAL_PERPLEXITY = 30
FEWEST = 4
MANY = 15_000
"""Items from which on openTSNE's interpolation is faster than scikit-learn's tree."""
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
        raise TooFewPoints(f"A map of {items} item{'' if items == 1 else 's'} says nothing: it needs {FEWEST}")
    if algorithm == "pca":
        return None
    most = (items - 1) / 3 if algorithm == "tsne" else items - 1
    least = 1 if algorithm == "tsne" else 2
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
    algorithm : {'tsne', 'umap', 'pca'}
        t-SNE (van der Maaten and Hinton 2008), by scikit-learn, or openTSNE where items are many; UMAP (McInnes and
        others 2018), by umap-learn; or the first two principal components.
    perplexity : float or None
        As `check` returns it; for UMAP, the number of neighbors.
    seed : int
        Of the random numbers.
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
    if algorithm == "pca":
        plane = coordinates[:, :2]
        return np.column_stack((plane, np.zeros((len(plane), 2 - plane.shape[1])))).astype(np.float64)
    if algorithm == "umap":
        return _umap(coordinates, round(perplexity), seed)
    if len(coordinates) < MANY:
        with all_cores():
            return TSNE(perplexity=perplexity, random_state=seed).fit_transform(coordinates).astype(np.float64)
    return _open_tsne(coordinates, perplexity, seed, on_progress)


def extend(
    coordinates: np.ndarray, mapped: np.ndarray, points: np.ndarray, algorithm: str, perplexity: float | None, seed: int
) -> np.ndarray:
    """Lay out further items on a map without moving those that are there.

    t-SNE optimizes where they are, among the others (Poličar and others 2019, "openTSNE"); with UMAP they are at the
    weighted mean of their neighbors; principal components are as they are.

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
    if algorithm == "pca":
        linear, *_ = np.linalg.lstsq(np.column_stack((mapped, np.ones(len(mapped)))), points, rcond=None)
        return np.column_stack((coordinates, np.ones(len(coordinates)))) @ linear
    if algorithm == "umap":
        near = NearestNeighbors(n_neighbors=min(round(perplexity), len(mapped))).fit(mapped)
        distances, rows = near.kneighbors(coordinates)
        weights = 1 / (distances + 1e-12)
        return np.einsum("ij,ijk->ik", weights / weights.sum(axis=1, keepdims=True), points[rows])
    import openTSNE  # slow to import

    with all_cores():
        affinities = openTSNE.affinity.PerplexityBasedNN(mapped, perplexity, n_jobs=CORES, random_state=seed)
        embedding = openTSNE.TSNEEmbedding(points, affinities, n_jobs=CORES, random_state=seed)
        return np.asarray(embedding.transform(coordinates, perplexity=min(NEAR, perplexity)))


def measure(coordinates: np.ndarray, points: np.ndarray, seed: int) -> float:
    """Return how far neighbors on the map are neighbors in fact, on a sample: 1 if all are.

    References
    ----------
    Venna and Kaski 2001, "Neighborhood preservation in nonlinear projection methods".
    """
    rows = np.random.default_rng(seed).permutation(len(coordinates))[:MEASURED]
    neighbors = min(NEAR, (len(rows) - 1) // 2)
    with all_cores():
        return float(trustworthiness(coordinates[rows], points[rows], n_neighbors=neighbors))


def _umap(coordinates: np.ndarray, neighbors: int, seed: int) -> np.ndarray:
    # It imports TensorFlow for its neural variant, if it can: half a gigabyte, and not as tensorflow_networks does.
    sys.modules["umap.parametric_umap"] = None
    try:
        from umap import UMAP
    except ImportError as error:
        raise UmapMissing from error
    init = "spectral" if len(coordinates) > 20 else "random"
    return (
        UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1, init=init)
        .fit_transform(coordinates)
        .astype(np.float64)
    )


def _open_tsne(
    coordinates: np.ndarray, perplexity: float, seed: int, on_progress: Callable[[float], None]
) -> np.ndarray:
    import openTSNE  # slow to import

    done = 0

    def look_up(*_) -> None:
        nonlocal done
        done += ROUNDS_BETWEEN
        on_progress(min(1, done / ROUNDS))

    with all_cores():
        layout = openTSNE.TSNE(
            perplexity=perplexity, random_state=seed, n_jobs=CORES, callbacks=look_up,
            callbacks_every_iters=ROUNDS_BETWEEN,
        )  # fmt: skip
        return np.asarray(layout.fit(coordinates))
