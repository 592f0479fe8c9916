"""Which items to recommend: the best of all by a model, some that differ, and which likes they are close to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixelplum.core.search.exact import Vectors
from pixelplum.core.threads import in_parallel
from pixelplum.core.users.models import Anchored, Centroid, Linear, Model, Nearest, scorer

NEAREST_LIKES = 3
ABOUT_AS_NEAR = 0.9
MOST_QUERIES = 32


def scores(blocks: Sequence[Vectors], models: list[Model]) -> np.ndarray:
    """Score all items by several models, on all cores.

    Parameters
    ----------
    blocks : sequence of Vectors
        All items.
    models : list of Model

    Returns
    -------
    numpy.ndarray
        float32, shape (models, items), in the order of the blocks.
    """
    ends = np.cumsum([len(block.norms) for block in blocks])
    scores = np.empty((len(models), int(ends[-1])), np.float32)
    anchored = [model.anchors for model in models if isinstance(model, Anchored)]
    anchors = np.concatenate(anchored) if anchored else None
    others = {position: scorer(model) for position, model in enumerate(models) if not isinstance(model, Anchored)}

    def score(number: int) -> None:
        block = blocks[number]
        columns = slice(ends[number] - len(block.norms), ends[number])
        if anchors is not None:
            products = block.vectors @ anchors.T
            np.divide(products, block.norms[:, np.newaxis], out=products, where=block.norms[:, np.newaxis] > 0)
        start = 0
        for position, model in enumerate(models):
            if isinstance(model, Anchored):
                end = start + len(model.anchors)
                scores[position, columns] = model.of_products(products[:, start:end])
                start = end
            else:
                scores[position, columns] = others[position](block.vectors, block.norms)

    in_parallel(score, len(blocks))
    return scores


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return positions of the highest scores, float32, shape (items,), the highest first; -inf is left out."""
    count = min(count, int(np.count_nonzero(scores > -np.inf)))
    if not count:
        return np.empty(0, int)
    chosen = np.argpartition(-scores, count - 1)[:count]
    return chosen[np.lexsort((chosen, -scores[chosen]))]


def queries(model: Model) -> np.ndarray | None:
    """Return directions near which a model's best items are: float32, shape (queries, dimensions); None if unknown."""
    if not isinstance(model, Anchored):
        return None
    anchors = model.anchors
    if isinstance(model, Linear):
        pull = np.ones(1)
    elif isinstance(model, Centroid):
        pull = np.array([1, -1]) / np.maximum([model.like_count, model.dislike_count], 1e-30)
    else:  # what attracts, and away from what repels
        pull = model.values if isinstance(model, Nearest) else model.coefficients
    on_the_whole = (pull @ anchors).astype(np.float32)[np.newaxis]
    if isinstance(model, Linear | Centroid):
        wanted = on_the_whole
    else:
        order = np.argsort(-pull, kind="stable")[:MOST_QUERIES]
        wanted = np.concatenate([on_the_whole, anchors[order][pull[order] > 0]])
    return wanted if wanted.any(axis=1).all() else None


def diverse(directions: np.ndarray, scores: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Choose items that are good and unlike each other: maximal marginal relevance.

    Parameters
    ----------
    directions : numpy.ndarray
        float32, shape (items, dimensions), of length 1.
    scores : numpy.ndarray
        float64, shape (items,).
    k : int
        How many are wanted; there may be fewer.
    diversity : float
        From 0, scores alone, to 1, differences alone.

    Returns
    -------
    numpy.ndarray
        Positions, in the order of choice; the first is the best.

    References
    ----------
    J. Carbonell and J. Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998.
    """
    if not diversity:
        return np.lexsort((np.arange(len(scores)), -scores))[:k]
    spread = float(scores.max() - scores.min()) if len(scores) else 0.0
    relevance = (scores - scores.min()) / spread if spread > 0 else np.zeros(len(scores))
    likeness = np.full(len(scores), -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        value = (1 - diversity) * relevance - diversity * np.where(np.isfinite(likeness), likeness, 0)
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        likeness = np.maximum(likeness, directions @ directions[chosen[-1]])
    return np.array(chosen, int)


def close_likes(directions: np.ndarray, likes: np.ndarray) -> list[list[int]]:
    """Return, for each item, the likes that it is close to: up to three, about as near as the nearest.

    Parameters
    ----------
    directions, likes : numpy.ndarray
        float32, shape (items, dimensions) and (likes, dimensions), of length 1.
    """
    if not len(likes):
        return [[] for _ in directions]
    closest = []
    for row in directions @ likes.T:
        order = np.argsort(-row, kind="stable")[:NEAREST_LIKES]
        closest.append(
            [
                int(position)
                for position in order
                if row[position] > 0 and row[position] >= ABOUT_AS_NEAR * row[order[0]]
            ]
        )
    return closest
