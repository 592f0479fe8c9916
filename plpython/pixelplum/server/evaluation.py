"""Evaluating recommenders on what users liked afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from pixelplum.core.users import evaluation, recommendations
from pixelplum.core.users.algorithms import ALGORITHMS, find
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.models import Model
from pixelplum.core.users.votes import Votes
from pixelplum.errors import TooFewVotes
from pixelplum.server.blocks import Packed, read_with_blocks
from pixelplum.server.common_taste import LocatedVotes, learn
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

BASELINES = ("popularity", "random")
RULES = "rules"
AT_ONCE = 50
"""Users whose scores are in memory together."""
MOST_VOTES = 500
"""Of each user, the latest."""
FEWEST_USERS = 10
"""Whose common taste is worth learning."""

# The last like of each user and what came after it; or the newest votes of all: these are not learned from.
VOTES = """
SELECT array_agg(v.user_id ORDER BY v.user_id, v.rank) AS users,
    array_agg(v.block ORDER BY v.user_id, v.rank) AS blocks,
    array_agg(v.position ORDER BY v.user_id, v.rank) AS positions,
    array_agg(v.value ORDER BY v.user_id, v.rank) AS vals,
    array_agg(v.is_later ORDER BY v.user_id, v.rank) AS held_out,
    (SELECT p.checksum FROM pix_internal.packs p WHERE p.model_name = $model_name::text) AS blocks_key
FROM (
    SELECT s.*, dense_rank() OVER (ORDER BY md5(s.name), s.name) AS user_id FROM (
        SELECT t.*, bool_or(t.is_later AND t.value > 0) OVER (PARTITION BY t.name) AS has_test,
            bool_or(NOT t.is_later) OVER (PARTITION BY t.name) AS has_training
        FROM (
            SELECT r.user_id AS name, r.block, r.position, r.value, r.rank, CASE WHEN $split::text = 'last'
                THEN r.rank <= min(r.rank) FILTER (WHERE r.value > 0) OVER (PARTITION BY r.user_id)
                ELSE cume_dist() OVER (ORDER BY r.voted_at, r.vote_id) > 1 - $test_fraction::float8 END AS is_later
            FROM pix_internal.packed_votes r WHERE r.model_name = $model_name
        ) t
        WHERE t.rank <= $most_votes::int
    ) s
    WHERE s.has_test AND s.has_training
) v
WHERE v.user_id <= $max_users::int8
"""
CHOSEN = """
SELECT coalesce(pix_internal.choose_algorithm(u.likes, u.dislikes, $has_taste::bool), 'nearest') AS algorithm
FROM unnest($likes::int8[], $dislikes::int8[]) WITH ORDINALITY u (likes, dislikes, ordinal) ORDER BY u.ordinal
"""
FORGET = "DELETE FROM pix.recommender_evaluations e WHERE e.run = $run::text"
STORE = """
INSERT INTO pix.recommender_evaluations (run, recommender, metric, value, low, high, users, model_name, split, k)
SELECT $run::text, $recommender::text, m.metric, m.value, m.low, m.high, m.users, $model_name::text, $split::text,
    $k::int
FROM jsonb_to_recordset($metrics::jsonb) m (
    metric text, value double precision, low double precision, high double precision, users integer)
"""


@dataclass(frozen=True)
class SplitVotes:
    """Votes of users, some of which are not learned from.

    Parameters
    ----------
    users : numpy.ndarray
        int, of each vote, the number of its user, from 1; votes of a user follow one another, the latest first.
    positions : numpy.ndarray
        int, of its item's vector, counted through the blocks.
    strengths : numpy.ndarray
        float64, what the user thinks of it.
    later : numpy.ndarray
        bool, whether the vote is not to be learned from.
    """

    users: np.ndarray
    positions: np.ndarray
    strengths: np.ndarray
    later: np.ndarray

    def counts(self) -> tuple[list[int], list[int]]:
        """Return likes and dislikes of each user that are learned from."""
        users = self.users[-1] + 1
        liked, disliked = self.strengths > 0, self.strengths < 0
        return tuple(
            np.bincount(self.users[kind & ~self.later], minlength=users)[1:].tolist() for kind in (liked, disliked)
        )


@driver
def evaluate_recommenders(
    database: Database, run: str, recommenders: list[str], k: int, split: str, model_name: str | None,
    test_fraction: float, max_users: int, seed: int,
) -> None:  # fmt: skip
    """Judge recommenders, and store how they did: the body of ``pix.evaluate_recommenders``."""
    name = {"model_name": database.model(model_name).model_name}
    database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", **name)
    row, packed = read_with_blocks(
        database, VOTES, split=split, test_fraction=test_fraction, most_votes=MOST_VOTES, max_users=max_users, **name
    )
    if row["users"] is None:
        raise TooFewVotes(
            "Nobody has votes to learn from and a like to be met afterwards",
            hint="It takes users with two votes on items with features, the last of them a like.",
        )
    blocks, rows = np.array(row["blocks"], int), np.array(row["positions"], int)
    votes = SplitVotes(
        np.array(row["users"], int), packed.starts[blocks] + rows - 1, np.array(row["vals"]), np.array(row["held_out"])
    )
    taste = earlier_taste(database, packed, votes, blocks, rows, recommenders)
    has_taste = taste is not None
    judged = {}
    for recommender in dict.fromkeys(recommenders):
        if needs_taste(recommender) and not has_taste:
            raise TooFewVotes(f"{recommender} needs ten users whose votes can be split", hint="Leave it out.")
        likes, dislikes = votes.counts()
        algorithms = [recommender] * len(likes)
        if recommender == RULES:
            chosen = database.rows(CHOSEN, likes=likes, dislikes=dislikes, has_taste=has_taste)
            algorithms = [each["algorithm"] for each in chosen]
        judged[recommender] = database.work(
            lambda: judge(packed, votes, recommender, algorithms, taste, k, seed)  # noqa: B023 called at once
        )
    database.run(FORGET, run=run)
    for recommender, metrics in judged.items():
        database.run(STORE, run=run, recommender=recommender, metrics=json.dumps(metrics), split=split, k=k, **name)


def earlier_taste(
    database: Database, packed: Packed, votes: SplitVotes, blocks: np.ndarray, rows: np.ndarray, recommenders: list[str]
) -> Model | None:
    """Return what users have in common, as their earlier votes alone tell; None if they are few, or nobody needs it."""
    if votes.users[-1] < FEWEST_USERS or not any(each == RULES or needs_taste(each) for each in recommenders):
        return None
    earlier = ~votes.later
    users = votes.users[earlier]
    where = list(zip(blocks[earlier].tolist(), rows[earlier].tolist(), strict=True))
    return database.work(lambda: learn(packed, LocatedVotes(users, users % 2, where, votes.strengths[earlier])))


def needs_taste(recommender: str) -> bool:
    """Tell whether a recommender is an algorithm that takes what users have in common."""
    return recommender in ALGORITHMS and ALGORITHMS[recommender].needs_common_taste


def judge(
    packed: Packed, votes: SplitVotes, recommender: str, algorithms: list[str], taste: Model | None, k: int, seed: int
) -> list[dict]:
    """Judge one recommender.

    Parameters
    ----------
    packed : Packed
        All items.
    votes : SplitVotes
    recommender : str
        popularity, random, or anything else: models.
    algorithms : list of str
        Of each user's model.
    taste : Model or None
        What users have in common as their earlier votes tell.
    k : int
        How many items are recommended.
    seed : int

    Returns
    -------
    list of dict
        See `evaluation.summary`.
    """
    total = sum(len(block.norms) for block in packed.blocks)
    random = np.random.default_rng(seed)
    earlier = ~votes.later
    popular = np.bincount(votes.positions[earlier], weights=votes.strengths[earlier], minlength=total)
    outcomes = []
    for start in range(1, len(algorithms) + 1, AT_ONCE):
        chosen = range(start, min(start + AT_ONCE, len(algorithms) + 1))
        own = [np.flatnonzero(votes.users == user) for user in chosen]
        if recommender in BASELINES:
            judged, noise = own, random.random((len(own), total))
            scores = noise if recommender == "random" else popular + 1e-6 * noise
        else:
            judged, models = [], []
            for user, cast in zip(chosen, own, strict=True):
                model = train(packed, votes, cast[~votes.later[cast]], algorithms[user - 1], taste)
                if model is not None:
                    judged.append(cast)
                    models.append(model)
            if not models:
                continue
            scores = recommendations.scores(packed.blocks, models)
        for cast, row in zip(judged, scores, strict=True):
            row[votes.positions[cast[~votes.later[cast]]]] = -np.inf
            liked = votes.positions[cast[votes.later[cast] & (votes.strengths[cast] > 0)]]
            first = recommendations.best(row, k)
            directions = unit(np.stack([packed.vector(position) for position in first.tolist()]))
            outcomes.append(evaluation.judge(row, liked, first, directions, k))
    return evaluation.summary(outcomes, total)


def train(packed: Packed, votes: SplitVotes, some: np.ndarray, algorithm: str, taste: Model | None) -> Model | None:
    """Train on some votes of a user; None where they are too few for the algorithm."""
    directions = unit(np.stack([packed.vector(position) for position in votes.positions[some].tolist()]))
    try:
        return find(algorithm).train(Votes(directions, votes.strengths[some]), find(algorithm).check({}), taste).model
    except TooFewVotes:
        return None
