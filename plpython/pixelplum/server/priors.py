"""Priors of arms, and what is believable of them."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit import priors
from pixelplum.errors import UnusableArgument
from pixelplum.server.canceling import cancellable

LARGEST = 1e12
"""Parameter of a Beta distribution that quantiles are computed of."""


def beta_quantile(plpy, cache: dict, alpha: float, beta: float, probability: float) -> float:
    """Return the value that a Beta-distributed number stays below with some probability."""
    from scipy.special import betaincinv  # slow to import

    if not (0 < alpha < LARGEST and 0 < beta < LARGEST and 0 <= probability <= 1):
        raise UnusableArgument(
            f"probability must be from 0 to 1, and alpha and beta above 0 and below 1e12, "
            f"not {probability}, {alpha} and "
            f"{beta}",
            hint="SELECT pix.beta_quantile(4, 2, 0.975);",
        )
    return float(betaincinv(alpha, beta, probability))


@cancellable
def pooled_priors(
    plpy, cache: dict, arms: list[int], likes: list[float], votes: list[float], users: list[int], count: int,
    algorithm: str, cap: float,
) -> dict:  # fmt: skip
    """Fit a Beta prior to each arm; see `core.priors.pooled_priors`, but that arms are numbered from 1."""
    alpha, beta = priors.pooled_priors(
        np.array(arms, int) - 1,
        np.array(likes, float),
        np.array(votes, float),
        np.array(users, float),
        count,
        algorithm,
        cap,
    )
    return {"alphas": alpha.tolist(), "betas": beta.tolist()}
