"""Exact nearest neighbors: one matrix product for each block, then true distances of the few that are near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pixelplum.core.search.metrics import METRICS
from pixelplum.core.search.vectors import distances
from pixelplum.core.threads import in_parallel


class Vectors(Protocol):
    """Vectors, float32, shape (items, dimensions), and their Euclidean lengths, float32, shape (items,)."""

    vectors: np.ndarray
    norms: np.ndarray


@dataclass(frozen=True)
class Part:
    """Some vectors of a matrix."""

    vectors: np.ndarray
    norms: np.ndarray


def proximities(vectors: np.ndarray, norms: np.ndarray, queries: np.ndarray, metric: str, out=None) -> np.ndarray:
    """Order vectors by their distance, without the work of computing it.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (items, dimensions).
    norms : numpy.ndarray
        float32, shape (items,), their Euclidean lengths.
    queries : numpy.ndarray
        float32, shape (dimensions,) or (queries, dimensions).
    metric : str, a key of `METRICS`
        As for `vectors.distances`.
    out : numpy.ndarray, optional
        Where the result is written.

    Returns
    -------
    numpy.ndarray
        float32, shape (items,) or (queries, items): within a query, the larger, the nearer.
    """
    products = np.matmul(queries, vectors.T, out=out) if queries.ndim > 1 else np.matmul(vectors, queries, out=out)
    METRICS[metric].proximities(products, norms)
    return products


def margins(longest: float, queries: np.ndarray, metric: str) -> np.ndarray:
    """Return by how much `proximities` may err: float32, shape (queries,).

    A sum of n products of float32, in any order of a few dozen partial sums, is wrong by less than some (16 + √n)
    roundings of the product of both lengths.
    """
    lengths = np.linalg.norm(queries, axis=1)
    rounding = np.finfo(np.float32).eps * (16 + queries.shape[1] ** 0.5)
    return 2 * rounding * METRICS[metric].scale(lengths, longest)


def nearest(blocks: list[Vectors], queries: np.ndarray, count: int, metric: str) -> list[np.ndarray]:
    """Find the vectors nearest to each query.

    Parameters
    ----------
    blocks : list of Vectors
        What is searched, on all cores.
    queries : numpy.ndarray
        float32, shape (queries, dimensions).
    count : int
        How many are wanted; there may be fewer in all.
    metric : str, a key of `METRICS`
        As for `vectors.distances`.

    Returns
    -------
    list of numpy.ndarray
        For each query, positions in the order of the blocks, unordered: at least the `count` nearest, and those that
        rounding does not tell from the last of them.
    """
    if METRICS[metric].compares_directions:  # the product of two that are tiny would vanish
        queries = (queries / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)
    ends = np.cumsum([len(block.norms) for block in blocks])
    total = int(ends[-1]) if blocks else 0
    distances = np.empty((len(queries), total), np.float32)
    single = queries[0] if len(queries) == 1 else queries

    def search(number: int) -> None:
        block, end = blocks[number], ends[number]
        part = distances[:, end - len(block.norms) : end]
        if len(queries) == 1:
            proximities(block.vectors, block.norms, single, metric, out=part[0])
        else:
            part[:] = proximities(block.vectors, block.norms, single, metric)

    in_parallel(search, len(blocks))
    if count >= total:
        return [np.arange(total)] * len(queries)
    last = np.partition(distances, total - count, axis=1)[:, total - count]
    longest = max(float(block.norms.max()) for block in blocks)
    least = last - margins(longest, queries, metric)
    return [np.flatnonzero(row >= lowest) for row, lowest in zip(distances, least, strict=True)]


def rank(query: np.ndarray, item_ids: list[str], vectors: np.ndarray, k: int, metric: str) -> list[tuple[float, str]]:
    """Rank items by their true distance, ties in the order of their names.

    Parameters
    ----------
    query, vectors : numpy.ndarray
        float32, shapes (dimensions,) and (items, dimensions).
    item_ids : list of str
        One for each vector.
    k : int
        How many are wanted.
    metric : str, a key of `METRICS`
        As for `vectors.distances`.

    Returns
    -------
    list of (float, str)
        Distances and items, nearest first.
    """
    ranked = zip(distances(query, vectors, metric).tolist(), item_ids, strict=True)
    return sorted(ranked)[:k]
