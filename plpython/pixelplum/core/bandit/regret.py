"""Bandits that are played many times, to see how policies learn."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit.policies import pick


def regret(
    policy: str, means: np.ndarray, steps: int, runs: int, random: np.random.Generator, every: int = 1
) -> np.ndarray:
    """Play a bandit with Bernoulli arms and flat priors many times.

    Parameters
    ----------
    policy : str
        As for `probabilities`.
    means : numpy.ndarray
        How probable a like is, shape (arms,).
    steps : int
        Votes in each run.
    runs : int
        How often it is played.
    random : numpy.random.Generator
    every : int, default 1
        Posteriors are updated after so many votes.

    Returns
    -------
    numpy.ndarray
        Expected likes that were missed up to each vote, shape (steps, runs).
    """
    alpha = np.ones((runs, len(means)))
    beta = np.ones_like(alpha)
    new_likes, new_dislikes = np.zeros_like(alpha), np.zeros_like(alpha)
    missed = np.empty((steps, runs))
    rows = np.arange(runs)
    for step in range(steps):
        arms = pick(policy, alpha, beta, random)
        liked = random.random(runs) < means[arms]
        new_likes[rows, arms] += liked
        new_dislikes[rows, arms] += ~liked
        if (step + 1) % every == 0:
            alpha += new_likes
            beta += new_dislikes
            new_likes[:], new_dislikes[:] = 0, 0
        missed[step] = means.max() - means[arms]
    return missed.cumsum(axis=0)
