"""Support vector machines with a Gaussian kernel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Range
from pixelplum.core.users.algorithms.base import CLASS_WEIGHT, SimpleAlgorithm
from pixelplum.core.users.models import Kernel
from pixelplum.core.users.votes import Scaling, Votes, weights_of
from pixelplum.errors import TooFewVotes


class Svm(SimpleAlgorithm):
    """A support vector machine with a Gaussian kernel."""

    name = "svm"
    parameters: ClassVar = {
        "C": Range(1.0, 1e-9, 1e9, is_whole=False), "gamma": Range(1.0, 1e-9, 1e9, is_whole=False),
        "class_weight": CLASS_WEIGHT,
    }  # fmt: skip
    grid: ClassVar = {"C": [0.3, 1.0, 3.0], "gamma": [0.5, 1.0]}

    def fit(self, votes: Votes, parameters: dict) -> Kernel:
        from sklearn.svm import SVC

        machine = SVC(C=parameters["C"], gamma=parameters["gamma"] / _squared_spread(votes))
        machine.fit(
            votes.directions, votes.liked.astype(int), sample_weight=weights_of(votes, parameters["class_weight"])
        )
        return _kernel(machine)


class OneClass(SimpleAlgorithm):
    """What likes look like, by a one-class support vector machine; dislikes do not count."""

    name = "one_class"
    parameters: ClassVar = {
        "nu": Range(0.5, 1e-3, 0.99, is_whole=False), "gamma": Range(1.0, 1e-9, 1e9, is_whole=False)
    }  # fmt: skip
    grid: ClassVar = {"nu": [0.2, 0.5]}
    needs_dislikes = False

    def fit(self, votes: Votes, parameters: dict) -> Kernel:
        from sklearn.svm import OneClassSVM

        likes = votes.take(np.flatnonzero(votes.liked))
        if not len(likes.values):
            raise TooFewVotes("one_class needs a like", hint="Use nearest for users who have disliked only.")
        machine = OneClassSVM(nu=parameters["nu"], gamma=parameters["gamma"] / _squared_spread(likes))
        return _kernel(machine.fit(likes.directions, sample_weight=likes.strengths))


def _squared_spread(votes: Votes) -> float:
    return Scaling.of(votes.directions).scale ** 2


def _kernel(machine) -> Kernel:
    return Kernel(
        machine.support_vectors_.astype(np.float32), machine.dual_coef_[0].astype(np.float64), float(machine.gamma),
        float(machine.intercept_[0]),
    )  # fmt: skip
