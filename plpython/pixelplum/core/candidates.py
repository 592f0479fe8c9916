"""The items of a cluster that a user may like best: by what they liked and disliked, or typical ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pixelplum.core.nearest import Vectors, proximities
from pixelplum.core.threads import share

AWAY = 0.5
"""How much dislikes count, against likes."""


class Members:
    """Which vectors belong to which cluster.

    Parameters
    ----------
    clusters, blocks, rows : numpy.ndarray
        int, shape (items,): cluster of each item, its block, and its row there, from 1.
    """

    def __init__(self, clusters: np.ndarray, blocks: np.ndarray, rows: np.ndarray):
        order = np.lexsort((rows, blocks, clusters))
        clusters, self._blocks, self._rows = clusters[order], blocks[order], rows[order] - 1
        found, starts = np.unique(clusters, return_index=True)
        ends = [*starts[1:], len(clusters)]
        self._ranges = {int(c): range(int(a), int(b)) for c, a, b in zip(found, starts, ends, strict=True)}

    def parts(self, cluster: int) -> list[tuple[int, np.ndarray]]:
        """Return the blocks that hold items of a cluster, and their rows there, from 0."""
        if cluster not in self._ranges:
            return []
        own = self._ranges[cluster]
        blocks, rows = self._blocks[own.start : own.stop], self._rows[own.start : own.stop]
        found, starts = np.unique(blocks, return_index=True)
        return [(int(b), part) for b, part in zip(found, np.split(rows, starts[1:]), strict=True)]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors, shape (..., dimensions), to length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def taste(vectors: np.ndarray, weights: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """Return what a user is looking for: the mean of what they like, less half of that of what they dislike.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (items, dimensions): what they have voted on; there may be none.
    weights : numpy.ndarray
        float64, shape (items,): above 0 liked, below 0 disliked.
    typical : numpy.ndarray
        float32, shape (dimensions,): what stands for their likes while there are none.

    Returns
    -------
    numpy.ndarray
        float32, shape (dimensions,). Its product with a vector of length 1 is that item's score.

    References
    ----------
    Rocchio: Relevance feedback in information retrieval. In: The SMART Retrieval System, 1971.
    """
    directions = unit(np.asarray(vectors, np.float64))
    liked, disliked = weights > 0, weights < 0
    wanted = (
        np.average(directions[liked], axis=0, weights=weights[liked]) if liked.any() else unit(typical.astype(float))
    )
    if disliked.any():
        wanted = wanted - AWAY * np.average(directions[disliked], axis=0, weights=-weights[disliked])
    return wanted.astype(np.float32)


def best(
    parts: list[tuple[int, np.ndarray]], stored: Mapping[int, Vectors], wanted: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the items of a cluster with the highest scores.

    Parameters
    ----------
    parts : list of (int, numpy.ndarray)
        As `Members.parts` returns them.
    stored : mapping of int to Vectors
        Blocks by their numbers.
    wanted : numpy.ndarray
        As `taste` returns it.
    count : int
        How many are wanted; there may be fewer.

    Returns
    -------
    tuple of numpy.ndarray
        Blocks, rows in them from 0, and scores, the highest first; shape (found,).
    """
    scores: list[np.ndarray] = [np.empty(0, np.float32)] * len(parts)

    def score(number: int) -> None:
        block, rows = parts[number]
        own = stored[block]
        scores[number] = proximities(own.vectors.take(rows, axis=0), own.norms[rows], wanted, "cosine")

    share(score, len(parts))
    if not parts:
        return np.empty(0, int), np.empty(0, int), np.empty(0, np.float32)
    joined = np.concatenate(scores)
    blocks = np.repeat([block for block, _ in parts], [len(rows) for _, rows in parts])
    rows = np.concatenate([rows for _, rows in parts])
    if count < len(joined):
        chosen = np.argpartition(-joined, count)[:count]
        blocks, rows, joined = blocks[chosen], rows[chosen], joined[chosen]
    order = np.lexsort((rows, blocks, -joined))
    return blocks[order], rows[order], joined[order]
