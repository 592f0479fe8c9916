"""Mixtures of Gaussians, fitted by variational Bayes: components that are not needed end up without members."""

from __future__ import annotations

import warnings

import numpy as np

from pixelplum.core.clustering.clusters import FittedState
from pixelplum.core.search.vectors import FLOAT32

MOST_ROUNDS = 300


def fit(
    coordinates: np.ndarray, mean: np.ndarray, axes: np.ndarray, k: int, n_init: int, seed: int
) -> tuple[FittedState, int, bool]:
    """Fit a mixture with diagonal covariances in the space of principal components.

    Parameters
    ----------
    coordinates : numpy.ndarray
        float32, shape (vectors, components): the vectors' principal components.
    mean, axes : numpy.ndarray
        float32, shapes (dimensions,) and (components, dimensions): the projection.
    k : int
        Number of components at most.
    n_init, seed : int
        Runs, and the seed of their random numbers.

    Returns
    -------
    state : FittedState
        Of the components that vectors belong to.
    rounds : int
        What the best run took.
    has_converged : bool
        Whether it ended by itself.

    References
    ----------
    scikit-learn's BayesianGaussianMixture, with a Dirichlet process as the prior of the weights.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import, like the next
    from sklearn.mixture import BayesianGaussianMixture

    # As wide as k equal parts of the whole would be. The usual prior, narrower by the number of components, makes one
    # cluster of few items.
    components = coordinates.shape[1]
    width = coordinates.var(axis=0, dtype=np.float64) * k ** (-2 / components)
    mixture = BayesianGaussianMixture(
        n_components=k, covariance_type="diag", n_init=n_init, random_state=seed, max_iter=MOST_ROUNDS,
        degrees_of_freedom_prior=components, covariance_prior=components * width,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said by has_converged
        mixture.fit(coordinates.astype(np.float64))
    constants = np.log(mixture.weights_) - 0.5 * np.log(mixture.covariances_).sum(axis=1)
    state = FittedState(
        (mean + mixture.means_ @ axes).astype(FLOAT32),
        np.zeros(k),
        mixture={
            "mean": mean,
            "axes": axes,
            "means": mixture.means_,
            "precisions": 1 / mixture.covariances_,
            "constants": constants,
        },
    )
    labels = state.components(coordinates).argmax(axis=1)
    state.weights[:] = np.bincount(labels, minlength=k)
    return state.select(np.flatnonzero(state.weights)), int(mixture.n_iter_), bool(mixture.converged_)
