"""What a policy would have been worth, estimated from a log of other policies' choices.

References
----------
Horvitz, Thompson: A generalization of sampling without replacement from a finite universe. JASA 47, 1952.
Li, Chu, Langford, Wang: Unbiased offline evaluation of contextual-bandit-based news article recommendation. WSDM 2011.
Dudík, Langford, Li: Doubly robust policy evaluation and learning. ICML 2011.
Swaminathan, Joachims: The self-normalized estimator for counterfactual learning. NIPS 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixelplum.core.bandit import policies

ESTIMATORS = ("replay", "ips", "snips", "dr")
DRAWS = 100
"""For thompson: few will do, as errors of many choices cancel out."""
CONFIDENT = 1.959963984540054
"""Standard errors that 95 % of a normal distribution are within."""


@dataclass(frozen=True)
class Events:
    """Logged choices, and what the policy in question would have done instead.

    Parameters
    ----------
    users : numpy.ndarray
        int, shape (events,): whose they are.
    rewards : numpy.ndarray
        float64, shape (events,), from 0 to 1.
    propensities : numpy.ndarray
        float64, shape (events,), above 0: how probable the logged choice was to who made it.
    targets : numpy.ndarray
        float64, shape (events,): how probable it would have been to the policy in question.
    predicted : numpy.ndarray
        float64, shape (events,): the reward expected of the logged choice before it was known.
    expected : numpy.ndarray
        float64, shape (events,): the reward expected of the policy in question.
    """

    users: np.ndarray
    rewards: np.ndarray
    propensities: np.ndarray
    targets: np.ndarray
    predicted: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A policy's value: its mean reward, from 0 to 1."""

    value: float
    standard_error: float
    effective_sample_size: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval, by the normal distribution."""
        margin = CONFIDENT * self.standard_error
        return self.value - margin, self.value + margin


def estimate(estimator: str, events: Events, random: np.random.Generator) -> Estimate:
    """Estimate a policy's value.

    Parameters
    ----------
    estimator : {'replay', 'ips', 'snips', 'dr'}
        The mean reward of events that are kept with a probability in proportion to their weight; inverse propensity
        scores; the same, normalized by the sum of the weights; doubly robust.
    events : Events
        At least one.
    random : numpy.random.Generator
        For replay.

    Returns
    -------
    Estimate
        Its standard error takes the events of a user as one draw; where there is a single user, each event.
    """
    weights = events.targets / events.propensities
    if estimator == "replay":
        kept = (
            random.random(len(weights)) * weights.max() < weights if weights.max() > 0 else np.zeros(len(weights), bool)
        )
        return _ratio(np.where(kept, events.rewards, 0), kept.astype(float), events.users, float(kept.sum()))
    size = float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0
    ones = np.ones(len(weights))
    if estimator == "ips":
        return _ratio(weights * events.rewards, ones, events.users, size)
    if estimator == "snips":
        return _ratio(weights * events.rewards, weights, events.users, size)
    return _ratio(events.expected + weights * (events.rewards - events.predicted), ones, events.users, size)


def _ratio(tops: np.ndarray, bottoms: np.ndarray, users: np.ndarray, size: float) -> Estimate:
    """Σ tops / Σ bottoms, and its error by linearisation, users being drawn independently."""
    total = float(bottoms.sum())
    if total == 0:
        return Estimate(np.nan, np.nan, size)
    value = float(tops.sum()) / total
    residuals = tops - value * bottoms
    _, group = np.unique(users, return_inverse=True)
    if group.max() > 0:
        residuals = np.bincount(group, residuals)
    count = len(residuals)
    scale = count / (count - 1) if count > 1 else np.nan
    return Estimate(value, float(np.sqrt(scale * np.square(residuals).sum())) / total, size)


def replayed(
    policy: str, users: np.ndarray, arms: np.ndarray, values: np.ndarray, is_event: np.ndarray,
    propensities: np.ndarray, exhausted: list[list[int]], alpha: np.ndarray, beta: np.ndarray,
    random: np.random.Generator,
) -> Events:  # fmt: skip
    """Go through a log, and ask a policy at each choice what it would have done, knowing what was known then.

    Parameters
    ----------
    policy : str
        As for `policies.probabilities`.
    users, arms : numpy.ndarray
        int, shape (votes,), in the order of time: whose vote it is, and on which arm.
    values : numpy.ndarray
        float64, shape (votes,): likes above 0, dislikes below.
    is_event : numpy.ndarray
        bool, shape (votes,): votes that answer a policy's choice; the others only count for what is known later.
    propensities : numpy.ndarray
        float64, shape (votes,): of the choices.
    exhausted : list of list of int
        For each vote, the arms that could not be chosen.
    alpha, beta : numpy.ndarray
        The prior of each arm, shape (arms,).
    random : numpy.random.Generator
        For thompson.

    Returns
    -------
    Events
    """
    likes: dict[int, np.ndarray] = {}
    dislikes: dict[int, np.ndarray] = {}
    targets, predicted, expected = [], [], []
    votes = (users.tolist(), arms.tolist(), values.tolist(), is_event.tolist(), exhausted)
    for user, arm, value, counts, gone in zip(*votes, strict=True):
        a = likes.setdefault(user, alpha.copy())
        b = dislikes.setdefault(user, beta.copy())
        if counts:
            open_arms = np.setdiff1d(np.arange(len(a)), gone) if gone else slice(None)
            shares = np.zeros(len(a))
            shares[open_arms] = policies.probabilities(policy, a[open_arms], b[open_arms], random, DRAWS)[0]
            means = a / (a + b)
            targets.append(shares[arm])
            predicted.append(means[arm])
            expected.append(shares @ means)
        (a if value > 0 else b)[arm] += abs(value)
    return Events(
        users[is_event],
        np.clip(values[is_event], 0, 1),
        propensities[is_event],
        np.array(targets),
        np.array(predicted),
        np.array(expected),
    )
