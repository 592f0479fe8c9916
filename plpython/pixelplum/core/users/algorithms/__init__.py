"""Algorithms that learn one user's taste: a new one is a class in a module here.

All but `hierarchical` know nothing but the user's own votes.
"""

from __future__ import annotations

from pixelplum.core.discovery import named_classes
from pixelplum.core.users.algorithms.base import Algorithm
from pixelplum.core.users.algorithms.ensemble import EnsembleOf
from pixelplum.errors import UnusableArgument, shown

_SINGLE: list[Algorithm] = [kind() for kind in named_classes(__name__, __path__, Algorithm) if kind is not EnsembleOf]

SIMPLE: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in _SINGLE if algorithm.is_simple}
"""Those that can be compared on one user's votes, and be members of an ensemble."""

ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in (*_SINGLE, EnsembleOf(SIMPLE))}


def find(name: str) -> Algorithm:
    """Return the algorithm of a name.

    Raises
    ------
    UnusableArgument
    """
    if name not in ALGORITHMS:
        raise UnusableArgument(
            f"algorithm must be one of {', '.join(ALGORITHMS)}, not {shown(name)}",
            hint="SELECT * FROM pix.algorithms('user model') lists them.",
        )
    return ALGORITHMS[name]
