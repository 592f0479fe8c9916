"""Comparing algorithms on a user's votes."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import algorithm_selection
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.votes import Votes
from pixelplum.server.blocks import kept
from pixelplum.server.canceling import cancellable


def check_selection(plpy, cache: dict, algorithms: list[str], balances: list[str], search: str) -> None:
    """Refuse what cannot be compared."""
    algorithm_selection.check(algorithms, balances, search)


@cancellable
def compare_algorithms(
    plpy, cache: dict, blocks_key: str | None, blocks: list[int] | None, rows: list[int] | None, values: list[float],
    packed: bytes | None, size: int, algorithms: list[str], balances: list[str], search: str, seed: int,
) -> str | None:  # fmt: skip
    """Compare algorithms; return what `algorithm_selection.compare` does, as JSON; None if the blocks are not opened.

    Parameters
    ----------
    blocks_key, blocks, rows, values, packed
        A user's votes, as for `user_models.fit`.
    size, algorithms, balances, search, seed
        As for `algorithm_selection.compare`.
    """
    stored = kept(cache, blocks_key)
    if packed is None and stored is None:
        return None
    if packed is None:
        matrix = stored.vectors(list(zip(blocks, rows, strict=True)))
    else:
        matrix = vectors.matrix(packed, len(packed) // 4 // len(values))
    votes = Votes(unit(matrix), np.array(values))
    return json.dumps(algorithm_selection.compare(votes, size, algorithms, balances, search, seed))
