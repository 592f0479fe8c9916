"""Evaluating recommenders on what users liked afterwards."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.users import evaluation, recommendations
from pixelplum.core.users.algorithms import find
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.votes import Votes
from pixelplum.errors import TooFewVotes
from pixelplum.server.blocks import Packed, kept
from pixelplum.server.canceling import cancellable

BASELINES = ("popularity", "random")
AT_ONCE = 50
"""Users whose scores are in memory together."""


@cancellable
def evaluate_recommender(
    plpy, cache: dict, taste_key: str | None, recommender: str, algorithms: list[str], users: list[int], votes: dict,
    held_out: list[bool], k: int, seed: int,
) -> str | None:  # fmt: skip
    """Judge one recommender.

    Parameters
    ----------
    taste_key : str or None
        What users have in common as their earlier votes tell, as it was opened.
    recommender : str
        popularity, random, or anything else: models.
    algorithms : list of str
        Of each user's model.
    users : list of int
        Of each vote, the number of its user, from 1; votes of a user follow one another, the latest first.
    votes : dict
        Where the item's vector is, what the user thinks of it; and in which blocks, as they were opened.
    held_out : list of bool
        Whether the vote is not to be learned from.
    k : int
        How many items are recommended.
    seed : int

    Returns
    -------
    str or None
        As JSON, what `evaluation.summary` returns; None if this backend has not opened what is needed.
    """
    stored = kept(cache, votes["blocks_key"])
    taste = kept(cache, taste_key) if taste_key is not None else None
    if stored is None or (taste_key is not None and taste is None):
        return None
    positions = stored.starts[np.array(votes["blocks"], int)] + np.array(votes["positions"], int) - 1
    strengths, later, who = np.array(votes["vals"]), np.array(held_out), np.array(users)
    total = sum(len(block.norms) for block in stored.blocks)
    random = np.random.default_rng(seed)
    popular = np.bincount(positions[~later], weights=strengths[~later], minlength=total)
    outcomes = []
    for start in range(1, len(algorithms) + 1, AT_ONCE):
        chosen = range(start, min(start + AT_ONCE, len(algorithms) + 1))
        own = [np.flatnonzero(who == user) for user in chosen]
        if recommender in BASELINES:
            kept_users, noise = own, random.random((len(own), total))
            scores = noise if recommender == "random" else popular + 1e-6 * noise
        else:
            kept_users, models = [], []
            for user, cast in zip(chosen, own, strict=True):
                model = _model(stored, cast[~later[cast]], positions, strengths, algorithms[user - 1], taste)
                if model is not None:
                    kept_users.append(cast)
                    models.append(model)
            if not models:
                continue
            scores = recommendations.scores(stored.blocks, models)
        for cast, row in zip(kept_users, scores, strict=True):
            row[positions[cast[~later[cast]]]] = -np.inf
            liked = positions[cast[later[cast] & (strengths[cast] > 0)]]
            first = recommendations.best(row, k)
            directions = unit(np.stack([stored.vector(position) for position in first.tolist()]))
            outcomes.append(evaluation.judge(row, liked, first, directions, k))
    return json.dumps(evaluation.summary(outcomes, total))


def _model(stored: Packed, votes: np.ndarray, positions: np.ndarray, strengths: np.ndarray, algorithm: str, taste):
    """Train on a user's strengths votes; None where they are too few for the algorithm."""
    directions = unit(np.stack([stored.vector(position) for position in positions[votes].tolist()]))
    try:
        return find(algorithm).train(Votes(directions, strengths[votes]), find(algorithm).check({}), taste).model
    except TooFewVotes:
        return None
