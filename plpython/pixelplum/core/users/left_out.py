"""How a model does on votes that it has not seen, and the probabilities that its scores stand for."""

from __future__ import annotations

import math

import numpy as np

from pixelplum.core.users.models import Calibration, sigmoid

FEWEST_VOTES, FEWEST_OF_A_KIND = 20, 5
"""For probabilities: with fewer they would be worse than the fraction of likes."""

FLATTEST = 0.05


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
    return without_each_by_covariance(full @ np.linalg.solve(hessian, full.T), counts, scores, liked)


def without_each_by_covariance(
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
    line = np.array([0.0, math.log((likes + 1) / (dislikes + 1))])
    for _ in range(50):
        chances = sigmoid(rows @ line)
        curvature = np.maximum(chances * (1 - chances), 1e-6)
        change = np.linalg.solve(
            (rows * curvature[:, np.newaxis]).T @ rows + 1e-3 * np.eye(2), rows.T @ (targets - chances)
        )
        line = line + np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-6:
            break
    slope = max(float(line[0]), FLATTEST) / spread  # what has learned nothing still ranks, between near-equals
    return Calibration(slope, float(line[1]) - slope * float(scores.mean()))
