"""The items of a cluster that a user may like best: by what they liked and disliked, or typical ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pixelplum.core.search.exact import Vectors
from pixelplum.core.threads import in_parallel
from pixelplum.core.users.models import Anchored, Linear, Model, scorer

AWAY = 0.5
"""How much dislikes count, against likes."""
CLOSELY = 50
"""Items more than are wanted, whose scores are computed in full where there is a sketch."""


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
        names, starts = np.unique(clusters, return_index=True)
        ends = [*starts[1:], len(clusters)]
        self._ranges = {int(c): range(int(a), int(b)) for c, a, b in zip(names, starts, ends, strict=True)}

    def positions(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks of a cluster's items, in order, and their rows there, from 0; shape (items,)."""
        own = self._ranges.get(cluster, range(0))
        return self._blocks[own.start : own.stop], self._rows[own.start : own.stop]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors, shape (..., dimensions), to length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def taste(directions: np.ndarray, weights: np.ndarray, typical: np.ndarray) -> Linear:
    """Return what a user without a model is looking for: the mean of likes, less half of that of dislikes.

    Parameters
    ----------
    directions : numpy.ndarray
        float32, shape (items, dimensions): what they have voted on, as `unit` scales it; there may be none.
    weights : numpy.ndarray
        float64, shape (items,): above 0 liked, below 0 disliked.
    typical : numpy.ndarray
        float32, shape (dimensions,): what stands for their likes while there are none.

    References
    ----------
    Rocchio: Relevance feedback in information retrieval. In: The SMART Retrieval System, 1971.
    """
    likes, dislikes = np.maximum(weights, 0), np.maximum(-weights, 0)
    wanted = likes @ directions / likes.sum() if likes.any() else unit(typical)
    if dislikes.any():
        wanted = wanted - AWAY * (dislikes @ directions) / dislikes.sum()
    return Linear(wanted.astype(np.float32), 0.0)


@dataclass(frozen=True)
class Sketch:
    """Principal components of directions, which tell roughly and quickly how high scores are.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (items, components), in the order of the blocks: of directions less their mean.
    mean : numpy.ndarray
        float32, shape (dimensions,).
    components : numpy.ndarray
        float32, shape (components, dimensions).
    starts : numpy.ndarray
        int, for each number of a block, the position of its first vector.
    """

    vectors: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    starts: np.ndarray

    def likely(
        self, blocks: np.ndarray, rows: np.ndarray, model: Anchored, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks and rows of those items that `count` of the highest scores are likely among."""
        if count >= len(rows):
            return blocks, rows
        near = self.vectors.take(self.starts[blocks] + rows, axis=0)
        anchors = model.anchors.T
        scores = model.of_products(near @ (self.components @ anchors) + self.mean @ anchors)
        chosen = np.argpartition(-scores, count)[:count]
        return blocks[chosen], rows[chosen]


def best(
    blocks: np.ndarray,
    rows: np.ndarray,
    stored: Mapping[int, Vectors],
    model: Model,
    count: int,
    sketch: Sketch | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the items of a cluster with the highest scores.

    Parameters
    ----------
    blocks, rows : numpy.ndarray
        As `Members.positions` returns them.
    stored : mapping of int to Vectors
        Blocks by their numbers.
    model : Model
        What scores them.
    count : int
        How many are wanted; there may be fewer.
    sketch : Sketch, optional
        It tells which few items to look at closely, if the model is `Anchored`; else all are.

    Returns
    -------
    tuple of numpy.ndarray
        Blocks, rows in them from 0, and scores, the highest first; shape (found,).
    """
    if sketch is None or not isinstance(model, Anchored):
        scores = _all_scores(blocks, rows, stored, model)
    else:
        blocks, rows = sketch.likely(blocks, rows, model, count + CLOSELY)
        scores = _few_scores(blocks, rows, stored, model)
    if count < len(scores):
        chosen = np.argpartition(-scores, count)[:count]
        blocks, rows, scores = blocks[chosen], rows[chosen], scores[chosen]
    order = np.lexsort((rows, blocks, -scores))
    return blocks[order], rows[order], scores[order]


def _few_scores(blocks: np.ndarray, rows: np.ndarray, stored: Mapping[int, Vectors], model: Model) -> np.ndarray:
    if not len(rows):
        return np.empty(0)
    positions = list(zip(blocks.tolist(), rows.tolist(), strict=True))
    vectors = np.stack([stored[block].vectors[row] for block, row in positions])
    return scorer(model)(vectors, np.array([stored[block].norms[row] for block, row in positions]))


def _all_scores(blocks: np.ndarray, rows: np.ndarray, stored: Mapping[int, Vectors], model: Model) -> np.ndarray:
    """Block by block, on all cores: what is gathered of a block stays in the cache until it is multiplied."""
    numbers, begins = np.unique(blocks, return_index=True)
    ends = np.append(begins[1:], len(rows))[: len(begins)]
    ranges = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
    scores = np.empty(len(rows))
    scored = scorer(model)

    def score(piece: int) -> None:
        own, wanted_rows = stored[int(numbers[piece])], rows[ranges[piece]]
        scores[ranges[piece]] = scored(own.vectors.take(wanted_rows, axis=0), own.norms[wanted_rows])

    in_parallel(score, len(ranges))
    return scores
