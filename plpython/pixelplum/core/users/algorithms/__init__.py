"""Algorithms that learn one user's taste: a new one is a class in a module here, and its entry in `ALGORITHMS`.

All but `hierarchical` know nothing but the user's own votes.
"""

from __future__ import annotations

from pixelplum.core.users.algorithms.base import Algorithm
from pixelplum.core.users.algorithms.counts import BernoulliNaiveBayes, CentroidOfVotes, NearestVotes
from pixelplum.core.users.algorithms.ensemble import EnsembleOf
from pixelplum.core.users.algorithms.hierarchical import Hierarchical
from pixelplum.core.users.algorithms.kernels import OneClass, Svm
from pixelplum.core.users.algorithms.linear import Logistic, SgdHinge, SgdLog
from pixelplum.core.users.algorithms.trees import RandomForest, Xgboost
from pixelplum.errors import UnknownAlgorithm, shown

SIMPLE: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        SgdHinge(), SgdLog(), Logistic(), Svm(), BernoulliNaiveBayes(), RandomForest(), Xgboost(), NearestVotes(),
        CentroidOfVotes(), OneClass(),
    )
}  # fmt: skip
"""Those that can be compared on one user's votes, and be members of an ensemble."""

ALGORITHMS: dict[str, Algorithm] = SIMPLE | {
    algorithm.name: algorithm for algorithm in (Hierarchical(), EnsembleOf(SIMPLE))
}


def find(name: str) -> Algorithm:
    """Return the algorithm of a name.

    Raises
    ------
    UnknownAlgorithm
    """
    if name not in ALGORITHMS:
        raise UnknownAlgorithm(
            f"algorithm must be one of {', '.join(ALGORITHMS)}, not {shown(name)}",
            hint="SELECT * FROM pix.algorithms('user model') lists them.",
        )
    return ALGORITHMS[name]
