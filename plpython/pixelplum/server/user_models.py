"""One model per user: trained from votes, kept as numbers and arrays."""

from __future__ import annotations

import json
import time

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import models
from pixelplum.core.users.algorithms import find
from pixelplum.core.users.algorithms.base import Trained
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.votes import Votes
from pixelplum.errors import PixelplumError, Untrainable, UnusableArgument, VectorError
from pixelplum.server.blocks import keep, kept
from pixelplum.server.parameters import read

UNLIKELY = 0.2
"""A vote contradicts a model to which, without having seen it, it was less probable."""

MOST_CONTRADICTIONS = 10
NOTHING = dict.fromkeys(
    ("described", "content", "slope", "intercept", "auc", "contradictions", "seconds", "sqlstate", "reason")
)


def complete(algorithm: str, parameters: str, dimensions: int) -> str:
    """Return an algorithm's parameters as JSON, with defaults where none are given; refuse what cannot be used."""
    values = read(parameters, UnusableArgument)
    return models.dumps(find(algorithm).check(values, dimensions))


def fit_user_model(
    plpy, cache: dict, blocks_key: str, taste_key: str | None, algorithm: str, parameters: str,
    item_ids: list[str], blocks: list[int] | None, rows: list[int] | None, values: list[float], packed: bytes | None,
    half: int,
) -> dict | None:  # fmt: skip
    """Train a model; what goes wrong with a user's votes is a reason, not an error.

    Parameters
    ----------
    blocks_key, taste_key : str
        Blocks, and the prior over tastes, as they were opened.
    algorithm, parameters : str
        As `complete` returns them.
    item_ids : list of str
        What the user has voted on, the latest first.
    blocks, rows : list of int or None
        Where the vectors of these items are.
    values : list of float
        What the user thinks of them.
    packed : bytes or None
        Their vectors, one after another, where no blocks are opened.
    half : int
        In which half of the users this one is, 0 or 1.

    Returns
    -------
    dict or None
        described, content, slope, intercept, auc, contradictions, seconds; or sqlstate and reason. None if this
        backend has not opened what is needed.
    """
    begun = time.perf_counter()
    needs_taste = find(algorithm).needs_common_taste
    stored, taste = kept(cache, blocks_key), kept(cache, taste_key) if needs_taste else None
    if (packed is None and stored is None) or (needs_taste and taste is None):
        return None
    try:
        if packed is None:
            matrix = stored.vectors(list(zip(blocks, rows, strict=True)))
        else:
            matrix = vectors.matrix(packed, len(packed) // 4 // len(values))
            if not np.isfinite(matrix).all():
                raise VectorError("The features of an item that was voted on hold a number that is not finite")
        votes = Votes(unit(matrix), np.array(values))
        trained = find(algorithm).train(votes, json.loads(parameters), taste, half)
        described, content = models.pack(trained.model)
        how = trained.calibration
        return NOTHING | {
            "described": models.dumps(described),
            "content": content,
            "slope": None if how is None else how.slope,
            "intercept": None if how is None else how.offset,
            "seconds": time.perf_counter() - begun,
            **_left_out(trained, votes, item_ids),
        }
    except PixelplumError as error:
        return NOTHING | {"sqlstate": error.sqlstate, "reason": str(error)}
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        return NOTHING | {"sqlstate": Untrainable.sqlstate, "reason": f"{algorithm} cannot be trained: {error}"}


def _left_out(trained: Trained, votes: Votes, item_ids: list[str]) -> dict:
    """How well the model tells votes that it has not seen, and which it would not have expected."""
    liked, scores = votes.liked, trained.left_out
    if scores is None:
        return {}
    contradictions: list[str] = []
    if trained.calibration is not None:
        chances = trained.calibration.probabilities(scores)
        own = np.where(liked, chances, 1 - chances)
        order = np.argsort(own, kind="stable")[:MOST_CONTRADICTIONS]
        contradictions = [item_ids[position] for position in order if own[position] < UNLIKELY]
    return {"auc": trained.auc, "contradictions": contradictions}


def update_user_model(
    plpy, cache: dict, blocks_key: str, algorithm: str, described: str, content: bytes, blocks: list[int],
    rows: list[int], values: list[float],
) -> dict | None:  # fmt: skip
    """Let a model see some votes more, the latest first; None if this backend has not opened the blocks."""
    stored = kept(cache, blocks_key)
    if stored is None:
        return None
    votes = Votes(unit(stored.vectors(list(zip(blocks, rows, strict=True)))), np.array(values))
    changed, packed = models.pack(find(algorithm).update(models.unpack(json.loads(described), content), votes))
    return {"described": models.dumps(changed), "content": packed}


def keep_common_taste(plpy, cache: dict, key: str, described: str, content: bytes) -> None:
    """Keep the prior over tastes under a key."""
    keep(cache, key, models.unpack(json.loads(described), content))
