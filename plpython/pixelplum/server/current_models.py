"""The model of one user, as it has to be for the votes that there are: stored, updated by newer votes, or trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from pixelplum.core.users.algorithms import ALGORITHMS
from pixelplum.errors import (
    FeaturesKeepChanging,
    FilesVanish,
    NoCommonTaste,
    TooFewVotes,
    UserModelOutdated,
    error_of,
    literal,
)
from pixelplum.server import user_models
from pixelplum.server.blocks import ATTEMPTS, kept, open_blocks
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver

T = TypeVar("T")

MOST_VOTES = 2000
"""That a model is trained on, the latest: pix_internal.training_votes. Where there are so many, a few more can wait."""
MANY_VOTES = 500
"""Training on more takes longer than anybody waits for a recommendation."""
LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, OLD_SNAPSHOT = "55P03", "40001", "PX130"
UPDATES = 10
"""Votes after which a model is trained again."""

# One statement: it sees votes, positions and models as of one moment.
STATE = """
WITH vote AS (
    SELECT v.* FROM pix_internal.training_votes v
    WHERE v.user_id = $user_id::text AND v.model_name = $model_name::text
)
SELECT s.*, m AS stored FROM (
    SELECT c.*, t.taste, coalesce(
        $algorithm::text, pix_internal.choose_algorithm(c.likes, c.dislikes, t.taste IS NOT NULL)
    ) AS algorithm
    FROM (
        SELECT coalesce(array_agg(v.item_id ORDER BY v.rank), '{}') AS item_ids,
            coalesce(array_agg(v.block ORDER BY v.rank), '{}') AS blocks,
            coalesce(array_agg(v.position ORDER BY v.rank), '{}') AS positions,
            coalesce(array_agg(v.value ORDER BY v.rank), '{}') AS vals,
            coalesce(array_agg(v.vote_id ORDER BY v.rank), '{}') AS vote_ids,
            coalesce(array_agg(v.hash ORDER BY v.rank), '{}') AS hashes,
            count(*) FILTER (WHERE v.value > 0) AS likes, count(*) FILTER (WHERE v.value < 0) AS dislikes,
            (SELECT p.checksum FROM pix_internal.packs p WHERE p.model_name = $model_name) AS blocks_key,
            (SELECT p.packed_in FROM pix_internal.packs p WHERE p.model_name = $model_name) AS packed_in,
            (SELECT p.items FROM pix_internal.packs p WHERE p.model_name = $model_name) AS packed_items,
            pix_internal.half_of($user_id) AS half
        FROM vote v
    ) c
    LEFT JOIN (
        SELECT t.version AS taste FROM pix.common_taste t
        WHERE t.model_name = $model_name AND t.model_checksum IS NOT DISTINCT FROM $checksum::text
    ) t ON true
) s
LEFT JOIN pix.user_models m ON m.user_id = $user_id AND m.model_name = $model_name AND m.algorithm = s.algorithm
"""
TASTE = """
SELECT t.version, t.described::text, t.content FROM pix.common_taste t
WHERE t.model_name = $model_name::text AND t.version = $version::text
"""
FORGET_FAILURES = """
DELETE FROM pix.user_model_failures x
WHERE x.user_id = $user_id::text AND x.model_name = $model_name::text AND x.algorithm = $algorithm::text
"""
FORGET_OUTDATED = """
DELETE FROM pix.user_models m WHERE m.user_id = $user_id::text AND m.model_name = $model_name::text
    AND m.model_checksum IS DISTINCT FROM $model_checksum::text
"""
STORE = """
INSERT INTO pix.user_models AS m (user_id, model_name, algorithm, model_checksum, parameters, common_taste_version,
    likes, dislikes, watermark, votes_hash, since_training, described, content, slope, intercept, auc, contradictions,
    seconds, trained_at, updated_at)
VALUES ($user_id::text, $model_name::text, $algorithm::text, $model_checksum::text, $parameters::jsonb,
    $common_taste_version::text, $likes::int, $dislikes::int, $watermark::int8, $votes_hash::text, $since_training::int,
    $described::jsonb, $content::bytea, $slope::float8, $intercept::float8, $auc::float8, $contradictions::text[],
    $seconds::float8, coalesce($trained_at::timestamptz, clock_timestamp()), clock_timestamp())
ON CONFLICT ON CONSTRAINT user_models_pkey DO UPDATE SET
    model_checksum = excluded.model_checksum, parameters = excluded.parameters,
    common_taste_version = excluded.common_taste_version, likes = excluded.likes, dislikes = excluded.dislikes,
    watermark = excluded.watermark, votes_hash = excluded.votes_hash, since_training = excluded.since_training,
    described = excluded.described, content = excluded.content, slope = excluded.slope, intercept = excluded.intercept,
    auc = excluded.auc, contradictions = excluded.contradictions, seconds = excluded.seconds,
    trained_at = excluded.trained_at, updated_at = excluded.updated_at
WHERE $is_forced::bool OR m.updated_at = $known_at::timestamptz
"""


@dataclass(frozen=True)
class State:
    """What a user thinks of items whose features are packed, the latest first; and the model that was made of it.

    Parameters
    ----------
    item_ids, blocks, positions, vals, vote_ids, hashes : list
        Of each vote: its item, where that's vector is, what the user thinks of it, and whether it is still the same.
    likes, dislikes : int
        How many.
    blocks_key : str or None
        The blocks that these are in.
    packed_in, packed_items : int or None
        The packing, and how many items it has.
    half : int
        In which half of the users this one is, 0 or 1.
    taste : str or None
        Which common taste there is.
    algorithm : str or None
        The one that is to be used; None: there is none for so many likes and dislikes.
    stored : dict or None
        The row of pix.user_models.
    """

    item_ids: list[str]
    blocks: list[int]
    positions: list[int]
    vals: list[float]
    vote_ids: list[int]
    hashes: list[int]
    likes: int
    dislikes: int
    blocks_key: str | None
    packed_in: int | None
    packed_items: int | None
    half: int
    taste: str | None
    algorithm: str | None
    stored: dict | None

    @property
    def votes_hash(self) -> str:
        """Of all votes, in any order."""
        return str(sum(self.hashes))


@dataclass(frozen=True)
class CurrentModel:
    """A user's model that has seen all of some votes.

    Parameters
    ----------
    row : dict
        Of pix.user_models.
    known_at : str or None
        When the stored one was updated that it follows.
    is_new : bool
        Whether it is to be stored in the place of that.
    """

    row: dict
    known_at: str | None
    is_new: bool


def read_state(database: Database, user_id: str, model: Model, algorithm: str | None) -> State:
    """Return a user's votes and model as of now. The error where nothing is packed is PX095."""
    state = State(
        **database.row(
            STATE, user_id=user_id, model_name=model.model_name, checksum=model.checksum, algorithm=algorithm,
        )
    )  # fmt: skip
    if not state.packed_items:
        database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", model_name=model.model_name)
    return state


def on_one_packing(
    database: Database, user_id: str, model: Model, algorithm: str | None, work: Callable[[State], T]
) -> T:
    """Do some work on a user's state and on blocks; again, if features were packed in between, which moves them.

    Raises
    ------
    FeaturesKeepChanging
        If that happens again and again.
    """
    for _ in range(ATTEMPTS):
        state = read_state(database, user_id, model, algorithm)
        try:
            result = work(state)
        except (FilesVanish, LookupError):  # there is no such position
            if is_packed_as(database, model, state):
                raise
            continue
        if is_packed_as(database, model, state):
            return result
    raise FeaturesKeepChanging


def current_model(
    database: Database, user_id: str, model: Model, state: State, parameters: str | None = None, is_forced: bool = False
) -> CurrentModel | None:
    """Return a user's model that has seen all votes; None: there are no votes, or there is no algorithm for them.

    Parameters
    ----------
    parameters : str or None
        As JSON; None: those of the stored model, or the algorithm's defaults.
    is_forced : bool
        Whether to train it again in any case.
    """
    if state.algorithm is None or state.likes + state.dislikes == 0:
        return None
    algorithm, stored = ALGORITHMS.get(state.algorithm), state.stored
    taste = state.taste if algorithm and algorithm.needs_common_taste else None
    if stored and not is_forced and stored["model_checksum"] != model.checksum:
        raise outdated(stored, model)
    if parameters is None:
        own = json.loads(stored["parameters"]) if stored else {}
        parameters = json.dumps({name: value for name, value in own.items() if name != "loss"})
    complete = user_models.complete(state.algorithm, parameters, model.dimensions)
    known_at = stored and stored["updated_at"]
    is_same = stored and json.loads(stored["parameters"]) == json.loads(complete)
    if is_same and not is_forced and stored["common_taste_version"] == taste:
        if stored["votes_hash"] == state.votes_hash:
            return CurrentModel(stored, known_at, False)
        newer = [n for n, vote_id in enumerate(state.vote_ids) if vote_id > stored["watermark"]]
        if newer and stored["since_training"] + len(newer) < UPDATES:
            if len(state.vals) == MOST_VOTES:
                return CurrentModel(stored, known_at, False)
            if sum(state.hashes) - sum(state.hashes[n] for n in newer) == int(stored["votes_hash"]):
                if algorithm.can_update:
                    return CurrentModel(updated(database, model, state, newer), known_at, True)
                if algorithm.is_slow or len(state.vals) > MANY_VOTES:
                    return CurrentModel(stored, known_at, False)
    row = train(database, user_id, model, replace(state, taste=taste), complete)
    return CurrentModel(row, known_at, True)


def outdated(row: dict, model: Model) -> UserModelOutdated:
    """Return the error that a model is of other features."""
    name, user_id = literal(model.model_name), literal(row["user_id"])
    call = f"pix.train_user_model({user_id}, {literal(row['algorithm'])}, {name})"
    return UserModelOutdated(
        f"Model {name} was imported again since the {row['algorithm']} model of user {user_id} was trained",
        hint=f"SELECT * FROM {call}; or, for all: CALL pix.train_user_models(model_name => {name});",
    )


def updated(database: Database, model: Model, state: State, newer: list[int]) -> dict:
    """Return the stored model after it has seen some votes more."""
    row = state.stored
    blocks, positions, vals = ([column[n] for n in newer] for column in (state.blocks, state.positions, state.vals))

    open_blocks(database, model.model_name, state.blocks_key)
    changed = user_models.update_user_model(
        None, database.cache, state.blocks_key, row["algorithm"], row["described"], row["content"], blocks, positions,
        vals,
    )  # fmt: skip
    return row | changed | {
        "likes": state.likes, "dislikes": state.dislikes, "votes_hash": state.votes_hash,
        "watermark": max(state.vote_ids), "since_training": row["since_training"] + len(newer),
    }  # fmt: skip


def train(database: Database, user_id: str, model: Model, state: State, parameters: str) -> dict:
    """Train a model on all votes."""
    if state.taste is not None:
        open_taste(database, model, state.taste)
    elif ALGORITHMS[state.algorithm].needs_common_taste:
        raise no_taste(model, state.algorithm)

    open_blocks(database, model.model_name, state.blocks_key)
    fitted = database.work(
        lambda: user_models.fit_user_model(
            None, database.cache, state.blocks_key, state.taste, state.algorithm, parameters, state.item_ids,
            state.blocks, state.positions, state.vals, None, state.half,
        )
    )  # fmt: skip
    if fitted["reason"] is not None:
        raise error_of(
            fitted["sqlstate"], f"The model of user {literal(user_id)} cannot be trained: {fitted['reason']}",
            "Use another algorithm, or see which one pix.algorithm_rules chooses for so many likes and dislikes.",
        )  # fmt: skip
    names = ("described", "content", "slope", "intercept", "auc", "contradictions", "seconds")
    return {name: fitted[name] for name in names} | {
        "user_id": user_id, "model_name": model.model_name, "algorithm": state.algorithm,
        "model_checksum": model.checksum, "parameters": parameters, "common_taste_version": state.taste,
        "likes": state.likes, "dislikes": state.dislikes, "watermark": max(state.vote_ids),
        "votes_hash": state.votes_hash, "since_training": 0, "trained_at": None,
    }  # fmt: skip


def open_taste(database: Database, model: Model, version: str) -> None:
    """Keep what users have in common in this backend."""
    if kept(database.cache, version) is None:
        row = database.row(TASTE, model_name=model.model_name, version=version)
        if row is None:
            raise no_taste(model, "hierarchical")
        user_models.keep_common_taste(None, database.cache, row["version"], row["described"], row["content"])


def no_taste(model: Model, algorithm: str) -> NoCommonTaste:
    """Return the error that an algorithm takes what has not been learned."""
    name = literal(model.model_name)
    return NoCommonTaste(
        f"What users have in common has not been learned for model {name}",
        hint=f"SELECT * FROM pix.fit_common_taste({name}); or use another algorithm than {algorithm}.",
    )


def store(database: Database, current: CurrentModel, is_forced: bool) -> None:
    """Write a model in the place of the one that it follows; models of features that are no more go."""
    row = current.row
    database.run(FORGET_FAILURES, **row)
    database.run(FORGET_OUTDATED, **row)
    database.run(STORE, is_forced=is_forced, **row | {"known_at": current.known_at})


def keep(database: Database, current: CurrentModel) -> None:
    """Store a model unless that takes waiting, or nothing can be written here.

    A model that follows from the log need not be stored: nobody waits for whoever is storing another.
    """
    if not database.value("SELECT pix_internal.is_read_only()"):
        database.attempt(
            lambda: store_at_once(database, current), LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, OLD_SNAPSHOT
        )


def store_at_once(database: Database, current: CurrentModel) -> None:
    """Store a model, or fail, within a moment."""
    with database.settings({"lock_timeout": "50ms"}):
        database.hold("pix.user_models", "pix.user_model_failures")
        store(database, current, is_forced=False)


def is_packed_as(database: Database, model: Model, state: State) -> bool:
    """Tell whether features are still packed as they were when a state was read: then positions are what they were."""
    return database.value(
        "SELECT p.checksum = $blocks_key::text FROM pix_internal.packs p WHERE p.model_name = $model_name::text",
        blocks_key=state.blocks_key, model_name=model.model_name,
    )  # fmt: skip


@driver
def train_user_model(
    database: Database, user_id: str, algorithm: str | None, model_name: str | None, parameters: str | None
) -> dict:
    """Train a user's model again: the body of ``pix.train_user_model``."""
    database.row("SELECT pix_internal.check_known_user($user_id::text)", user_id=user_id)
    model = database.model(model_name)
    database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", model_name=model.model_name)
    if algorithm is not None:
        user_models.complete(algorithm, parameters or "{}", model.dimensions)
    current = on_one_packing(
        database, user_id, model, algorithm,
        lambda state: current_model(database, user_id, model, state, parameters, is_forced=True),
    )  # fmt: skip
    if current is None:
        name = literal(model.model_name)
        raise TooFewVotes(
            f"User {literal(user_id)} has no votes on items with features of model {name}",
            hint=f"Vote first, or see which items lack features: CALL pix.extract_features({name});",
        )
    store(database, current, is_forced=True)
    row = current.row
    summary = {
        name: row[name] for name in ("user_id", "model_name", "algorithm", "likes", "dislikes", "auc", "seconds")
    }
    return summary | {"is_calibrated": row["slope"] is not None}
