"""Synthetic users whose taste is known, voting through the same functions as real ones."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from pixelplum.errors import NothingToTell, UnusableArgument, literal
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

CLUSTERING = "SELECT c.clustering FROM pix.find_clustering($clustering::text) c"
PRIOR = "SELECT pix_internal.check_prior($prior::text, pix.find_clustering($clustering::text))"
# The labels of a label set, or values of an attribute, of the items of a clustering.
LABELS = """
WITH set AS (SELECT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = $truth::text) AS is_label_set)
SELECT m.item_id, CASE WHEN s.is_label_set THEN l.label WHEN $truth = 'brand' THEN i.brand
    ELSE i.attributes ->> $truth END AS label
FROM pix.cluster_members m
CROSS JOIN set s
LEFT JOIN pix.items i ON i.item_id = m.item_id
LEFT JOIN pix.labels l ON l.item_id = m.item_id AND l.label_set = $truth
WHERE m.clustering = $clustering::text
"""
START = """
INSERT INTO pix.simulations (policy, prior, clustering, label_set, users, votes, liked_labels, taste_groups, flipped,
    seed, likes, likes_error, seconds)
VALUES ($policy::text, $prior::text, $clustering::text, $truth::text, $users::int, $votes::int, $liked_labels::int,
    $taste_groups::int, $flipped::float8, $seed::int, 0, 0, 0)
RETURNING simulation_id
"""
SUGGEST = """
SELECT s.item_id
FROM pix.next_item($person::text, $policy::text, $clustering::text, $prior::text, seed => $seed::int8) s
"""
VOTE = "SELECT pix.vote($person::text, $item_id::text, $liked::bool)"
STORE_CURVES = """
INSERT INTO pix.simulation_curves (simulation_id, vote, likes, likes_error, regret, regret_error)
SELECT $simulation_id::int, u.ordinal, u.likes, u.likes_error, u.regret, u.regret_error
FROM unnest($likes::float8[], $likes_errors::float8[], $regrets::float8[], $regret_errors::float8[])
    WITH ORDINALITY u (likes, likes_error, regret, regret_error, ordinal)
"""
FINISH = """
UPDATE pix.simulations s SET likes = $likes::float8, likes_error = $likes_error::float8, seconds = $seconds::float8
WHERE s.simulation_id = $simulation_id::int
"""


@driver
def simulate(
    database: Database, policy: str, clustering: str | None, prior: str | None, truth: str | None, users: int,
    liked_labels: int, taste_groups: int | None, flipped: float, votes: int, seed: int, keep: bool,
) -> int:  # fmt: skip
    """Try a policy on synthetic users, and return the simulation's id: the body of ``pix.simulate``."""
    begun = time.monotonic()
    name = database.value(CLUSTERING, clustering=clustering)
    used_prior = database.value(PRIOR, prior=prior, clustering=name)
    label_of = {row["item_id"]: row["label"] for row in database.rows(LABELS, truth=truth, clustering=name)}
    labels = sorted({label for label in label_of.values() if label is not None})
    refuse(database, truth, name, labels, liked_labels, votes, len(label_of))
    about = {"policy": policy, "prior": used_prior, "clustering": name}
    simulation_id = int(database.returned(
        START, truth=truth, users=users, votes=votes, liked_labels=liked_labels, taste_groups=taste_groups,
        flipped=flipped, seed=seed, **about,
    ))  # fmt: skip
    won, missed = np.zeros((users, votes)), np.zeros((users, votes))
    with database.rolled_back(not keep), database.settings({"enable_nestloop": "on"}):  # as people call them
        for user in range(1, users + 1):
            person = f"sim-{simulation_id}-{user}"
            liked = liked_by(user, labels, liked_labels, taste_groups, seed)
            for vote in range(1, votes + 1):
                choice = int(2147483647 * pseudo_random(f"{seed}: {user}, {vote}"))
                item_id = database.returned(SUGGEST, person=person, seed=choice, **about)
                if item_id is None:  # nothing is left that this user has not seen: what they liked stays what it was
                    break
                likes_it = label_of.get(item_id) in liked
                says_so = likes_it != (pseudo_random(f"{seed}: {user} votes on {item_id}") < flipped)
                database.run(VOTE, person=person, item_id=item_id, liked=says_so)
                won[user - 1, vote - 1] = says_so
                missed[user - 1, vote - 1] = 0 if likes_it else 1 - 2 * flipped
    likes, regrets = won.cumsum(axis=1), missed.cumsum(axis=1)
    errors = [curve.std(axis=0, ddof=1) / np.sqrt(users) for curve in (likes, regrets)]
    mean_likes, mean_regrets = likes.mean(axis=0), regrets.mean(axis=0)
    database.run(
        STORE_CURVES, simulation_id=simulation_id, likes=mean_likes.tolist(), likes_errors=errors[0].tolist(),
        regrets=mean_regrets.tolist(), regret_errors=errors[1].tolist(),
    )  # fmt: skip
    database.run(
        FINISH, simulation_id=simulation_id, likes=float(mean_likes[-1]), likes_error=float(errors[0][-1]),
        seconds=time.monotonic() - begun,
    )  # fmt: skip
    return simulation_id


def refuse(
    database: Database, truth: str | None, clustering: str, labels: list[str], liked_labels: int, votes: int, items: int
) -> None:
    """Refuse a truth that does not tell items apart, and more than there is to like or to vote on."""
    if len(labels) < 2:
        raise NothingToTell(
            f"{'NULL' if truth is None else literal(truth)} is not a label set or an attribute with two values in "
            f"clustering {literal(clustering)}"
        )
    database.run(
        "SELECT pix_internal.check_range('liked_labels', $liked_labels::int8, 1, $most::int8)",
        liked_labels=liked_labels, most=len(labels) - 1,
    )  # fmt: skip
    if votes > items:
        raise UnusableArgument(
            f"{votes} votes of each user are more than the {items} items of clustering {literal(clustering)}",
            hint=f"Use votes => {items} or less.",
        )


def liked_by(user: int, labels: list[str], count: int, taste_groups: int | None, seed: int) -> set[str]:
    """Return the labels that a user likes, or their group."""
    group = f"user {user} of {seed}"
    if taste_groups is not None:
        group = f"group {int(taste_groups * pseudo_random(f'{user} in a group of {seed}'))}"
    return set(sorted(labels, key=lambda label: digest(f"{group}: {label}"))[:count])


def pseudo_random(text: str) -> float:
    """Return a number from 0 to 1 that looks random, the same for the same text."""
    return int(digest(text)[:8], 16) / 2**32


def digest(text: str) -> str:
    """Return 32 hexadecimal digits that look random."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
