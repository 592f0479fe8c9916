"""A softmax layer over features: what every classifier is, however it was trained."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search.vectors import FLOAT32, from_bytes
from pixelplum.errors import VectorError

NOT_FINITE = "The vector holds a number that is not finite, or too large"


def softmax(scores: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities: float64, of the same shape, that sum to 1 along the last axis."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


class SoftmaxLayer:
    """Class probabilities are ``softmax(weights @ features + intercepts)``.

    Parameters
    ----------
    labels : list of str
        Names of the classes.
    weights : bytes
        Little-endian float32, one vector per class, one after another.
    intercepts : list of float
        One per class.

    Attributes
    ----------
    dimensions : int
        Number of features.

    Raises
    ------
    VectorError
        If these do not fit together.
    """

    def __init__(self, labels: list[str], weights: bytes, intercepts: list[float]):
        if not labels or len(labels) != len(intercepts) or len(weights) % (4 * len(labels)):
            raise VectorError(
                f"{len(labels)} labels, {len(intercepts)} intercepts, {len(weights) // 4} weights do not fit together",
                hint="Train the classifier again.",
            )
        self.labels = labels
        if not np.isfinite(from_bytes(weights)).all() or not np.isfinite(intercepts).all():
            raise VectorError("The classifier holds a number that is not finite", hint="Train the classifier again.")
        self._weights = np.ascontiguousarray(from_bytes(weights).reshape(len(labels), -1))
        self._intercepts = np.asarray(intercepts, FLOAT32)
        self.dimensions = self._weights.shape[1]

    def scores(self, vector: bytes) -> np.ndarray:
        """Return what goes into the softmax: float32, shape (classes,).

        Raises
        ------
        VectorError
            If the vector has other dimensions, or is not finite.
        """
        if len(vector) != 4 * self.dimensions:
            raise VectorError(
                f"The vector has {len(vector) // 4} dimensions, the classifier {self.dimensions}",
                hint="Extract features of the classifier's own model.",
            )
        return self._weights @ from_bytes(vector) + self._intercepts

    def probabilities(self, vector: bytes) -> np.ndarray:
        """Return float64, shape (classes,), that sum to 1; errors as for `scores`."""
        probabilities = softmax(self.scores(vector))
        if not np.isfinite(probabilities).all():
            raise VectorError(NOT_FINITE)
        return probabilities

    def best(self, vector: bytes) -> tuple[str, float]:
        """Return the most probable class and its probability; errors as for `scores`."""
        scores = self.scores(vector)
        position = scores.argmax()
        total = float(np.exp(scores - scores[position]).sum())
        if not total >= 1:
            raise VectorError(NOT_FINITE)
        return self.labels[position], 1 / total
