"""Linear models of directions: by stochastic gradients, and by logistic regression."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from pixelplum.core.parameters import Choice, Range, complete
from pixelplum.core.users.algorithms.base import CLASS_WEIGHT, SEED, SimpleAlgorithm, Trained
from pixelplum.core.users.elastic_net import elastic_net
from pixelplum.core.users.left_out import calibrate, without_each
from pixelplum.core.users.models import Linear, SteppedLinear
from pixelplum.core.users.votes import SMALLEST_SPREAD, Scaling, Votes, class_weights, weights_of
from pixelplum.errors import UnusableArgument

STEPS = 100
"""Epochs of gradient descent that training to the minimum counts as, where descent goes on: steps are small by then."""


class Dimensions(Choice):
    """Which numbers of a vector may be used: a list of them, from 1, or null for all."""

    def check(self, name: str, value: Any) -> None:
        numbers = value if isinstance(value, list) else [None]
        if value is not None and not (numbers and all(type(n) is int and 1 <= n <= 2**31 - 1 for n in numbers)):
            raise UnusableArgument(
                f"{name} must be a list of dimensions of the model",
                hint="Give whole numbers from 1 on, or null for all.",
            )


class Sgd(SimpleAlgorithm):
    """A linear model with an elastic net, which goes on vote by vote; each kind of vote counts as much as the other."""

    parameters: ClassVar = {
        "alpha": Range(0.1, 1e-3, 1e3, is_whole=False),
        "l1_ratio": Range(0.85, 0, 1, is_whole=False),
        "class_weight": Choice("opposite", CLASS_WEIGHT.choices),
        "dimensions": Dimensions(None, ()),
    }
    grid: ClassVar = {"alpha": [0.01, 0.1], "l1_ratio": [0.15, 0.85]}
    can_update = True
    loss: ClassVar[str]

    def check(self, parameters: dict, dimensions: int | None = None) -> dict:
        used = complete(self.name, self.parameters, parameters) | {"loss": self.loss}
        if dimensions and max(used["dimensions"] or [1]) > dimensions:
            raise UnusableArgument(
                f"dimensions must be from 1 to {dimensions}, not {max(used['dimensions'])}",
                hint="Name dimensions of the model, or null for all.",
            )
        return used

    def fit(self, votes: Votes, parameters: dict) -> SteppedLinear:
        """Train a linear model with an elastic net.

        The objective is that of scikit-learn's SGDClassifier. Where it is smooth but for the penalty, `log_loss`, its
        minimum is found by accelerated proximal gradients [1]_, many times faster than by stochastic ones; `hinge` is
        left to SGDClassifier. Either way SGDClassifier goes on from here, vote by vote.

        References
        ----------
        .. [1] A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems",
           SIAM J. Imaging Sciences 2(1), 2009; restarted as B. O'Donoghue and E. Candès propose, 2015.
        """
        scaling = Scaling.of(votes.directions)
        scaled = scaling(votes.directions)
        dimensions = np.array(parameters.get("dimensions") or [], np.int32)
        scaled = only(dimensions, scaled)
        like, dislike = class_weights(votes, parameters["class_weight"])
        if parameters["loss"] == "log_loss":
            weights, intercept = elastic_net(
                scaled,
                votes.liked,
                weights_of(votes, parameters["class_weight"]),
                parameters["alpha"],
                parameters["l1_ratio"],
            )
            steps = 1.0 + STEPS * len(votes.values)
        else:
            machine = _machine(parameters | {"like_weight": like, "dislike_weight": dislike})
            machine.fit(scaled.astype(np.float64), votes.liked.astype(int), sample_weight=votes.strengths)
            weights, intercept, steps = machine.coef_[0], float(machine.intercept_[0]), float(machine.t_)
        linear = scaling.linear(weights, intercept)
        return SteppedLinear(
            linear.weights, linear.intercept, scaling.center, scaling.scale, parameters["loss"], parameters["alpha"],
            parameters["l1_ratio"], like, dislike, steps, dimensions,
        )  # fmt: skip

    def update(self, model: SteppedLinear, votes: Votes) -> SteppedLinear:
        scaling = Scaling(model.center, model.scale)
        scaled = scaling(votes.directions).astype(np.float64)
        scaled = only(model.dimensions, scaled)
        machine = _machine(vars(model))
        weights = model.weights.astype(np.float64) * model.scale
        machine.classes_ = np.array([0, 1])
        machine.coef_ = weights[np.newaxis]
        machine.intercept_ = np.array([model.intercept + model.weights.astype(np.float64) @ model.center])
        machine.t_ = model.steps
        for position in reversed(range(len(votes.values))):  # in the order in which they were cast
            machine.partial_fit(
                scaled[position : position + 1], votes.liked[position : position + 1].astype(int),
                sample_weight=votes.strengths[position : position + 1],
            )  # fmt: skip
        linear = scaling.linear(machine.coef_[0], float(machine.intercept_[0]))
        return replace(model, weights=linear.weights, intercept=linear.intercept, steps=float(machine.t_))


class SgdHinge(Sgd):
    """A linear support vector machine with an elastic net."""

    name = "sgd_hinge"
    loss = "hinge"


class SgdLog(Sgd):
    """Logistic regression with an elastic net."""

    name = "sgd_log"
    loss = "log_loss"

    def measured(self, votes: Votes, parameters: dict) -> Trained:
        """Train an elastic net on the log loss, and score each vote left out by the dimensions that were kept."""
        model = self.fit(votes, parameters)
        kept = Scaling(model.center, model.scale)(votes.directions)[:, model.weights != 0].astype(np.float64)
        counts = weights_of(votes, parameters["class_weight"]) / len(votes.values)
        penalty = max(parameters["alpha"] * (1 - parameters["l1_ratio"]), 1e-9)
        left_out, pairs = without_each(kept, counts, penalty, model.scores(votes.directions), votes.liked)
        return Trained(model, calibrate(left_out, votes.liked), left_out, pairs)


class Logistic(SimpleAlgorithm):
    """Logistic regression with an L2 penalty, in the space that the votes span."""

    name = "logistic"
    parameters: ClassVar = {"C": Range(1.0, 1e-9, 1e9, is_whole=False), "class_weight": CLASS_WEIGHT}
    grid: ClassVar = {"C": [0.1, 1.0, 10.0]}

    def fit(self, votes: Votes, parameters: dict) -> Linear:
        scaling = Scaling.of(votes.directions)
        return _logistic(votes, parameters, scaling, _spanned(scaling(votes.directions)))

    def measured(self, votes: Votes, parameters: dict) -> Trained:
        """Train logistic regression, and tell how it does without each vote."""
        scaling = Scaling.of(votes.directions)
        spanned = _spanned(scaling(votes.directions))
        model = _logistic(votes, parameters, scaling, spanned)
        counts = weights_of(votes, parameters["class_weight"])
        left_out, pairs = without_each(
            spanned[0], counts, 1 / parameters["C"], model.scores(votes.directions), votes.liked
        )
        return Trained(model, calibrate(left_out, votes.liked), left_out, pairs)


def only(dimensions: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Return vectors with zeros but in some dimensions, from 1; none are named: all stay."""
    if not len(dimensions):
        return scaled
    kept = np.zeros_like(scaled)
    kept[:, dimensions - 1] = scaled[:, dimensions - 1]
    return kept


def _machine(parameters: dict):
    """Return scikit-learn's SGDClassifier of these parameters."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss=parameters["loss"], penalty="elasticnet", alpha=parameters["alpha"], l1_ratio=parameters["l1_ratio"],
        learning_rate="optimal", random_state=SEED,
        class_weight={0: parameters["dislike_weight"], 1: parameters["like_weight"]},
    )  # fmt: skip


def _spanned(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates, float64, shape (votes, n), and the orthonormal rows, shape (n, dimensions), they are along.

    A penalty on lengths cannot tell the two apart, and n is at most the number of votes.
    """
    left, lengths, rows = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    there = lengths > SMALLEST_SPREAD * max(lengths[0], SMALLEST_SPREAD)
    return left[:, there] * lengths[there], rows[there]


def _logistic(votes: Votes, parameters: dict, scaling: Scaling, spanned: tuple[np.ndarray, np.ndarray]) -> Linear:
    from sklearn.linear_model import LogisticRegression

    coordinates, rows = spanned
    if not len(rows):  # all items look the same
        return scaling.linear(np.zeros(votes.directions.shape[1]), 0.0)
    machine = LogisticRegression(C=parameters["C"], max_iter=1000)
    machine.fit(coordinates, votes.liked.astype(int), sample_weight=weights_of(votes, parameters["class_weight"]))
    return scaling.linear(machine.coef_[0] @ rows, float(machine.intercept_[0]))
