"""Which cluster to show next, and which item of it."""

from __future__ import annotations

import numpy as np

from pixelplum.core import bandit, candidates, vectors
from pixelplum.server.blocks import keep, kept


def choose(
    plpy, cache: dict, policy: str, clusters: list[int], parents: list[int | None], alpha: list[float],
    beta: list[float], likes: list[float], dislikes: list[float], free: list[int], count: int, seed: int | None,
) -> dict:  # fmt: skip
    """Choose clusters for a page: none a second time before all others had their turn.

    Parameters
    ----------
    policy : str
        As for `bandit.probabilities`.
    clusters : list of int
        Numbers of clusters, upper ones too where branches are chosen before leaves.
    parents : list of (int or None)
        The cluster above each; None for those at the top.
    alpha, beta : list of float
        The prior of each.
    likes, dislikes : list of float
        Of each that has none above another.
    free : list of int
        How many items of each can be shown.
    count : int
        How many are wanted; there may be fewer.
    seed : int or None
        Of the random numbers; None: others each time.

    Returns
    -------
    dict
        clusters, propensities, and their standard errors.
    """
    place_of = {cluster: place for place, cluster in enumerate(clusters)}
    tree = bandit.Tree([None if parent is None else place_of[parent] for parent in parents])
    random = np.random.default_rng(seed)
    left = np.where(tree.is_leaf, np.array(free), 0)
    turns = np.zeros(len(left), int)
    a, b = np.array(alpha) + tree.sums(np.array(likes)), np.array(beta) + tree.sums(np.array(dislikes))
    found: dict[str, list] = {"clusters": [], "propensities": [], "errors": []}
    while len(found["clusters"]) < count and left.any():
        can = left > 0
        place, propensity, error = tree.choose(policy, a, b, can & (turns == turns[can].min()), random)
        found["clusters"].append(clusters[place])
        found["propensities"].append(propensity)
        found["errors"].append(error)
        left[place] -= 1
        turns[place] += 1
    return found


def check_policy(plpy, cache: dict, policy: str | None) -> None:
    """Refuse a policy that is not known."""
    bandit.check_policy(policy)


def map_members(plpy, cache: dict, key: str, clusters: list[int], blocks: list[int], rows: list[int]) -> None:
    """Keep which vectors belong to which cluster under a key."""
    keep(cache, key, candidates.Members(np.array(clusters), np.array(blocks), np.array(rows)))


def best_in_clusters(
    plpy, cache: dict, key: str, blocks_key: str, clusters: list[int], counts: list[int], centres: bytes,
    dimensions: list[int] | None, voted_ids: list[str], voted_blocks: list[int], voted_rows: list[int],
    weights: list[float], excluded: list[str],
) -> dict | None:  # fmt: skip
    """Find the items of clusters that a user may like best.

    Parameters
    ----------
    key, blocks_key : str
        Members and blocks, as they were mapped.
    clusters, counts : list of int
        In which to look, and how many are wanted of each.
    centres : bytes
        Their centres, one after another.
    dimensions : list of int or None
        Which dimensions, from 1, the centres are of.
    voted_ids, voted_blocks, voted_rows, weights : list
        Items that the user has an opinion of, where their vectors are, and how much they like them.
    excluded : list of str
        Items that are not wanted.

    Returns
    -------
    dict or None
        clusters, item_ids, scores, and nearest: the liked item that is most alike, or None. None if this backend has
        not mapped what is to be searched.
    """
    stored, members = kept(cache, blocks_key), kept(cache, key)
    if stored is None or members is None:
        return None
    voted = (
        stored.vectors(list(zip(voted_blocks, voted_rows, strict=True))) if voted_ids else np.empty((0, 0), np.float32)
    )
    strengths = np.array(weights)
    liked = [place for place, weight in enumerate(weights) if weight > 0]
    likes = candidates.unit(voted[liked]) if liked else None
    refused = set(excluded)
    size = stored.blocks[0].vectors.shape[1]
    found: dict[str, list] = {"clusters": [], "item_ids": [], "scores": [], "nearest": []}
    for cluster, count, centre in zip(
        clusters, counts, vectors.matrix(centres, len(centres) // 4 // len(clusters)), strict=True
    ):
        typical = np.zeros(size, np.float32)
        typical[slice(None) if dimensions is None else np.array(dimensions) - 1] = centre
        wanted = candidates.taste(voted, strengths, typical)
        blocks, rows, scores = candidates.best(members.parts(cluster), stored.by_number, wanted, count + len(refused))
        for block, row, score in zip(blocks.tolist(), rows.tolist(), scores.tolist(), strict=True):
            item_id = stored.item_at((block, row + 1))
            if item_id in refused:
                continue
            found["clusters"].append(cluster)
            found["item_ids"].append(item_id)
            found["scores"].append(score)
            if likes is None:
                found["nearest"].append(None)
            else:
                found["nearest"].append(voted_ids[liked[int((likes @ stored.by_number[block].vectors[row]).argmax())]])
            count -= 1
            if count == 0:
                break
    return found
