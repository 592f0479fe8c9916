"""All against all: many queries are compared with one block after another, and what is near is merged."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search.exact import margins, proximities
from pixelplum.core.search.metrics import METRICS

TINY = 1e-12
AT_ONCE = 4000
"""Queries whose proximities to a block are in memory together: 16 MB."""
SPARE = 4
"""Candidates beyond k: the query itself, and what rounding may have put in the wrong order."""


def nearest_in_block(
    queries: np.ndarray, vectors: np.ndarray, norms: np.ndarray, k: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Find the candidates for the k nearest to each query in one block.

    Parameters
    ----------
    queries : numpy.ndarray
        float32, shape (queries, dimensions).
    vectors : numpy.ndarray
        float32, shape (items, dimensions).
    norms : numpy.ndarray
        float32, shape (items,), their Euclidean lengths.
    k : int
        How many are wanted.
    metric : str, a key of `METRICS`
        As for `vectors.distances`.

    Returns
    -------
    rows : numpy.ndarray
        int32, shape (queries, min(k + SPARE, items)), unordered.
    distances : numpy.ndarray
        float32, of the same shape: their `nearest.proximities`.
    """
    queries = _comparable(queries, metric)
    count = min(k + SPARE, len(vectors))
    rows = np.empty((len(queries), count), np.int32)
    distances = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        all_found = proximities(vectors, norms, queries[some], metric)
        rows[some] = np.argpartition(all_found, len(vectors) - count, axis=1)[:, len(vectors) - count :]
        distances[some] = np.take_along_axis(all_found, rows[some], axis=1)
    return rows, distances


def merged(parts: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge what was found in several blocks.

    Parameters
    ----------
    parts : list of tuple of numpy.ndarray
        As `nearest_in_block` returns them, for the same queries.
    k : int
        As there.

    Returns
    -------
    which : numpy.ndarray
        Shape (queries, candidates): the number of the part that a candidate is from.
    rows : numpy.ndarray
        Of the same shape: its row there.
    """
    which = np.repeat(np.arange(len(parts)), [rows.shape[1] for rows, _ in parts])
    rows = np.concatenate([rows for rows, _ in parts], axis=1)
    distances = np.concatenate([distances for _, distances in parts], axis=1)
    first = max(0, distances.shape[1] - k - SPARE)
    best = np.argpartition(distances, first, axis=1)[:, first:]
    return which[best], np.take_along_axis(rows, best, axis=1)


def alike_in_block(
    queries: np.ndarray, vectors: np.ndarray, norms: np.ndarray, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs that may be at most so far apart by cosine distance.

    Parameters
    ----------
    queries, vectors, norms : numpy.ndarray
        As for `nearest_in_block`.
    max_distance : float
        From 0 to 2.

    Returns
    -------
    numbers, rows : numpy.ndarray
        int32, shape (pairs,): of the query, and in the block; none that is nearer is missing.
    """
    queries = _comparable(queries, "cosine")
    similarities = proximities(vectors, norms, queries, "cosine")
    least = (1 - max_distance) * np.linalg.norm(queries, axis=1) - margins(1, queries, "cosine")
    numbers, rows = np.nonzero(similarities >= least[:, np.newaxis])
    return numbers.astype(np.int32), rows.astype(np.int32)


def _comparable(queries: np.ndarray, metric: str) -> np.ndarray:
    """Return queries whose products with others do not vanish: tiny ones of metrics of directions are made longer."""
    if not METRICS[metric].compares_directions:
        return queries
    norms = np.linalg.norm(queries, axis=1)
    if norms.min() > TINY:
        return queries
    norms = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    return (queries / np.where(norms > 0, norms, 1)).astype(np.float32)
