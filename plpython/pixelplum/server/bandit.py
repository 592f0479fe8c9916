"""Which cluster to show next, and which item of it."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit import policies
from pixelplum.core.bandit.trees import Tree
from pixelplum.core.search import vectors
from pixelplum.core.users import candidates
from pixelplum.server.blocks import keep, kept, locations
from pixelplum.server.recommendations import opened

FEW = 8
"""Items of a cluster, more than are wanted, that may turn out to be excluded."""


def choose_clusters(
    plpy, cache: dict, policy: str, clusters: list[int], parents: list[int | None], alpha: list[float],
    beta: list[float], likes: list[float], dislikes: list[float], free: list[int], count: int, seed: int | None,
) -> dict:  # fmt: skip
    """Choose clusters for a page: none a second time before all others had their turn.

    Parameters
    ----------
    policy : str
        As for `policies.probabilities`.
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
        Random seed; None: a new one each time.

    Returns
    -------
    dict
        clusters, propensities, and their standard errors.
    """
    place_of = {cluster: position for position, cluster in enumerate(clusters)}
    tree = Tree([None if parent is None else place_of[parent] for parent in parents])
    random = np.random.default_rng(seed)
    left = np.where(tree.is_leaf, np.array(free), 0)
    turns = np.zeros(len(left), int)
    a, b = np.array(alpha) + tree.sums(np.array(likes)), np.array(beta) + tree.sums(np.array(dislikes))
    choices: dict[str, list] = {"clusters": [], "propensities": [], "errors": []}
    while len(choices["clusters"]) < count and left.any():
        can = left > 0
        position, propensity, error = tree.choose(policy, a, b, can & (turns == turns[can].min()), random)
        choices["clusters"].append(clusters[position])
        choices["propensities"].append(propensity)
        choices["errors"].append(error)
        left[position] -= 1
        turns[position] += 1
    return choices


def check_policy(plpy, cache: dict, policy: str | None) -> None:
    """Refuse a policy that is not known."""
    policies.find(policy)


def keep_members(plpy, cache: dict, key: str, clusters: list[int], blocks: list[int], rows: list[int]) -> None:
    """Keep which vectors belong to which cluster under a key."""
    keep(cache, key, candidates.Members(np.array(clusters), np.array(blocks), np.array(rows)))


def best_in_clusters(
    plpy, cache: dict, key: str, sketch_key: str | None, clusters: list[int], counts: list[int], centers: bytes,
    dimensions: list[int] | None, votes: dict, excluded: list[str], described: str | None, content: bytes | None,
) -> dict | None:  # fmt: skip
    """Find the items of clusters that a user may like best.

    Parameters
    ----------
    key : str
        Members, as they were mapped.
    sketch_key : str or None
        An index that holds principal components of the very same blocks, as it was mapped.
    clusters, counts : list of int
        In which to look, and how many are wanted of each.
    centers : bytes
        Their centers, one after another.
    dimensions : list of int or None
        Which dimensions, from 1, the centers are of.
    votes : dict
        Items that the user has an opinion of, where their vectors are, how much they like them; and in which blocks.
    excluded : list of str
        Items that are not wanted.
    described, content
        The user's model, packed; None: what is most like the cluster is wanted, or like what they like.

    Returns
    -------
    dict or None
        clusters, item_ids, scores, and nearest: the liked item that is most alike, or None. None if this backend has
        not mapped what is to be searched.
    """
    stored, members = kept(cache, votes["blocks_key"]), kept(cache, key)
    sketched = kept(cache, sketch_key) if sketch_key is not None else None
    if stored is None or members is None or (sketched is None) != (sketch_key is None):
        return None
    sketch = None
    if sketched is not None:
        index = sketched.index
        projection = index.state.projection
        sketch = candidates.Sketch(index.vectors, projection.mean, projection.components, stored.starts)
    size = stored.blocks[0].vectors.shape[1]
    voted = np.empty((0, size), np.float32)
    voted_ids = votes["item_ids"] or []
    if voted_ids:
        voted = candidates.unit(stored.vectors(locations(votes)))
    strengths = np.array(votes["vals"] or [], np.float32)
    liked = np.flatnonzero(strengths > 0)
    likes = voted[liked]
    refused = set(excluded)
    model = opened(cache, described, content) if described is not None else None
    choices: dict[str, list] = {"clusters": [], "item_ids": [], "scores": [], "nearest": []}
    for cluster, count, center in zip(
        clusters, counts, vectors.matrix(centers, len(centers) // 4 // len(clusters)), strict=True
    ):
        wanted = model
        if wanted is None:
            typical = np.zeros(size, np.float32)
            typical[slice(None) if dimensions is None else np.array(dimensions) - 1] = center
            wanted = candidates.taste(voted, strengths, typical)
        positions = members.positions(cluster)
        # What is excluded is rarely among the best of this cluster: only then is more looked at.
        for more in (0, len(refused)):
            ranked = candidates.best(*positions, stored.by_number, wanted, count + more + FEW, sketch)
            items = [
                stored.item_at((block, row + 1)) for block, row in zip(*(p.tolist() for p in ranked[:2]), strict=True)
            ]
            chosen = [position for position, item_id in enumerate(items) if item_id not in refused][:count]
            if len(chosen) == count:
                break
        blocks, rows, scores = (column[chosen] for column in ranked)
        choices["clusters"] += [cluster] * len(chosen)
        choices["item_ids"] += [items[position] for position in chosen]
        choices["scores"] += scores.tolist()
        if not len(liked):
            choices["nearest"] += [None] * len(chosen)
            continue
        for block, row in zip(blocks.tolist(), rows.tolist(), strict=True):
            choices["nearest"].append(voted_ids[liked[int((likes @ stored.by_number[block].vectors[row]).argmax())]])
    return choices
