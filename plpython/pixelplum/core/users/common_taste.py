"""What users have in common: a prior over their tastes, learned from the votes of all.

A taste is a vector of weights, over principal components of the catalogue. Tastes are taken to be normally distributed
over users; the mean and the covariance of that distribution are learned, and a user's own taste is then the most
probable one given their votes. So the first votes already tell much: in which directions tastes differ is known.

References
----------
K. Yu, V. Tresp and A. Schwaighofer, "Learning Gaussian Processes from Multiple Tasks", ICML 2005; the posteriors are
Laplace's approximation: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pixelplum.core.users.models import Linear, Model, sigmoid

COMPONENTS = 64
VARIANCE = 2.0
"""Of a weight, before anything is learned."""

DEGREES = 3.0
"""How many users the prior counts for."""

ROUNDS = 8
NEWTON_STEPS = 30
SMALLEST_GAIN = 1e-6


class Basis(NamedTuple):
    """What coordinates are made with; see `CommonTaste`."""

    center: np.ndarray
    components: np.ndarray

    def coordinates(self, directions: np.ndarray) -> np.ndarray:
        """Return float64, shape (items, components + 1): the last one is 1."""
        projected = (directions - self.center) @ self.components.T
        return np.column_stack([projected, np.ones(len(projected))]).astype(np.float64)


@dataclass(frozen=True)
class CommonTaste(Model):
    """The prior over tastes.

    Parameters
    ----------
    center : numpy.ndarray
        float32, shape (dimensions,): mean direction of the catalogue.
    components : numpy.ndarray
        float32, shape (components, dimensions): on which directions, less the center, are projected.
    mean : numpy.ndarray
        float64, shape (components + 1,): of the weights, and of the intercept.
    covariance : numpy.ndarray
        float64, shape (components + 1, components + 1).
    half_means, half_covariances : numpy.ndarray
        float64, shape (2, components + 1), (2, components + 1, components + 1): the same, learned from one half of the
        users alone, and from the other: to tell how well it does for those that it has not seen.
    """

    center: np.ndarray
    components: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    half_means: np.ndarray
    half_covariances: np.ndarray

    def coordinates(self, directions: np.ndarray) -> np.ndarray:
        """Return float64, shape (items, components + 1): the last one is 1."""
        return Basis(self.center, self.components).coordinates(directions)

    def linear(self, weights: np.ndarray) -> Linear:
        """Return the model over directions that weights over coordinates, shape (components + 1,), make."""
        full = (weights[:-1] @ self.components).astype(np.float32)
        return Linear(full, float(weights[-1] - full.astype(np.float64) @ self.center))

    def scores(self, directions: np.ndarray) -> np.ndarray:
        return self.pooled().scores(directions)

    def pooled(self) -> Linear:
        """Return the taste that is expected of a user of whom nothing is known."""
        return self.linear(self.mean)


@dataclass(frozen=True)
class Posterior:
    """What votes tell of one taste.

    Parameters
    ----------
    mean : numpy.ndarray
        float64, shape (coordinates,): the most probable weights.
    covariance : numpy.ndarray
        float64, shape (coordinates, coordinates).
    scores : numpy.ndarray
        float64, shape (votes,): of the votes.
    spread : numpy.ndarray
        float64, shape (votes, votes): covariance of these.
    """

    mean: np.ndarray
    covariance: np.ndarray
    scores: np.ndarray
    spread: np.ndarray


def posterior(
    coordinates: np.ndarray, liked: np.ndarray, strengths: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> Posterior:
    """Find the most probable weights given votes.

    Parameters
    ----------
    coordinates : numpy.ndarray
        float64, shape (votes, coordinates).
    liked : numpy.ndarray
        bool, shape (votes,).
    strengths : numpy.ndarray
        float64, shape (votes,): how much each counts.
    mean, covariance : numpy.ndarray
        Of the prior: shape (coordinates,), (coordinates, coordinates).
    """
    from scipy.linalg import cho_solve, solve_triangular  # slow to import

    spread = coordinates @ covariance
    gram = spread @ coordinates.T
    expected = coordinates @ mean
    signs = np.where(liked, 1.0, -1.0)

    def likelihood(scores: np.ndarray) -> float:
        return float(-(strengths * np.logaddexp(0, -signs * scores)).sum())

    dual, scores, value = np.zeros(len(liked)), expected, likelihood(expected)
    for _ in range(NEWTON_STEPS):
        chances = sigmoid(scores)
        curvature = strengths * chances * (1 - chances) + 1e-12
        root = np.sqrt(curvature)
        factor = _cholesky(np.eye(len(liked)) + root[:, np.newaxis] * gram * root)
        wanted = curvature * (scores - expected) + strengths * (liked - chances)
        full = wanted - root * cho_solve((factor, True), root * (gram @ wanted))
        step = 1.0
        while True:  # a full step may overshoot
            tried = dual + step * (full - dual)
            moved = gram @ tried
            reached = likelihood(expected + moved) - 0.5 * tried @ moved
            if reached >= value - 1e-9 or step < 1e-4:
                break
            step /= 2
        gain, dual, scores, value = reached - value, tried, expected + moved, reached
        if gain < SMALLEST_GAIN * max(1.0, abs(value)):
            break
    chances = sigmoid(scores)
    curvature = strengths * chances * (1 - chances) + 1e-12
    root = np.sqrt(curvature)
    factor = _cholesky(np.eye(len(liked)) + root[:, np.newaxis] * gram * root)
    scaled = solve_triangular(factor, root[:, np.newaxis] * spread, lower=True)
    among = solve_triangular(factor, root[:, np.newaxis] * gram, lower=True)
    return Posterior(mean + dual @ spread, covariance - scaled.T @ scaled, scores, gram - among.T @ among)


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    from scipy.linalg.lapack import dpotrf  # slow to import

    factor, failed = dpotrf(matrix, lower=True, clean=True)
    if failed:
        raise np.linalg.LinAlgError("the votes contradict one another beyond what numbers can tell")
    return factor


def basis(catalogue: np.ndarray, components: int, seed: int) -> Basis:
    """Return the mean direction, and principal components, scaled so that coordinates' mean square length is 1."""
    from pixelplum.core.clustering.projections import principal_components  # imports scikit-learn

    pca = principal_components(catalogue, components, seed)
    spread = float(np.square(catalogue - pca.mean_).sum(axis=1).mean()) ** 0.5
    return Basis(pca.mean_.astype(np.float32), (pca.components_ / spread).astype(np.float32))


def learn(basis: Basis, users: list[tuple[np.ndarray, np.ndarray, np.ndarray]], halves: np.ndarray) -> CommonTaste:
    """Learn mean and covariance from votes.

    Parameters
    ----------
    basis : Basis
    users : list of (numpy.ndarray, numpy.ndarray, numpy.ndarray)
        Of each user: coordinates, what is liked, and strengths, as for `posterior`.
    halves : numpy.ndarray
        int, shape (users,): in which half each is, 0 or 1.

    Returns
    -------
    CommonTaste
    """
    size = len(basis.components) + 1
    mean, covariance = _maximize(users, size)
    parts = [_maximize([user for user, own in zip(users, halves, strict=True) if own == half], size) for half in (0, 1)]
    half_means, half_covariances = map(np.stack, zip(*parts, strict=True))
    return CommonTaste(*basis, mean, covariance, half_means, half_covariances)


def _maximize(users: list, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance by expectation maximization; of nobody, those before anything is learned."""
    mean, first = np.zeros(size), VARIANCE * np.eye(size)
    covariance = first
    for _ in range(ROUNDS if users else 0):
        posteriors = [posterior(*user, mean, covariance) for user in users]
        means = np.stack([each.mean for each in posteriors])
        mean = means.sum(axis=0) / (len(users) + 1)
        away = means - mean
        within = np.sum([each.covariance for each in posteriors], axis=0)
        covariance = (DEGREES * first + away.T @ away + within + np.outer(mean, mean)) / (len(users) + DEGREES)
    return mean, covariance
