"""Logistic regression with an elastic net, to its minimum."""

from __future__ import annotations

import math

import numpy as np

from pixelplum.core.users.votes import SMALLEST_SPREAD

FEWEST_GAINS = 1e-3
MOST_ROUNDS = 1000


def elastic_net(
    scaled: np.ndarray, liked: np.ndarray, counts: np.ndarray, alpha: float, l1_ratio: float
) -> tuple[np.ndarray, float]:
    """Minimize mean(counts · log loss) + alpha · (l1_ratio · |w|₁ + (1 - l1_ratio) / 2 · |w|²).

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
        shrunk = np.copysign(np.maximum(np.abs(moved) - cut, 0), moved)
        change = shrunk - weights
        if (ahead - shrunk) @ change > 0:  # momentum leads away: begin again
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
        ahead = shrunk + np.float32((momentum - 1) / following) * change
        weights, momentum = shrunk, following
        if number % 10 == 0 and np.abs(change).max() <= FEWEST_GAINS * max(np.abs(weights).max(), SMALLEST_SPREAD):
            break
    return weights[:-1], float(weights[-1])


def sigmoid32(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-scores)), float32."""
    return 0.5 + 0.5 * np.tanh(0.5 * scores)
