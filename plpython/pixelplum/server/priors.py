"""Priors of arms, and what is believable of them."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit import priors
from pixelplum.errors import UnusableArgument
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

CLUSTERING = "SELECT c.clustering FROM pix.find_clustering($clustering::text) c"
CLUSTERS = "SELECT c.cluster FROM pix.clusters c WHERE c.clustering = $clustering::text ORDER BY c.cluster"
# Every cluster with those below it that items belong to; a flat one has itself.
KINDS = """
WITH RECURSIVE below AS (
    SELECT c.cluster, c.cluster AS leaf FROM pix.clusters c
    WHERE c.clustering = $clustering::text AND c.height IS NULL
    UNION ALL
    SELECT c.parent, b.leaf FROM below b JOIN pix.clusters c ON c.clustering = $clustering AND c.cluster = b.cluster
    WHERE c.parent IS NOT NULL
), user_arm AS (
    SELECT b.cluster, a.user_id,
        sum(a.likes * pix_internal.decay($half_life::float8, clock_timestamp() - a.as_of)) AS likes,
        sum((a.likes + a.dislikes) * pix_internal.decay($half_life, clock_timestamp() - a.as_of)) AS votes
    FROM pix.arms a JOIN below b ON b.leaf = a.cluster
    WHERE a.clustering = $clustering GROUP BY b.cluster, a.user_id
)
SELECT u.cluster, u.likes, u.votes, count(*) AS users FROM user_arm u
WHERE u.votes > 1e-6 GROUP BY u.cluster, u.likes, u.votes
"""
FORGET = "DELETE FROM pix.arm_priors p WHERE p.clustering = $clustering::text"
STORE = """
INSERT INTO pix.arm_priors (clustering, cluster, alpha, beta, likes, dislikes, users, algorithm, strength_cap)
SELECT $clustering::text, u.cluster, u.alpha, u.beta, u.likes, u.dislikes, u.users, $algorithm::text,
    $strength_cap::float8
FROM unnest($clusters::int[], $alphas::float8[], $betas::float8[], $likes::float8[], $dislikes::float8[],
    $users::int8[]) u (cluster, alpha, beta, likes, dislikes, users)
"""

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


@driver
def refresh_priors(database: Database, clustering: str | None, algorithm: str, strength_cap: float) -> None:
    """Fit a Beta prior to each arm, from how many users have so many likes of so many votes on it.

    The body of ``pix.refresh_priors``.
    """
    name = {"clustering": database.value(CLUSTERING, clustering=clustering)}
    database.lock("arm_priors", name["clustering"])
    half_life = database.value("SELECT pix_internal.half_life()")
    clusters = [row["cluster"] for row in database.rows(CLUSTERS, **name)]
    kinds = database.rows(KINDS, half_life=half_life, **name)
    position = {cluster: arm for arm, cluster in enumerate(clusters)}
    arms = np.array([position[kind["cluster"]] for kind in kinds], int)
    likes, votes, users = (np.array([kind[key] for kind in kinds], float) for key in ("likes", "votes", "users"))
    alpha, beta = database.work(
        lambda: priors.pooled_priors(arms, likes, votes, users, len(clusters), algorithm, strength_cap)
    )

    def total(each: np.ndarray) -> np.ndarray:
        return np.bincount(arms, each, minlength=len(clusters))

    database.run(FORGET, **name)
    database.run(
        STORE, clusters=clusters, alphas=alpha.tolist(), betas=beta.tolist(), likes=total(users * likes).tolist(),
        dislikes=total(users * (votes - likes)).tolist(), users=total(users).astype(int).tolist(),
        algorithm=algorithm, strength_cap=strength_cap, **name,
    )  # fmt: skip
