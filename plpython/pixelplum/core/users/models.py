"""What a user's model is: numbers and arrays, and the score that it gives an item.

A model sees directions: feature vectors of length 1, so that scores do not depend on how bright or busy an image is.
What trains models is in `algorithms`; here is only what it takes to use them.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from pixelplum.core.search.vectors import FLOAT32
from pixelplum.errors import UserModelBroken

SHARPNESS = 8.0
"""How much more near items count than far ones in `Nearest`: its similarities are exp(8 · cosine)."""


@dataclass(frozen=True)
class Calibration:
    """Turns scores into probabilities of a like: 1 / (1 + exp(-(slope · score + offset)))."""

    slope: float
    offset: float

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return float64, of the scores' shape."""
        return sigmoid(self.slope * scores + self.offset)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-scores)), float64, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(scores, np.float64)))


class Model(ABC):
    """What all models can do; their fields are numbers, texts, arrays, and other models."""

    kinds: ClassVar[dict[str, type[Model]]] = {}

    def __init_subclass__(cls) -> None:
        cls.kinds[cls.__name__] = cls

    @abstractmethod
    def scores(self, directions: np.ndarray) -> np.ndarray:
        """Score items, float32, shape (items, dimensions): float64, shape (items,); the higher, the better liked."""


class Anchored(Model):
    """A model whose score follows from products of the item with a few directions."""

    @property
    @abstractmethod
    def anchors(self) -> np.ndarray:
        """float32, shape (anchors, dimensions)."""

    @abstractmethod
    def of_products(self, products: np.ndarray) -> np.ndarray:
        """Score items by their products with the anchors, shape (items, anchors)."""

    def scores(self, directions: np.ndarray) -> np.ndarray:
        return self.of_products(directions @ self.anchors.T)


@dataclass(frozen=True)
class Linear(Anchored):
    """weights · direction + intercept.

    Parameters
    ----------
    weights : numpy.ndarray
        float32, shape (dimensions,).
    intercept : float
    """

    weights: np.ndarray
    intercept: float

    @property
    def anchors(self) -> np.ndarray:
        return self.weights[np.newaxis]

    def of_products(self, products: np.ndarray) -> np.ndarray:
        return products[:, 0].astype(np.float64) + self.intercept


@dataclass(frozen=True)
class SteppedLinear(Linear):
    """A linear model that stochastic gradient descent can go on with.

    Parameters
    ----------
    center : numpy.ndarray
        float32, shape (dimensions,): it was trained on (direction - center) / scale.
    scale : float
    loss : {'hinge', 'log_loss'}
    alpha, l1_ratio : float
        Strength of the elastic net, and how much of it is L1.
    like_weight, dislike_weight : float
        What a like and a dislike count.
    steps : float
        Of gradient descent so far, from 1.
    dimensions : numpy.ndarray
        int32: the dimensions that it may use, from 1; none: all.
    """

    center: np.ndarray
    scale: float
    loss: str
    alpha: float
    l1_ratio: float
    like_weight: float
    dislike_weight: float
    steps: float
    dimensions: np.ndarray


@dataclass(frozen=True)
class Centroid(Anchored):
    """Cosine to the mean of likes, less that to the mean of dislikes.

    Parameters
    ----------
    likes, dislikes : numpy.ndarray
        float32, shape (dimensions,): sums of directions.
    like_count, dislike_count : float
        How many, by weight.
    """

    likes: np.ndarray
    dislikes: np.ndarray
    like_count: float
    dislike_count: float

    @property
    def anchors(self) -> np.ndarray:
        return np.stack([self.likes, self.dislikes])

    def of_products(self, products: np.ndarray) -> np.ndarray:
        counts = np.maximum([self.like_count, self.dislike_count], 1e-30)
        return products.astype(np.float64) @ (np.array([1, -1]) / counts)


@dataclass(frozen=True)
class Nearest(Anchored):
    """Similarity to likes, less that to dislikes; near ones count much more than far ones.

    The similarity is the logarithm of the mean of exp(8 · cosine): a soft maximum.

    Parameters
    ----------
    voted : numpy.ndarray
        float32, shape (votes, dimensions): directions.
    values : numpy.ndarray
        float64, shape (votes,): above 0 liked, below 0 disliked; how much.
    """

    voted: np.ndarray
    values: np.ndarray

    @property
    def anchors(self) -> np.ndarray:
        return self.voted

    def of_products(self, products: np.ndarray) -> np.ndarray:
        near = np.exp(SHARPNESS * products.astype(np.float64))
        scores = np.zeros(len(products))
        for sign in (1, -1):
            strengths = np.maximum(sign * self.values, 0)
            if strengths.any():
                scores += sign * np.log(near @ (strengths / strengths.sum())) / SHARPNESS
        return scores


@dataclass(frozen=True)
class Kernel(Anchored):
    """Sum of coefficients · exp(-gamma · squared distance), plus an intercept.

    Parameters
    ----------
    support : numpy.ndarray
        float32, shape (vectors, dimensions): directions.
    coefficients : numpy.ndarray
        float64, shape (vectors,).
    gamma, intercept : float
    """

    support: np.ndarray
    coefficients: np.ndarray
    gamma: float
    intercept: float

    @property
    def anchors(self) -> np.ndarray:
        return self.support

    def of_products(self, products: np.ndarray) -> np.ndarray:
        return np.exp(2 * self.gamma * (products.astype(np.float64) - 1)) @ self.coefficients + self.intercept


@dataclass(frozen=True)
class NaiveBayes(Model):
    """Bernoulli naive Bayes over whether each number is above a threshold.

    Parameters
    ----------
    thresholds : numpy.ndarray
        float32, shape (dimensions,).
    above : numpy.ndarray
        float64, shape (2, dimensions): weight of dislikes and likes that are above.
    counts : numpy.ndarray
        float64, shape (2,): weight of dislikes and likes.
    alpha : float
        Additive smoothing.
    """

    thresholds: np.ndarray
    above: np.ndarray
    counts: np.ndarray
    alpha: float

    def scores(self, directions: np.ndarray) -> np.ndarray:
        shares = (self.above + self.alpha) / (self.counts + 2 * self.alpha)[:, np.newaxis]
        yes, no = np.log(shares), np.log1p(-shares)
        weights = (yes - no)[1] - (yes - no)[0]
        bias = no[1].sum() - no[0].sum() + math.log(self.counts[1] / self.counts[0])
        return (directions > self.thresholds) @ weights.astype(np.float32) + bias


@dataclass(frozen=True)
class Forest(Model):
    """Mean vote of decision trees; their nodes follow one another in one array each.

    Parameters
    ----------
    roots : numpy.ndarray
        int32, shape (trees,): where each begins.
    left, right : numpy.ndarray
        int32, shape (nodes,): the next nodes; -1 at leaves.
    features : numpy.ndarray
        int32, shape (nodes,): which number decides.
    thresholds : numpy.ndarray
        float64, shape (nodes,): up to it, to the left.
    shares : numpy.ndarray
        float32, shape (nodes,): fraction of likes.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    shares: np.ndarray

    def __post_init__(self) -> None:
        """Refuse trees that lead nowhere, or round and round."""
        nodes, inner = len(self.left), np.flatnonzero(self.left >= 0)
        sound = (
            len(self.roots) and np.all((self.roots >= 0) & (self.roots < nodes)) and np.all(self.features[inner] >= 0)
        )
        for children in (self.left[inner], self.right[inner]):
            sound = sound and np.all((children > inner) & (children < nodes))
        if not sound or not len(self.right) == len(self.features) == len(self.thresholds) == len(self.shares) == nodes:
            raise ValueError("its trees are damaged")

    def scores(self, directions: np.ndarray) -> np.ndarray:
        scores = np.zeros(len(directions))
        for root in self.roots:
            nodes = np.full(len(directions), root)
            moving = np.flatnonzero(self.left[nodes] >= 0)  # a tree may be a single leaf
            while len(moving):
                at = nodes[moving]
                goes_left = directions[moving, self.features[at]] <= self.thresholds[at]
                nodes[moving] = np.where(goes_left, self.left[at], self.right[at])
                moving = moving[self.left[nodes[moving]] >= 0]
            scores += self.shares[nodes]
        return scores / len(self.roots)


@dataclass(frozen=True)
class Boosted(Model):
    """Boosted trees, as xgboost writes them in JSON.

    Parameters
    ----------
    trees : str
        The whole model.
    """

    trees: str

    def __post_init__(self) -> None:
        """Refuse trees that lead out of their nodes, or round and round: xgboost would follow them."""
        booster = json.loads(self.trees)["learner"]
        features = int(booster["learner_model_param"]["num_feature"])
        for tree in booster["gradient_booster"]["model"]["trees"]:
            left, right = (np.array(tree[name], np.int64) for name in ("left_children", "right_children"))
            splits = np.array(tree["split_indices"], np.int64)
            inner = np.flatnonzero(left >= 0)
            children = np.concatenate((left[inner], right[inner]))
            lengths = {len(tree[name]) for name in ("right_children", "split_indices", "split_conditions", "parents")}
            sound = lengths == {len(left)} == {int(tree["tree_param"]["num_nodes"])} and len(left) > 0
            if not sound or not np.all((children > 0) & (children < len(left))):
                raise ValueError("its trees are damaged")
            if len(np.unique(children)) < len(children) or not np.all(
                (splits[inner] >= 0) & (splits[inner] < features)
            ):
                raise ValueError("its trees are damaged")
            if np.any(right[left < 0] >= 0) or len(tree["categories"]):
                raise ValueError("its trees are damaged")

    def scores(self, directions: np.ndarray) -> np.ndarray:
        import xgboost  # slow to import

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(self.trees.encode()))
        return booster.inplace_predict(directions, predict_type="margin").astype(np.float64)


@dataclass(frozen=True)
class Ensemble(Model):
    """Several models that vote: the mean of their probabilities.

    Parameters
    ----------
    members : tuple of Model
    slopes, offsets : numpy.ndarray
        float64, shape (members,): what turns their scores into these.
    """

    members: tuple
    slopes: np.ndarray
    offsets: np.ndarray

    def scores(self, directions: np.ndarray) -> np.ndarray:
        calibrations = (Calibration(*pair) for pair in zip(self.slopes, self.offsets, strict=True))
        pairs = zip(self.members, calibrations, strict=True)
        return np.mean([calibration.probabilities(member.scores(directions)) for member, calibration in pairs], axis=0)


DTYPES = {"f": FLOAT32, "d": np.dtype("<f8"), "i": np.dtype("<i4")}


def pack(model: Model) -> tuple[dict, bytes]:
    """Return a model as what JSON can hold, and the bytes of its arrays."""
    described: dict = {"kind": type(model).__name__, "arrays": []}
    parts = []
    for name in (field.name for field in fields(model)):
        value = getattr(model, name)
        if isinstance(value, np.ndarray):
            code = {"f4": "f", "f8": "d", "i4": "i", "i8": "i"}[value.dtype.str[1:]]
            described["arrays"].append([name, code, list(value.shape)])
            parts.append(np.ascontiguousarray(value, DTYPES[code]).tobytes())
        elif isinstance(value, tuple):
            packed = [pack(member) for member in value]
            described[name] = [[member, len(content)] for member, content in packed]
            parts.append(b"".join(content for _, content in packed))
        else:
            described[name] = value
    return described, b"".join(parts)


def unpack(described: dict, content: bytes) -> Model:
    """Return the model that `pack` took apart.

    Raises
    ------
    UserModelBroken
        If it cannot be one.
    """
    try:
        kind = Model.kinds[described["kind"]]
        shapes = {name: (DTYPES[code], shape) for name, code, shape in described["arrays"]}
        values, start = {}, 0
        for name in (field.name for field in fields(kind)):
            if name in shapes:
                dtype, shape = shapes[name]
                values[name] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
                start += values[name].nbytes
            elif name == "members":
                members = []
                for member, size in described[name]:
                    members.append(unpack(member, content[start : start + size]))
                    start += size
                values[name] = tuple(members)
            else:
                values[name] = described[name]
        model = kind(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserModelBroken(f"The stored model is damaged: {error}") from error
    if start != len(content):
        raise UserModelBroken("The stored model is damaged: it is longer than it says")
    return model


def selected(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the dimensions, from 1, that a linear model gives weight, and the weights, the largest first."""
    if not isinstance(model, Linear):
        return np.empty(0, int), np.empty(0, np.float32)
    chosen = np.flatnonzero(model.weights)
    chosen = chosen[np.argsort(-np.abs(model.weights[chosen]), kind="stable")]
    return chosen + 1, model.weights[chosen]


def scorer(model: Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function that scores vectors, float32, shape (items, dimensions), whose lengths are known."""
    if isinstance(model, Anchored):
        anchors = model.anchors

        def score(vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
            # One vector is much quicker than a matrix of one.
            products = (vectors @ anchors[0])[:, np.newaxis] if len(anchors) == 1 else vectors @ anchors.T
            np.divide(products, norms[:, np.newaxis], out=products, where=norms[:, np.newaxis] > 0)
            return model.of_products(products)

    else:

        def score(vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
            lengths = np.where(norms > 0, norms, 1)[:, np.newaxis]
            return model.scores(vectors / lengths)

    return score


class Cache:
    """The model that was used last: taking one apart and together again takes longer than using it.

    It is kept by its content, so that a model that has changed is never served stale.
    """

    def __init__(self) -> None:
        self._packed: tuple[str, bytes] | None = None
        self._model: Model | None = None

    def open(self, described: str, content: bytes) -> Model:
        """Return the model of this content."""
        if self._packed != (described, content):
            self._model, self._packed = unpack(json.loads(described), content), (described, content)
        return self._model


def dumps(described: dict) -> str:
    """Return what `pack` describes, or parameters, as JSON that PostgreSQL can read."""
    return json.dumps(described, allow_nan=False)
