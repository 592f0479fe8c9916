"""Empirical Bayes: Beta priors of arms from what many users think of them."""

from __future__ import annotations

import numpy as np

LEAST_STRENGTH = 0.5
PULL = 2.0
"""Votes with which the mean of all arms counts in that of each."""


def beta_by_moments(likes: np.ndarray, votes: np.ndarray, users: np.ndarray) -> tuple[float, float]:
    """Fit a Beta distribution of like rates by their moments.

    Parameters
    ----------
    likes, votes : numpy.ndarray
        Of a user, float64, shape (kinds,); votes above 0.
    users : numpy.ndarray
        How many users have just these, shape (kinds,).

    Returns
    -------
    tuple of (float, float)
        Mean, and strength: alpha + beta. It is infinite where users do not differ more than chance makes them.

    References
    ----------
    Kleinman: Proportions with extraneous variance: single and independent samples. JASA 68, 1973.
    """
    total, count = float((users * votes).sum()), float(users.sum())
    mean = float((users * likes).sum()) / total
    if count < 2 or not 0 < mean < 1:
        return mean, np.inf
    spread = float((users * votes * np.square(likes / votes - mean)).sum())
    by_chance = mean * (1 - mean)
    room = by_chance * (total - float((users * votes**2).sum()) / total - (count - 1))
    excess = spread - by_chance * (count - 1)
    if room <= 0 or excess <= 0:
        return mean, np.inf
    return mean, max(room / excess - 1, 0.0)


def beta_by_likelihood(likes: np.ndarray, votes: np.ndarray, users: np.ndarray) -> tuple[float, float]:
    """Fit a Beta distribution of like rates by maximum likelihood of the beta-binomial; see `beta_by_moments`."""
    from scipy.optimize import minimize
    from scipy.special import betaln, expit, logit

    mean, strength = beta_by_moments(likes, votes, users)
    if not 0 < mean < 1 or users.sum() < 2:
        return mean, strength

    def loss(parameters: np.ndarray) -> float:
        center, size = expit(parameters[0]), np.exp(parameters[1])
        alpha, beta = center * size, (1 - center) * size
        return -float((users * (betaln(likes + alpha, votes - likes + beta) - betaln(alpha, beta))).sum())

    begun = [logit(mean), np.log(np.clip(strength, 0.1, 1000))]
    optimum = minimize(loss, begun, method="L-BFGS-B", bounds=[(-12, 12), (-5, 12)])
    strength = float(np.exp(optimum.x[1]))
    return float(expit(optimum.x[0])), strength if optimum.x[1] < 11.9 else np.inf


FITS = {"moments": beta_by_moments, "likelihood": beta_by_likelihood}


def pooled_priors(
    arms: np.ndarray, likes: np.ndarray, votes: np.ndarray, users: np.ndarray, count: int, algorithm: str, cap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a Beta prior to each arm.

    An arm's mean is pulled to that of all arms by two votes. Its strength is at most `cap`, and that where users do
    not differ; an arm that fewer than two users know has the strength of all arms together.

    Parameters
    ----------
    arms : numpy.ndarray
        Numbers of arms from 0, shape (kinds,).
    likes, votes, users : numpy.ndarray
        As for `beta_by_moments`, of each arm, shape (kinds,).
    count : int
        How many arms there are.
    algorithm : {'moments', 'likelihood'}
    cap : float
        The largest strength.

    Returns
    -------
    tuple of numpy.ndarray
        alpha and beta, shape (count,).
    """
    fit = FITS[algorithm]
    if len(arms) == 0:
        return np.ones(count), np.ones(count)
    all_likes, all_votes = float((users * likes).sum()), float((users * votes).sum())
    overall = (all_likes + 1) / (all_votes + 2)
    _, shared = fit(likes, votes, users)
    means, strengths = np.full(count, overall), np.full(count, shared)
    for arm in np.unique(arms):
        own = arms == arm
        _, strength = fit(likes[own], votes[own], users[own])
        strengths[arm] = strength if users[own].sum() > 1 else shared
        means[arm] = (float((users * likes)[own].sum()) + PULL * overall) / (float((users * votes)[own].sum()) + PULL)
    strengths = np.clip(strengths, min(LEAST_STRENGTH, cap), cap)
    return means * strengths, (1 - means) * strengths
