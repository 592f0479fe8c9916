"""Bandits with Bernoulli arms and Beta posteriors: which arm next, and how probable that choice was."""

from __future__ import annotations

import numpy as np

from pixelplum.errors import UnknownPolicy, shown

POLICIES = ("posterior_mean", "thompson", "ucb1", "epsilon_greedy", "greedy", "random")
DRAWS = 1000
"""Of each posterior, to learn how often Thompson sampling would choose it."""
EPSILON = 0.1
SMALL = 0.1
AT_ONCE = 1_000_000
"""Numbers drawn at once, 8 MB."""


def check_policy(policy: str | None) -> None:
    """Refuse a policy that is not known.

    Raises
    ------
    UnknownPolicy
    """
    if policy not in POLICIES:
        raise UnknownPolicy(f"The policy {shown(policy)} is not known")


def values(policy: str, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Return what a policy that always takes the best arm compares.

    Parameters
    ----------
    policy : {'greedy', 'epsilon_greedy', 'ucb1'}
        The posterior mean, or for UCB1 the mean and its confidence bonus √(2 ln n / nᵢ), where the prior counts as
        votes that were cast: two, if it is flat.
    alpha, beta : numpy.ndarray
        Parameters of the posteriors, shape (..., arms).

    Returns
    -------
    numpy.ndarray
        Shape (..., arms).

    References
    ----------
    Auer, Cesa-Bianchi, Fischer: Finite-time analysis of the multiarmed bandit problem. Machine Learning 47, 2002.
    """
    votes = alpha + beta
    means = alpha / votes
    if policy == "ucb1":
        return means + np.sqrt(2 * np.log(np.maximum(votes.sum(axis=-1, keepdims=True), 1)) / votes)
    return means


def probabilities(
    policy: str, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """Return how probable each arm is.

    Parameters
    ----------
    policy : str
        One of `POLICIES`. posterior_mean takes arms in proportion to their posterior means; thompson in proportion to
        how probable it is that they are the best; ucb1 and greedy take the best, ties at random; epsilon_greedy does
        so but for one time in ten, when it takes any.
    alpha, beta : numpy.ndarray
        Parameters of the posteriors, shape (arms,).
    random : numpy.random.Generator
        For thompson, whose probabilities are simulated.
    draws : int, default 1000
        For thompson.

    Returns
    -------
    tuple of numpy.ndarray
        Probabilities and their standard errors, shape (arms,). Errors are 0, but for thompson.

    Raises
    ------
    UnknownPolicy

    References
    ----------
    Thompson: On the likelihood that one unknown probability exceeds another. Biometrika 25, 1933.
    """
    check_policy(policy)
    arms = len(alpha)
    exact = np.zeros(arms)
    if policy == "random" or arms == 1:
        return np.full(arms, 1 / arms), exact
    if policy == "posterior_mean":
        means = alpha / (alpha + beta)
        return means / means.sum(), exact
    if policy == "thompson":
        wins = np.zeros(arms)
        step = max(1, AT_ONCE // arms)
        for begun in range(0, draws, step):
            wins += np.bincount(_winners(alpha, beta, random, min(step, draws - begun)), minlength=arms)
        found = wins / draws
        return found, np.sqrt(found * (1 - found) / draws)
    compared = values(policy, alpha, beta)
    best = compared >= compared.max() - 1e-12
    greedy = best / best.sum()
    if policy == "epsilon_greedy":
        return EPSILON / arms + (1 - EPSILON) * greedy, exact
    return greedy, exact


def _winners(alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator, draws: int) -> np.ndarray:
    """Draw all posteriors, and return which arm is the best in each draw.

    Odds of a Beta-distributed number are the ratio of two Gamma-distributed ones, which are drawn in half the time; but
    those with tiny parameters may both be too small for a float.
    """
    odds = np.empty((len(alpha), draws))
    with np.errstate(divide="ignore"):
        for arm, (a, b) in enumerate(zip(alpha.tolist(), beta.tolist(), strict=True)):
            if min(a, b) < SMALL:
                share = random.beta(a, b, draws)
                odds[arm] = share / (1 - share)
            else:
                odds[arm] = random.standard_gamma(a, draws) / random.standard_gamma(b, draws)
    return odds.argmax(axis=0)


def pick(policy: str, alpha: np.ndarray, beta: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Choose an arm for each of many runs at once; the same as drawing from `probabilities`, without computing them.

    Parameters
    ----------
    policy : str
        As for `probabilities`.
    alpha, beta : numpy.ndarray
        Parameters of the posteriors, shape (runs, arms).
    random : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Numbers of arms from 0, shape (runs,).
    """
    check_policy(policy)
    if policy == "random":
        return random.integers(alpha.shape[-1], size=alpha.shape[:-1])
    if policy == "thompson":
        return random.beta(alpha, beta).argmax(axis=-1)
    if policy == "posterior_mean":  # the largest of log p + Gumbel noise is distributed as p
        return (np.log(alpha / (alpha + beta)) + random.gumbel(size=alpha.shape)).argmax(axis=-1)
    compared = values(policy, alpha, beta)
    best = compared >= compared.max(axis=-1, keepdims=True) - 1e-12
    chosen = np.where(best, random.random(size=alpha.shape), -1).argmax(axis=-1)
    if policy == "epsilon_greedy":
        anything = random.random(size=chosen.shape) < EPSILON
        chosen = np.where(anything, random.integers(alpha.shape[-1], size=chosen.shape), chosen)
    return chosen


class Tree:
    """Clusters below one another: leaves have votes, and an inner one has those of the leaves below it.

    Parameters
    ----------
    parents : list of (int or None)
        For each node, the position of the one above it; None for those at the top. Without any, all arms are equals.
    """

    def __init__(self, parents: list[int | None]):
        self.parents = parents
        self.children: dict[int | None, list[int]] = {}
        for node, parent in enumerate(parents):
            self.children.setdefault(parent, []).append(node)
        self.is_leaf = np.array([node not in self.children for node in range(len(parents))])
        self._upwards = self._order()[::-1]

    def _order(self) -> list[int]:
        found = list(self.children.get(None, []))
        for node in found:  # grows while it is walked
            found += self.children.get(node, [])
        return found

    def sums(self, numbers: np.ndarray) -> np.ndarray:
        """Add up, for every node, the numbers of the leaves below it; shape (nodes,)."""
        added = np.where(self.is_leaf, numbers, 0)
        for node in self._upwards:
            if self.parents[node] is not None:
                added[self.parents[node]] += added[node]
        return added

    def choose(
        self, policy: str, alpha: np.ndarray, beta: np.ndarray, free: np.ndarray, random: np.random.Generator
    ) -> tuple[int, float, float]:
        """Choose a leaf: at every level, one of the branches that have a free leaf.

        Parameters
        ----------
        policy : str
            As for `probabilities`.
        alpha, beta : numpy.ndarray
            Parameters of the posteriors of all nodes, shape (nodes,).
        free : numpy.ndarray
            bool, shape (nodes,): leaves that may be chosen; at least one.
        random : numpy.random.Generator

        Returns
        -------
        tuple of (int, float, float)
            The leaf, its probability, and the standard error of that.
        """
        open_nodes = self.sums(free.astype(float)) > 0
        node, probability, relative_variance = None, 1.0, 0.0
        while node in self.children:
            branches = np.array([child for child in self.children[node] if open_nodes[child]])
            shares, errors = probabilities(policy, alpha[branches], beta[branches], random)
            place = int(random.choice(len(branches), p=shares))
            node = int(branches[place])
            probability *= float(shares[place])
            relative_variance += float(errors[place] / shares[place]) ** 2
        return node, probability, probability * relative_variance**0.5


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
