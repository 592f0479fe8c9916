"""Policies of bandits with Bernoulli arms and Beta posteriors: which arm next, and how probable that choice was.

A new one is a class here, and its entry in `POLICIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from pixelplum.errors import UnusableArgument, shown

DRAWS = 1000
"""Of each posterior, to learn how often Thompson sampling would choose it."""
EPSILON = 0.1
SMALL = 0.1
AT_ONCE = 1_000_000
"""Numbers drawn at once, 8 MB."""


class Policy(ABC):
    """How an arm is chosen, knowing the posterior of each.

    Attributes
    ----------
    name : str
        What it is called in SQL.
    """

    name: ClassVar[str]

    @abstractmethod
    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how probable each arm is.

        Parameters
        ----------
        alpha, beta : numpy.ndarray
            Parameters of the posteriors, shape (arms,).
        random : numpy.random.Generator
            For probabilities that are simulated.
        draws : int, default 1000
            For these.

        Returns
        -------
        tuple of numpy.ndarray
            Probabilities and their standard errors, shape (arms,). Errors are 0 where nothing is simulated.
        """

    @abstractmethod
    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Choose an arm for each of many runs: as drawing from `probabilities`, without computing them.

        Parameters
        ----------
        alpha, beta : numpy.ndarray
            Parameters of the posteriors, shape (runs, arms).
        random : numpy.random.Generator

        Returns
        -------
        numpy.ndarray
            Ordinals of arms from 0, shape (runs,).
        """


class PosteriorMean(Policy):
    """Arms in proportion to their posterior means."""

    name = "posterior_mean"

    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        means = alpha / (alpha + beta)
        return means / means.sum(), np.zeros(len(alpha))

    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        # The largest of log p + Gumbel noise is distributed as p.
        return (np.log(alpha / (alpha + beta)) + random.gumbel(size=alpha.shape)).argmax(axis=-1)


class Thompson(Policy):
    """Arms in proportion to how probable it is that they are the best.

    References
    ----------
    Thompson: On the likelihood that one unknown probability exceeds another. Biometrika 25, 1933.
    """

    name = "thompson"

    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        arms = len(alpha)
        wins = np.zeros(arms)
        step = max(1, AT_ONCE // arms)
        for begun in range(0, draws, step):
            wins += np.bincount(_winners(alpha, beta, random, min(step, draws - begun)), minlength=arms)
        estimates = wins / draws
        return estimates, np.sqrt(estimates * (1 - estimates) / draws)

    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return random.beta(alpha, beta).argmax(axis=-1)


class Greedy(Policy):
    """The arm with the largest posterior mean, ties at random."""

    name = "greedy"

    def values(self, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """Return what is compared, shape (..., arms)."""
        return alpha / (alpha + beta)

    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        values = self.values(alpha, beta)
        best = values >= values.max() - 1e-12
        return best / best.sum(), np.zeros(len(alpha))

    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        values = self.values(alpha, beta)
        best = values >= values.max(axis=-1, keepdims=True) - 1e-12
        return np.where(best, random.random(size=alpha.shape), -1).argmax(axis=-1)


class Ucb1(Greedy):
    """The arm with the largest mean and confidence bonus √(2 ln n / nᵢ).

    The prior counts as votes that were cast: two, if it is flat.

    References
    ----------
    Auer, Cesa-Bianchi, Fischer: Finite-time analysis of the multiarmed bandit problem. Machine Learning 47, 2002.
    """

    name = "ucb1"

    def values(self, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        votes = alpha + beta
        means = alpha / votes
        return means + np.sqrt(2 * np.log(np.maximum(votes.sum(axis=-1, keepdims=True), 1)) / votes)


class EpsilonGreedy(Greedy):
    """The arm with the largest posterior mean but for one time in ten, when it is any."""

    name = "epsilon_greedy"

    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        greedy, exact = super().probabilities(alpha, beta, random, draws)
        return EPSILON / len(alpha) + (1 - EPSILON) * greedy, exact

    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        chosen = super().pick(alpha, beta, random)
        anything = random.random(size=chosen.shape) < EPSILON
        return np.where(anything, random.integers(alpha.shape[-1], size=chosen.shape), chosen)


class Random(Policy):
    """Any arm, all as probable."""

    name = "random"

    def probabilities(
        self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(alpha), 1 / len(alpha)), np.zeros(len(alpha))

    def pick(self, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return random.integers(alpha.shape[-1], size=alpha.shape[:-1])


POLICIES: dict[str, Policy] = {
    policy.name: policy for policy in (PosteriorMean(), Thompson(), Ucb1(), EpsilonGreedy(), Greedy(), Random())
}


def find(policy: str | None) -> Policy:
    """Return the policy of a name.

    Raises
    ------
    UnusableArgument
    """
    if policy not in POLICIES:
        raise UnusableArgument(
            f"policy must be one of {', '.join(POLICIES)}, not {shown(policy)}",
            hint="pix.algorithms('policy') lists the policies.",
        )
    return POLICIES[policy]


def probabilities(
    policy: str, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """Return how probable each arm is to a policy; see `Policy.probabilities`. A single arm is certain."""
    policy_class = find(policy)
    if len(alpha) == 1:
        return np.ones(1), np.zeros(1)
    return policy_class.probabilities(alpha, beta, random, draws)


def pick(policy: str, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Choose an arm for each of many runs; see `Policy.pick`."""
    return find(policy).pick(alpha, beta, random)


def _winners(alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int) -> np.ndarray:
    """Draw all posteriors, and return which arm is the best in each draw.

    Odds of a Beta-distributed number are the ratio of two Gamma-distributed ones, which are drawn in half the time; but
    those with tiny parameters may both be too small for a float.
    """
    odds = np.empty((len(alpha), draws))
    with np.errstate(divide="ignore"):
        for arm, (a, b) in enumerate(zip(alpha.tolist(), beta.tolist(), strict=True)):
            if min(a, b) < SMALL:
                part = random.beta(a, b, draws)
                odds[arm] = part / (1 - part)
            else:
                odds[arm] = random.standard_gamma(a, draws) / random.standard_gamma(b, draws)
    return odds.argmax(axis=0)
