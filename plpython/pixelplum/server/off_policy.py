"""What a policy would have been worth."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit import off_policy, policies
from pixelplum.server.canceling import cancellable


@cancellable
def off_policy_values(
    plpy, cache: dict, names: list[str], users: list[int], arms: list[int], values: list[float],
    propensities: list[float | None], exhausted: list[str], alpha: list[float], beta: list[float], seed: int,
) -> list[tuple]:  # fmt: skip
    """Estimate policies' values from a log; see `core.off_policy`.

    Parameters
    ----------
    names : list of str
        Of policies.
    users, arms : list of int
        In the order of time: whose vote it is, and on which arm, from 1.
    values : list of float
        Likes above 0, dislikes below.
    propensities : list of (float or None)
        Of the choices that votes answer; None: the vote answers none.
    exhausted : list of str
        For each vote, the arms that could not be chosen, as an array of PostgreSQL's: {1,7}.
    alpha, beta : list of float
        The prior of each arm.
    seed : int
        Random seed.

    Returns
    -------
    list of tuple
        Rows of pix.policy_value, one for each policy and estimator.
    """
    is_event = np.array([propensity is not None for propensity in propensities])
    log = (
        np.array(users), np.array(arms) - 1, np.array(values), is_event,
        np.array([propensity or 0.0 for propensity in propensities]),
        [[int(arm) - 1 for arm in gone.strip("{}").split(",") if arm] for gone in exhausted],
        np.array(alpha), np.array(beta),
    )  # fmt: skip
    return [row for name in names for row in values_of(name, log, seed)]


def values_of(policy: str, log: tuple, seed: int) -> list[tuple]:
    """Return what each estimator says of one policy."""
    policies.find(policy)
    random = np.random.default_rng(seed)
    events = off_policy.replayed(policy, *log, random)
    weights = events.targets / events.propensities
    answer = []
    for name, estimator in off_policy.ESTIMATORS.items():
        estimate = estimator.estimate(events, random)
        low, high = estimate.interval
        numbers = (
            estimate.value,
            estimate.standard_error,
            low,
            high,
            estimate.effective_sample_size,
            float(weights.mean()),
        )
        finite = [None if np.isnan(number) else float(number) for number in numbers]
        answer.append((policy, name, *finite, len(events.rewards), len(np.unique(events.users))))
    return answer
