"""Training: from the directions of items and what a user thinks of them to a model.

All algorithms but `hierarchical` know nothing but the user's own votes. Where scale matters they see directions less
their mean, scaled to a mean square of 1, so that the same parameters suit every network.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pixelplum.core.users import common_taste
from pixelplum.core.users.models import (
    Boosted,
    Calibration,
    Centroid,
    Ensemble,
    Forest,
    Kernel,
    Linear,
    Model,
    NaiveBayes,
    Nearest,
    SteppedLinear,
    sigmoid,
)
from pixelplum.errors import TooFewVotes, UnknownAlgorithm, UnusableParameter, shown

SEED = 7
FOLDS = 3
FEWEST_VOTES, FEWEST_OF_A_KIND = 20, 5
"""For probabilities: with fewer they would be worse than the share of likes."""

FLATTEST = 0.05
NEAREST_VOTES = 200
"""Of each kind, the latest, that `nearest` looks at."""

SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Votes:
    """What a user thinks of some items.

    Parameters
    ----------
    directions : numpy.ndarray
        float32, shape (votes, dimensions): feature vectors of length 1, the latest vote first.
    values : numpy.ndarray
        float64, shape (votes,): above 0 liked, below 0 disliked, none is 0; how much.
    """

    directions: np.ndarray
    values: np.ndarray

    @property
    def liked(self) -> np.ndarray:
        """bool, shape (votes,)."""
        return self.values > 0

    @property
    def strengths(self) -> np.ndarray:
        """float64, shape (votes,)."""
        return np.abs(self.values)

    def take(self, places: np.ndarray) -> Votes:
        """Return some of them."""
        return Votes(self.directions[places], self.values[places])


@dataclass(frozen=True)
class Trained:
    """A model, and how it does on votes that it has not seen.

    Parameters
    ----------
    model : Model
    calibration : Calibration or None
        None: its scores cannot be turned into probabilities.
    left_out : numpy.ndarray or None
        float64, shape (votes,): score of each vote by a model of others.
    auc : float or None
        How probably a like that the model has not seen has a higher score than a dislike that it has not seen.
    """

    model: Model
    calibration: Calibration | None
    left_out: np.ndarray | None
    auc: float | None


@dataclass(frozen=True)
class Algorithm:
    """How to train.

    Parameters
    ----------
    fit : callable
        Takes votes and parameters, returns a model.
    parameters : dict
        Their defaults.
    grid : dict
        Values that model selection tries.
    needs_both : bool
        Whether it needs likes and dislikes.
    """

    fit: Callable[[Votes, dict], Model]
    parameters: dict
    grid: dict
    needs_both: bool = True


@dataclass(frozen=True)
class Scaling:
    """Directions less a center, divided by a scale."""

    center: np.ndarray
    scale: float

    @classmethod
    def of(cls, directions: np.ndarray) -> Scaling:
        """Return the scaling after which directions have mean 0 and a mean square of 1."""
        center = directions.mean(axis=0)
        spread = float(np.square(directions - center).sum(axis=1).mean()) ** 0.5
        return cls(center, spread if spread > SMALLEST_SPREAD else 1.0)

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        return (directions - self.center) / np.float32(self.scale)

    def linear(self, weights: np.ndarray, intercept: float) -> Linear:
        """Return what a linear model of scaled directions is of directions themselves."""
        full = (weights / self.scale).astype(np.float32)
        return Linear(full, float(intercept - full.astype(np.float64) @ self.center))


def class_weights(votes: Votes, how: str | None) -> tuple[float, float]:
    """Return what a like and a dislike count.

    Parameters
    ----------
    votes : Votes
    how : {'balanced', 'opposite', None}
        Both kinds count the same in all; a like counts as much as there are dislikes and the other way round; or 1.
    """
    likes, dislikes = (float(votes.strengths[kind].sum()) for kind in (votes.liked, ~votes.liked))
    if how == "balanced":
        return (likes + dislikes) / (2 * likes), (likes + dislikes) / (2 * dislikes)
    return (dislikes, likes) if how == "opposite" else (1.0, 1.0)


def weights_of(votes: Votes, how: str | None) -> np.ndarray:
    """Return what each vote counts: float64, shape (votes,)."""
    like, dislike = class_weights(votes, how)
    return votes.strengths * np.where(votes.liked, like, dislike)


def only(dimensions: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Return vectors with zeros but in some dimensions, from 1; none are named: all stay."""
    if not len(dimensions):
        return scaled
    kept = np.zeros_like(scaled)
    kept[:, dimensions - 1] = scaled[:, dimensions - 1]
    return kept


def fit_sgd(votes: Votes, given: dict) -> SteppedLinear:
    """Train a linear model with an elastic net.

    The objective is that of scikit-learn's SGDClassifier. Where it is smooth but for the penalty, `log_loss`, its
    minimum is found by accelerated proximal gradients [1]_, many times faster than by stochastic ones; `hinge` is left
    to SGDClassifier. Either way SGDClassifier goes on from here, vote by vote.

    References
    ----------
    .. [1] A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems",
       SIAM J. Imaging Sciences 2(1), 2009; restarted as B. O'Donoghue and E. Candès propose, 2015.
    """
    scaling = Scaling.of(votes.directions)
    scaled = scaling(votes.directions)
    dimensions = np.array(given.get("dimensions") or [], np.int32)
    scaled = only(dimensions, scaled)
    like, dislike = class_weights(votes, given["class_weight"])
    if given["loss"] == "log_loss":
        weights, intercept = elastic_net(
            scaled, votes.liked, weights_of(votes, given["class_weight"]), given["alpha"], given["l1_ratio"]
        )
        steps = 1.0 + STEPS * len(votes.values)
    else:
        machine = _machine(given | {"like_weight": like, "dislike_weight": dislike})
        machine.fit(scaled.astype(np.float64), votes.liked.astype(int), sample_weight=votes.strengths)
        weights, intercept, steps = machine.coef_[0], float(machine.intercept_[0]), float(machine.t_)
    linear = scaling.linear(weights, intercept)
    return SteppedLinear(
        linear.weights, linear.intercept, scaling.center, scaling.scale, given["loss"], given["alpha"],
        given["l1_ratio"], like, dislike, steps, dimensions,
    )  # fmt: skip


STEPS = 100
"""Epochs of gradient descent that training to the minimum counts as, where descent goes on: steps are small by then."""

FEWEST_GAINS = 1e-3
MOST_ROUNDS = 1000


def elastic_net(
    scaled: np.ndarray, liked: np.ndarray, counts: np.ndarray, alpha: float, l1_ratio: float
) -> tuple[np.ndarray, float]:
    """Minimise mean(counts · log loss) + alpha · (l1_ratio · |w|₁ + (1 - l1_ratio) / 2 · |w|²).

    Parameters
    ----------
    scaled : numpy.ndarray
        float32, shape (votes, dimensions).
    liked : numpy.ndarray
        bool, shape (votes,).
    counts : numpy.ndarray
        float64, shape (votes,): what each vote counts.
    alpha, l1_ratio : float

    Returns
    -------
    tuple of (numpy.ndarray, float)
        float32 weights, shape (dimensions,), and the intercept.
    """
    votes, dimensions = scaled.shape
    full = np.ones((votes, dimensions + 1), np.float32)
    full[:, :-1] = scaled
    signs = np.where(liked, 1, -1).astype(np.float32)
    pull = (-signs * counts / votes).astype(np.float32)
    rooted = full * np.sqrt(counts)[:, np.newaxis].astype(np.float32)
    steepest = float(np.linalg.eigvalsh(rooted @ rooted.T)[-1]) / (4 * votes) + alpha * (1 - l1_ratio)
    step = np.float32(1 / steepest)
    shrink = np.full(dimensions + 1, 1 - step * alpha * (1 - l1_ratio), np.float32)
    cut = np.full(dimensions + 1, step * alpha * l1_ratio, np.float32)
    shrink[-1], cut[-1] = 1, 0  # the intercept is free
    weights, ahead, momentum = np.zeros(dimensions + 1, np.float32), np.zeros(dimensions + 1, np.float32), 1.0
    for number in range(1, MOST_ROUNDS + 1):
        slopes = pull * sigmoid32(-signs * (full @ ahead))
        moved = ahead * shrink - step * (slopes @ full)
        found = np.copysign(np.maximum(np.abs(moved) - cut, 0), moved)
        change = found - weights
        if (ahead - found) @ change > 0:  # momentum leads away: begin anew
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
        ahead = found + np.float32((momentum - 1) / following) * change
        weights, momentum = found, following
        if number % 10 == 0 and np.abs(change).max() <= FEWEST_GAINS * max(np.abs(weights).max(), SMALLEST_SPREAD):
            break
    return weights[:-1], float(weights[-1])


def sigmoid32(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-scores)), float32."""
    return 0.5 + 0.5 * np.tanh(0.5 * scores)


def _machine(given: dict):
    """Return scikit-learn's SGDClassifier of these parameters."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss=given["loss"], penalty="elasticnet", alpha=given["alpha"], l1_ratio=given["l1_ratio"],
        learning_rate="optimal", class_weight={0: given["dislike_weight"], 1: given["like_weight"]}, random_state=SEED,
    )  # fmt: skip


def fit_logistic(votes: Votes, given: dict) -> Linear:
    """Train logistic regression with an L2 penalty, in the space that the votes span."""
    scaling = Scaling.of(votes.directions)
    return _logistic(votes, given, scaling, _spanned(scaling(votes.directions)))


def _spanned(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates, float64, shape (votes, n), and the orthonormal rows, shape (n, dimensions), they are along.

    A penalty on lengths cannot tell the two apart, and n is at most the number of votes.
    """
    left, lengths, rows = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    there = lengths > SMALLEST_SPREAD * max(lengths[0], SMALLEST_SPREAD)
    return left[:, there] * lengths[there], rows[there]


def _logistic(votes: Votes, given: dict, scaling: Scaling, spanned: tuple[np.ndarray, np.ndarray]) -> Linear:
    from sklearn.linear_model import LogisticRegression

    coordinates, rows = spanned
    if not len(rows):  # all items look the same
        return scaling.linear(np.zeros(votes.directions.shape[1]), 0.0)
    machine = LogisticRegression(C=given["C"], max_iter=1000)
    machine.fit(coordinates, votes.liked.astype(int), sample_weight=weights_of(votes, given["class_weight"]))
    return scaling.linear(machine.coef_[0] @ rows, float(machine.intercept_[0]))


def fit_svm(votes: Votes, given: dict) -> Kernel:
    """Train a support vector machine with a Gaussian kernel."""
    from sklearn.svm import SVC

    machine = SVC(C=given["C"], gamma=given["gamma"] / _squared_spread(votes))
    machine.fit(votes.directions, votes.liked.astype(int), sample_weight=weights_of(votes, given["class_weight"]))
    return _kernel(machine)


def fit_one_class(votes: Votes, given: dict) -> Kernel:
    """Learn what likes look like, by a one-class support vector machine; dislikes do not count."""
    from sklearn.svm import OneClassSVM

    likes = votes.take(np.flatnonzero(votes.liked))
    if not len(likes.values):
        raise TooFewVotes("one_class needs a like", hint="Use nearest for users who have disliked only.")
    machine = OneClassSVM(nu=given["nu"], gamma=given["gamma"] / _squared_spread(likes))
    return _kernel(machine.fit(likes.directions, sample_weight=likes.strengths))


def _squared_spread(votes: Votes) -> float:
    return Scaling.of(votes.directions).scale ** 2


def _kernel(machine) -> Kernel:
    return Kernel(
        machine.support_vectors_.astype(np.float32), machine.dual_coef_[0].astype(np.float64), float(machine.gamma),
        float(machine.intercept_[0]),
    )  # fmt: skip


def fit_naive_bayes(votes: Votes, given: dict) -> NaiveBayes:
    """Train Bernoulli naive Bayes on whether each number is above its mean among the votes."""
    thresholds = votes.directions.mean(axis=0)
    empty = NaiveBayes(thresholds, np.zeros((2, len(thresholds))), np.zeros(2), given["alpha"])
    return count_votes(empty, votes)


def count_votes(model: NaiveBayes, votes: Votes) -> NaiveBayes:
    """Return naive Bayes with some votes more."""
    above = (votes.directions > model.thresholds).astype(np.float64)
    kinds = np.stack([~votes.liked, votes.liked]) * votes.strengths
    return replace(model, above=model.above + kinds @ above, counts=model.counts + kinds.sum(axis=1))


def fit_centroid(votes: Votes, given: dict) -> Centroid:
    """Take the mean of likes, and that of dislikes."""
    nothing = np.zeros(votes.directions.shape[1], np.float32)
    return add_to_centroid(Centroid(nothing, nothing, 0.0, 0.0), votes)


def add_to_centroid(model: Centroid, votes: Votes) -> Centroid:
    """Return the centroid with some votes more."""
    likes, dislikes = (votes.strengths * kind for kind in (votes.liked, ~votes.liked))
    return Centroid(
        (model.likes + likes @ votes.directions).astype(np.float32),
        (model.dislikes + dislikes @ votes.directions).astype(np.float32),
        model.like_count + float(likes.sum()), model.dislike_count + float(dislikes.sum()),
    )  # fmt: skip


def fit_nearest(votes: Votes, given: dict) -> Nearest:
    """Keep the latest votes."""
    places = np.concatenate([np.flatnonzero(kind)[:NEAREST_VOTES] for kind in (votes.liked, ~votes.liked)])
    return Nearest(votes.directions[places], votes.values[places])


def fit_random_forest(votes: Votes, given: dict) -> Forest:
    """Train a random forest."""
    from sklearn.ensemble import RandomForestClassifier

    machine = RandomForestClassifier(
        n_estimators=given["n_estimators"], max_depth=given["max_depth"], min_samples_leaf=given["min_samples_leaf"],
        random_state=SEED, n_jobs=1,
    )  # fmt: skip
    machine.fit(votes.directions, votes.liked.astype(int), sample_weight=weights_of(votes, given["class_weight"]))
    trees = [each.tree_ for each in machine.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])

    def moved(children: list[np.ndarray]) -> np.ndarray:
        parts = [np.where(own < 0, -1, own + start) for own, start in zip(children, starts, strict=True)]
        return np.concatenate(parts).astype(np.int32)

    kinds = np.concatenate([tree.value[:, 0, :] for tree in trees])
    return Forest(
        starts.astype(np.int32), moved([tree.children_left for tree in trees]),
        moved([tree.children_right for tree in trees]),
        np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        np.concatenate([tree.threshold for tree in trees]),
        (kinds[:, 1] / kinds.sum(axis=1)).astype(np.float32),
    )  # fmt: skip


def fit_xgboost(votes: Votes, given: dict) -> Boosted:
    """Train boosted trees."""
    import xgboost

    data = xgboost.DMatrix(
        votes.directions, votes.liked.astype(int), weight=weights_of(votes, given["class_weight"]), nthread=1
    )
    booster = xgboost.train(
        {
            "objective": "binary:logistic", "max_depth": given["max_depth"], "eta": given["eta"],
            "colsample_bytree": given["colsample_bytree"], "min_child_weight": given["min_child_weight"],
            "nthread": 1, "seed": SEED,
        },
        data, given["rounds"],
    )  # fmt: skip
    return Boosted(bytes(booster.save_raw("json")).decode())


SGD = {"alpha": 0.1, "l1_ratio": 0.85, "class_weight": "opposite", "dimensions": None}
"""A strong elastic net; each kind of vote counts as much as there are of the other."""

ALGORITHMS = {
    "sgd_hinge": Algorithm(fit_sgd, SGD | {"loss": "hinge"}, {"alpha": [0.01, 0.1], "l1_ratio": [0.15, 0.85]}),
    "sgd_log": Algorithm(fit_sgd, SGD | {"loss": "log_loss"}, {"alpha": [0.01, 0.1], "l1_ratio": [0.15, 0.85]}),
    "logistic": Algorithm(fit_logistic, {"C": 1.0, "class_weight": "balanced"}, {"C": [0.1, 1.0, 10.0]}),
    "svm": Algorithm(
        fit_svm, {"C": 1.0, "gamma": 1.0, "class_weight": "balanced"}, {"C": [0.3, 1.0, 3.0], "gamma": [0.5, 1.0]}
    ),
    "naive_bayes": Algorithm(fit_naive_bayes, {"alpha": 1.0}, {"alpha": [0.3, 1.0, 3.0]}),
    "random_forest": Algorithm(
        fit_random_forest,
        {"n_estimators": 100, "max_depth": None, "min_samples_leaf": 1, "class_weight": "balanced"},
        {"min_samples_leaf": [1, 3]},
    ),
    "xgboost": Algorithm(
        fit_xgboost,
        {
            "rounds": 50, "max_depth": 3, "eta": 0.1, "colsample_bytree": 0.3, "min_child_weight": 0.5,
            "class_weight": "balanced",
        },
        {"max_depth": [1, 3]},
    ),
    "nearest": Algorithm(fit_nearest, {}, {}, needs_both=False),
    "centroid": Algorithm(fit_centroid, {}, {}, needs_both=False),
    "one_class": Algorithm(fit_one_class, {"nu": 0.5, "gamma": 1.0}, {"nu": [0.2, 0.5]}, needs_both=False),
}  # fmt: skip
"""What a user's own votes can be given to; besides, there are `hierarchical` and `ensemble`."""

NAMES = (*ALGORITHMS, "hierarchical", "ensemble")
MEMBERS = ("logistic", "svm", "naive_bayes")
"""Of an ensemble, where none are named."""

CHOICES = {"class_weight": ("balanced", "opposite", None)}
RANGES = {
    "alpha": (1e-3, 1e3), "l1_ratio": (0, 1), "C": (1e-9, 1e9), "gamma": (1e-9, 1e9), "nu": (1e-3, 0.99),
    "n_estimators": (1, 1000), "max_depth": (1, 20), "min_samples_leaf": (1, 1000), "rounds": (1, 1000),
    "eta": (1e-6, 1), "colsample_bytree": (1e-3, 1), "min_child_weight": (0, 1e6),
}  # fmt: skip
WHOLE = ("n_estimators", "max_depth", "min_samples_leaf", "rounds")


def check(algorithm: str, parameters: dict, dimensions: int | None = None) -> dict:
    """Return an algorithm's parameters, with defaults where none are given.

    Raises
    ------
    UnknownAlgorithm, UnusableParameter
    """
    if algorithm not in NAMES:
        raise UnknownAlgorithm(
            f"The algorithm {shown(algorithm)} is not known", hint=f"Use one of: {', '.join(NAMES)}."
        )
    if not isinstance(parameters, dict):
        raise UnusableParameter("The parameters are no JSON object", hint='For example {"C": 0.3}.')
    if algorithm == "ensemble":
        members = parameters.get("members", list(MEMBERS))
        is_list = isinstance(members, list) and all(isinstance(member, str) for member in members)
        if set(parameters) - {"members"} or not is_list or not members or len(set(members)) < len(members):
            raise UnusableParameter(
                "An ensemble has a list of different members and nothing else",
                hint='For example {"members": ["logistic", "svm"]}.',
            )
        for member in members:
            if member not in ALGORITHMS:
                raise UnknownAlgorithm(
                    f"{member!r} cannot be a member of an ensemble", hint=f"Use some of: {', '.join(ALGORITHMS)}."
                )
        return {"members": members}
    known = ALGORITHMS[algorithm].parameters if algorithm in ALGORITHMS else {}
    for name, value in parameters.items():
        if name not in known or name == "loss":
            can = ", ".join(sorted(set(known) - {"loss"})) or "none"
            raise UnusableParameter(f"{algorithm} has no parameter {name!r}", hint=f"It has: {can}.")
        _check_value(name, value, dimensions)
    return known | parameters


def _check_value(name: str, value, dimensions: int | None) -> None:
    if name == "dimensions":
        numbers = value if isinstance(value, list) else [None]
        if value is not None and not (
            numbers and all(type(n) is int and 1 <= n <= (dimensions or 2**31 - 1) for n in numbers)
        ):
            raise UnusableParameter(
                "dimensions is no list of dimensions of the model",
                hint=f"Give whole numbers from 1 to {dimensions or 'the number of dimensions'}.",
            )
    elif name in CHOICES:
        if value not in CHOICES[name]:
            raise UnusableParameter(f"{name} is {value!r}", hint="Use balanced, opposite, or null.")
    elif not (value is None and name == "max_depth"):
        low, high = RANGES[name]
        kinds = (int,) if name in WHOLE else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise UnusableParameter(f"{name} is {value!r}", hint=f"Use a number from {low:g} to {high:g}.")


def train(algorithm: str, votes: Votes, parameters: dict, taste: common_taste.Taste | None = None, half: int = 0) -> Trained:
    """Train a model of a user.

    Parameters
    ----------
    algorithm : str
        One of `NAMES`.
    votes : Votes
        At least one.
    parameters : dict
        As `check` returns them.
    taste : common_taste.Taste, optional
        What users have in common, for `hierarchical`.
    half : int
        In which half of the users this one is, 0 or 1; see `common_taste.Taste`.

    Returns
    -------
    Trained

    Raises
    ------
    TooFewVotes
        If there are none of a kind that the algorithm needs.
    """
    if algorithm == "hierarchical":
        return _correct(votes, taste, half)
    if algorithm == "ensemble":
        return _ensemble(votes, parameters)
    chosen = ALGORITHMS[algorithm]
    if chosen.needs_both and not 0 < votes.liked.sum() < len(votes.values):
        raise TooFewVotes(
            f"{algorithm} needs likes and dislikes", hint="Use nearest, centroid or hierarchical for one kind alone."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, about convergence: it goes on with what it has
        if algorithm in ("logistic", "sgd_log"):
            return (_logistic_left_out if algorithm == "logistic" else _net_left_out)(votes, parameters)
        model = chosen.fit(votes, parameters)
        left_out, within = _left_out(chosen, votes, parameters)
    return Trained(model, None if left_out is None else calibrate(left_out, votes.liked), left_out, within)


def _correct(votes: Votes, taste: common_taste.Taste, half: int) -> Trained:
    """Shrink a user's taste towards what is expected of them."""
    coordinates = taste.coordinates(votes.directions)
    given = (coordinates, votes.liked, votes.strengths)
    found = common_taste.posterior(*given, taste.mean, taste.covariance)
    # What users have in common was learned from this one too: the other half of them has not seen these votes.
    others = common_taste.posterior(*given, taste.half_means[1 - half], taste.half_covariances[1 - half])
    left_out, pairs = _without_each(others.spread, votes.strengths, others.scores, votes.liked)
    return Trained(taste.linear(found.mean), calibrate(left_out, votes.liked), left_out, pairs)


def _logistic_left_out(votes: Votes, parameters: dict) -> Trained:
    """Train logistic regression, and tell how it does without each vote."""
    scaling = Scaling.of(votes.directions)
    spanned = _spanned(scaling(votes.directions))
    model = _logistic(votes, parameters, scaling, spanned)
    counts = weights_of(votes, parameters["class_weight"])
    left_out, pairs = without_each(spanned[0], counts, 1 / parameters["C"], model.scores(votes.directions), votes.liked)
    return Trained(model, calibrate(left_out, votes.liked), left_out, pairs)


def _net_left_out(votes: Votes, parameters: dict) -> Trained:
    """Train an elastic net on the log loss, and tell how it does without each vote: by the dimensions it has kept."""
    model = fit_sgd(votes, parameters)
    kept = Scaling(model.center, model.scale)(votes.directions)[:, model.weights != 0].astype(np.float64)
    counts = weights_of(votes, parameters["class_weight"]) / len(votes.values)
    penalty = max(parameters["alpha"] * (1 - parameters["l1_ratio"]), 1e-9)
    left_out, pairs = without_each(kept, counts, penalty, model.scores(votes.directions), votes.liked)
    return Trained(model, calibrate(left_out, votes.liked), left_out, pairs)


def without_each(
    coordinates: np.ndarray, counts: np.ndarray, penalty: float, scores: np.ndarray, liked: np.ndarray
) -> tuple[np.ndarray, float | None]:
    """Tell, without training again, how a logistic model would do on votes that it had not seen.

    Parameters
    ----------
    coordinates : numpy.ndarray
        float64, shape (votes, n): what weights are for.
    counts : numpy.ndarray
        float64, shape (votes,): what each vote's loss counts.
    penalty : float
        On half of the squared length of the weights.
    scores : numpy.ndarray
        float64, shape (votes,): by the model that has seen all.
    liked : numpy.ndarray
        bool, shape (votes,).

    Returns
    -------
    tuple of (numpy.ndarray, float or None)
        float64, shape (votes,), the score of each without itself; and the AUC, each pair of a like and a dislike
        without both of them: without the like alone, all scores would be lower.

    References
    ----------
    K. R. Rad and A. Maleki, "A scalable estimate of the out-of-sample prediction error via approximate leave-one-out",
    JRSS B 82(4), 2020. A. Airola et al., "An experimental comparison of cross-validation techniques for estimating the
    area under the ROC curve", Computational Statistics and Data Analysis 55(4), 2011.
    """
    chances = sigmoid(scores)
    full = np.column_stack([coordinates, np.ones(len(scores))])
    curvature = counts * chances * (1 - chances) + 1e-12
    penalties = np.append(np.full(full.shape[1] - 1, penalty), 1e-9)
    hessian = (full * curvature[:, np.newaxis]).T @ full + np.diag(penalties)
    return _without_each(full @ np.linalg.solve(hessian, full.T), counts, scores, liked)


def _without_each(
    spread: np.ndarray, counts: np.ndarray, scores: np.ndarray, liked: np.ndarray
) -> tuple[np.ndarray, float | None]:
    """As `without_each`, from the covariance of the scores, shape (votes, votes)."""
    chances = sigmoid(scores)
    pull, curvature = counts * (liked - chances), counts * chances * (1 - chances) + 1e-12
    own = np.diag(spread)
    left_out = scores - own * pull / np.maximum(1 - own * curvature, 1e-6)
    likes, dislikes = np.flatnonzero(liked), np.flatnonzero(~liked)
    if not len(likes) or not len(dislikes):
        return left_out, None
    # scores of a pair S without it: s - K (1 - W K)⁻¹ g, with K, W and g of the pair alone
    a, b = own[likes][:, np.newaxis], own[dislikes][np.newaxis]
    c = spread[np.ix_(likes, dislikes)]
    v, w = curvature[likes][:, np.newaxis], curvature[dislikes][np.newaxis]
    f, g = pull[likes][:, np.newaxis], pull[dislikes][np.newaxis]
    p, q, r, t = 1 - v * a, -v * c, -w * c, 1 - w * b
    determinant = np.maximum(p * t - q * r, 1e-9)
    x, y = (t * f - q * g) / determinant, (p * g - r * f) / determinant
    above = (scores[likes][:, np.newaxis] - a * x - c * y) - (scores[dislikes][np.newaxis] - c * x - b * y)
    return left_out, float((above > 0).mean() + 0.5 * (above == 0).mean())


def _left_out(chosen: Algorithm, votes: Votes, parameters: dict) -> tuple[np.ndarray | None, float | None]:
    """Score each vote by a model of others, a third of them at a time; None if there are too few. And the mean AUC."""
    from sklearn.model_selection import StratifiedKFold

    if min(votes.liked.sum(), (~votes.liked).sum()) < FOLDS:
        return None, None
    found, within = np.empty(len(votes.values)), []
    for train_on, test_on in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(found, votes.liked):
        found[test_on] = chosen.fit(votes.take(train_on), parameters).scores(votes.directions[test_on])
        within.append(auc(found[test_on], votes.liked[test_on]))
    return found, float(np.mean(within))


def auc(scores: np.ndarray, liked: np.ndarray) -> float | None:
    """Return how probably a like has a higher score than a dislike; None where there are none of a kind."""
    if not 0 < liked.sum() < len(liked):
        return None
    ours, others = scores[liked][:, np.newaxis], scores[~liked]
    return float((ours > others).mean() + 0.5 * (ours == others).mean())


def calibrate(scores: np.ndarray, liked: np.ndarray) -> Calibration | None:
    """Fit probabilities to scores of votes that the model has not seen; None where these are too few, or all equal.

    References
    ----------
    J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his targets, which are short of 0 and 1.
    """
    likes, dislikes = int(liked.sum()), int((~liked).sum())
    spread = float(scores.std())
    if likes + dislikes < FEWEST_VOTES or min(likes, dislikes) < FEWEST_OF_A_KIND or not spread > 0:
        return None
    targets = np.where(liked, (likes + 1) / (likes + 2), 1 / (dislikes + 2))
    rows = np.column_stack([(scores - scores.mean()) / spread, np.ones(len(scores))])
    found = np.array([0.0, math.log((likes + 1) / (dislikes + 1))])
    for _ in range(50):
        chances = sigmoid(rows @ found)
        curvature = np.maximum(chances * (1 - chances), 1e-6)
        change = np.linalg.solve(
            (rows * curvature[:, np.newaxis]).T @ rows + 1e-3 * np.eye(2), rows.T @ (targets - chances)
        )
        found = found + np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-6:
            break
    slope = max(float(found[0]), FLATTEST) / spread  # what has learned nothing still ranks, between near-equals
    return Calibration(slope, float(found[1]) - slope * float(scores.mean()))


def _ensemble(votes: Votes, parameters: dict) -> Trained:
    """Train all members; those whose scores are no probabilities vote by how far from their mean these are."""
    trained = [train(member, votes, check(member, {})) for member in parameters["members"]]
    calibrations = []
    for each in trained:
        scores = each.model.scores(votes.directions)
        spread = max(float(scores.std()), SMALLEST_SPREAD)
        calibrations.append(each.calibration or Calibration(1 / spread, -float(scores.mean()) / spread))
    model = Ensemble(
        tuple(each.model for each in trained), np.array([each.slope for each in calibrations]),
        np.array([each.offset for each in calibrations]),
    )  # fmt: skip
    if any(each.left_out is None for each in trained):
        return Trained(model, None, None, None)
    left_out = np.mean(
        [how.probabilities(each.left_out) for how, each in zip(calibrations, trained, strict=True)], axis=0
    )
    return Trained(model, calibrate(left_out, votes.liked), left_out, auc(left_out, votes.liked))


def update(model: Model, votes: Votes) -> Model:
    """Return a model that has seen some votes more, each once; see `can_update`.

    Parameters
    ----------
    model : SteppedLinear, Centroid, NaiveBayes or Nearest
    votes : Votes
        The new ones, the latest first.
    """
    if isinstance(model, SteppedLinear):
        return _step(model, votes)
    if isinstance(model, Centroid):
        return add_to_centroid(model, votes)
    if isinstance(model, NaiveBayes):
        return count_votes(model, votes)
    joined = Votes(np.concatenate([votes.directions, model.voted]), np.concatenate([votes.values, model.values]))
    return fit_nearest(joined, {})


def can_update(algorithm: str) -> bool:
    """Tell whether models of an algorithm take new votes one by one; others are trained again."""
    return algorithm in ("sgd_hinge", "sgd_log", "centroid", "naive_bayes", "nearest")


def _step(model: SteppedLinear, votes: Votes) -> SteppedLinear:
    scaling = Scaling(model.center, model.scale)
    scaled = scaling(votes.directions).astype(np.float64)
    scaled = only(model.dimensions, scaled)
    machine = _machine(vars(model))
    weights = model.weights.astype(np.float64) * model.scale
    machine.classes_ = np.array([0, 1])
    machine.coef_ = weights[np.newaxis]
    machine.intercept_ = np.array([model.intercept + model.weights.astype(np.float64) @ model.center])
    machine.t_ = model.steps
    for place in reversed(range(len(votes.values))):  # in the order in which they were cast
        machine.partial_fit(
            scaled[place : place + 1], votes.liked[place : place + 1].astype(int),
            sample_weight=votes.strengths[place : place + 1],
        )  # fmt: skip
    linear = scaling.linear(machine.coef_[0], float(machine.intercept_[0]))
    return replace(model, weights=linear.weights, intercept=linear.intercept, steps=float(machine.t_))
