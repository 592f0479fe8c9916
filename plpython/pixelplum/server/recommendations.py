"""Recommendations: candidates from blocks or an index, then the best of those that may be shown."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import models, recommendations
from pixelplum.core.users.candidates import best, unit
from pixelplum.server.blocks import Packed, kept, locations


def opened(cache: dict, described: str, content: bytes) -> models.Model:
    """Return a user's model, unpacked once."""
    return cache.setdefault("user_model", models.Cache()).open(described, content)


def find_best_candidates(
    plpy, cache: dict, blocks_key: str, index_key: str | None, described: str, content: bytes, count: int,
    seen_blocks: list[int], seen_rows: list[int], only_blocks: list[int] | None, only_rows: list[int] | None,
) -> list[str] | None:  # fmt: skip
    """Find items that may be the best for a user.

    Parameters
    ----------
    blocks_key, index_key : str
        Blocks, and an index or None, as they were opened.
    described, content
        The user's model, packed.
    count : int
        How many are wanted.
    seen_blocks, seen_rows : list of int
        Where the vectors are of items that are not wanted.
    only_blocks, only_rows : list of int or None
        Where those are of the only items that are; None: all.

    Returns
    -------
    list of str or None
        None if this backend has not opened what is to be searched.
    """
    stored, index = kept(cache, blocks_key), kept(cache, index_key) if index_key is not None else None
    if stored is None or (index is None) != (index_key is None):
        return None
    model = opened(cache, described, content)
    if only_blocks is not None:
        allowed, rows = np.array(only_blocks, int), np.array(only_rows, int) - 1
        unseen = ~np.isin(stored.starts[allowed] + rows, _positions(stored, seen_blocks, seen_rows))
        allowed, rows = allowed[unseen], rows[unseen]
        order = np.lexsort((rows, allowed))
        found_blocks, found_rows, _ = best(allowed[order], rows[order], stored.by_number, model, count)
        positions = zip(found_blocks.tolist(), found_rows.tolist(), strict=True)
        return [stored.item_at((block, row + 1)) for block, row in positions]
    near = recommendations.queries(model) if index is not None else None
    if near is not None:
        hits = index.search(near, count + len(seen_rows), "cosine")
        return list(dict.fromkeys(index.item_id(position) for row in hits for position in row.tolist()))
    scores = recommendations.scores(stored.blocks, [model])[0]
    scores[_positions(stored, seen_blocks, seen_rows)] = -np.inf
    return [stored.item_id(position) for position in recommendations.best(scores, count).tolist()]


def _positions(stored: Packed, blocks: list[int], rows: list[int]) -> np.ndarray:
    return stored.starts[np.array(blocks, int)] + np.array(rows, int) - 1


def score_vector(plpy, cache: dict, vector: bytes, described: str, content: bytes) -> float:
    """Score a vector by a model."""
    return float(opened(cache, described, content).scores(unit(vectors.from_bytes(vector)[np.newaxis]))[0])


def choose_items(
    plpy, cache: dict, blocks_key: str, described: str, content: bytes, located: dict, other_ids: list[str],
    others: bytes, liked: dict, k: int, diversity: float,
) -> dict:  # fmt: skip
    """Choose the best of the items that may be shown.

    Parameters
    ----------
    blocks_key : str
        Blocks, as they were opened.
    described, content
        The user's model, packed.
    located : dict
        Items, and where their vectors are.
    other_ids, others : list of str, bytes
        Items that are in no block, and their vectors, one after another.
    liked : dict
        What the user liked, and where their vectors are.
    k : int
    diversity : float
        As for `recommendations.diverse`.

    Returns
    -------
    dict
        item_ids, scores, and liked_ids: for each item, those that it is close to, as a JSON array.
    """
    stored, model = kept(cache, blocks_key), opened(cache, described, content)
    item_ids = located["item_ids"] or []
    parts = [stored.vectors(locations(located))] if item_ids else []
    if other_ids:
        parts.append(vectors.matrix(others, len(others) // 4 // len(other_ids)))
    if not parts:
        return {"item_ids": [], "scores": [], "liked_ids": []}
    directions = unit(np.concatenate(parts))
    names = [*item_ids, *other_ids]
    order = np.argsort(names, kind="stable")  # ties in the order of names
    names, directions = [names[position] for position in order], directions[order]
    scores = model.scores(directions)
    chosen = recommendations.diverse(directions, scores, k, diversity)
    likes = close_likes(stored, directions[chosen], liked["item_ids"], locations(liked))
    return {
        "item_ids": [names[position] for position in chosen],
        "scores": scores[chosen].tolist(),
        "liked_ids": [json.dumps(own) for own in likes],
    }


def close_likes(
    stored: Packed, directions: np.ndarray, liked_ids: list[str], where: list[tuple[int, int]]
) -> list[list[str]]:
    """Return for each of some directions which liked items it is close to; see `recommendations.close_likes`."""
    likes = unit(stored.vectors(where)) if liked_ids else directions[:0]
    return [[liked_ids[n] for n in own] for own in recommendations.close_likes(directions, likes)]


def explain_score(plpy, cache: dict, described: str, content: bytes, vector: bytes, votes: dict) -> dict | None:
    """Score an item, and tell how like it is to what the user has voted on; None if the blocks are not opened."""
    stored = kept(cache, votes["blocks_key"])
    if stored is None:
        return None
    direction = unit(vectors.from_bytes(vector)[np.newaxis])
    voted_ids, values = votes["item_ids"] or [], votes["vals"] or []
    voted = unit(stored.vectors(locations(votes))) if voted_ids else direction[:0]
    likeness = (voted @ direction[0]).astype(float)
    order = np.argsort(-likeness, kind="stable").tolist()
    return {
        "score": float(opened(cache, described, content).scores(direction)[0]),
        "item_ids": [voted_ids[position] for position in order],
        "likeness": likeness[order].tolist(),
        "vals": [values[position] for position in order],
    }


def model_of_medoids(plpy, cache: dict, centers: bytes, weights: list[float]) -> dict:
    """Return, packed, a model that likes what is near clusters by their weights; see `pix_internal.pooled_model`."""
    directions = unit(vectors.matrix(centers, len(centers) // 4 // len(weights)))
    model = models.Linear((np.array(weights) @ directions).astype(np.float32), 0.0)
    described, content = models.pack(model)
    return {"described": models.dumps(described), "content": content}


def model_of_all_users(plpy, cache: dict, blocks_key: str) -> dict | None:
    """Return, packed, a model that likes what is near the mean of all; None if the blocks are not opened."""
    stored = kept(cache, blocks_key)
    if stored is None:
        return None
    total = sum(unit(block.vectors).sum(axis=0, dtype=np.float64) for block in stored.blocks)
    described, content = models.pack(models.Linear(unit(total.astype(np.float32)), 0.0))
    return {"described": models.dumps(described), "content": content}
