"""What a policy would have been worth, estimated from a log of other policies' choices.
A new estimator is a class here, and its entry in `ESTIMATORS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pixelplum.core.bandit import policies

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


class Estimator(ABC):
    """How a policy's value is estimated from weighted events.

    Attributes
    ----------
    name : str
        What it is called in SQL.
    """

    name: ClassVar[str]

    @abstractmethod
    def ratio(self, weights: np.ndarray, events: Events, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return numerators and denominators, float64, shape (events,): their sums' quotient is the value."""

    def estimate(self, events: Events, random: np.random.Generator) -> Estimate:
        """Estimate a policy's value.

        Parameters
        ----------
        events : Events
            At least one.
        random : numpy.random.Generator
            For what is drawn.

        Returns
        -------
        Estimate
            Its standard error takes the events of a user as one draw; where there is a single user, each event.
        """
        weights = events.targets / events.propensities
        size = float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0
        return _ratio(*self.ratio(weights, events, random), events.users, size)


class Replay(Estimator):
    """The mean reward of events that are kept with a probability in proportion to their weight.

    References
    ----------
    Li, Chu, Langford, Wang: Unbiased offline evaluation of contextual-bandit-based news article
        recommendation. WSDM 2011.
    """

    name = "replay"

    def ratio(self, weights: np.ndarray, events: Events, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if not weights.max() > 0:
            return np.zeros(len(weights)), np.zeros(len(weights))
        kept = random.random(len(weights)) * weights.max() < weights
        return np.where(kept, events.rewards, 0), kept.astype(float)

    def estimate(self, events: Events, random: np.random.Generator) -> Estimate:
        kept_rewards, kept = self.ratio(events.targets / events.propensities, events, random)
        return _ratio(kept_rewards, kept, events.users, float(kept.sum()))


class InversePropensity(Estimator):
    """Inverse propensity scores.

    References
    ----------
    Horvitz, Thompson: A generalization of sampling without replacement from a finite universe. JASA 47, 1952.
    """

    name = "ips"

    def ratio(self, weights: np.ndarray, events: Events, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return weights * events.rewards, np.ones(len(weights))


class SelfNormalized(Estimator):
    """Inverse propensity scores, normalized by the sum of the weights.

    References
    ----------
    Swaminathan, Joachims: The self-normalized estimator for counterfactual learning. NIPS 2015.
    """

    name = "snips"

    def ratio(self, weights: np.ndarray, events: Events, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return weights * events.rewards, weights


class DoublyRobust(Estimator):
    """Rewards as they were expected, corrected by inverse propensity scores.

    References
    ----------
    Dudík, Langford, Li: Doubly robust policy evaluation and learning. ICML 2011.
    """

    name = "dr"

    def ratio(self, weights: np.ndarray, events: Events, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        corrections = weights * (events.rewards - events.predicted)
        return events.expected + corrections, np.ones(len(weights))


ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator for estimator in (Replay(), InversePropensity(), SelfNormalized(), DoublyRobust())
}


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
            fractions = np.zeros(len(a))
            fractions[open_arms] = policies.probabilities(policy, a[open_arms], b[open_arms], random, DRAWS)[0]
            means = a / (a + b)
            targets.append(fractions[arm])
            predicted.append(means[arm])
            expected.append(fractions @ means)
        (a if value > 0 else b)[arm] += abs(value)
    return Events(
        users[is_event],
        np.clip(values[is_event], 0, 1),
        propensities[is_event],
        np.array(targets),
        np.array(predicted),
        np.array(expected),
    )
