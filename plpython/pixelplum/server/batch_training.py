"""The models of many users at once.

Parallel workers read votes by themselves, and vectors from mapped blocks; on segments, votes and vectors are brought to
where the users are.
"""

from __future__ import annotations

import json

from pixelplum.core.users.algorithms import ALGORITHMS
from pixelplum.errors import TooFewPoints, TooFewVotes
from pixelplum.server.blocks import restore_blocks
from pixelplum.server.common_taste import fit_common_taste
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver
from pixelplum.server.user_models import complete

FEWEST_VOTERS = 10
"""From so many users on, what they have in common is learned by itself."""
TASTEFUL = [name for name, algorithm in ALGORITHMS.items() if algorithm.needs_common_taste]
UNKNOWN_USER = "PX138"

RULES = "SELECT DISTINCT r.algorithm, r.needs_common_taste FROM pix.algorithm_rules r"
VOTERS = "SELECT count(DISTINCT v.user_id) FROM pix_internal.packed_votes v WHERE v.model_name = $model_name::text"
FORGET_UNKNOWN = f"""
DELETE FROM pix.user_model_failures x
WHERE x.user_id = ANY ($users::text[]) AND x.model_name = $model_name::text AND x.sqlstate = '{UNKNOWN_USER}'
"""
STORE_UNKNOWN = f"""
INSERT INTO pix.user_model_failures (user_id, model_name, algorithm, sqlstate, reason)
SELECT DISTINCT n.user_id, $model_name::text, coalesce($algorithm::text, 'any'), '{UNKNOWN_USER}',
    'The user is not known'
FROM unnest($users::text[]) n (user_id)
WHERE n.user_id IS NOT NULL AND NOT EXISTS (SELECT FROM pix.users u WHERE u.user_id = n.user_id)
"""
SOME_USERS = "($users::text[] IS NULL OR {user_id} = ANY ($users))"
NEXT = f"""
SELECT max(c.user_id) FROM (
    SELECT u.user_id FROM pix.users u WHERE u.user_id > $low::text AND {SOME_USERS.format(user_id="u.user_id")}
    ORDER BY u.user_id LIMIT $chunk_size::int8
) c
"""
MODEL = """
SELECT f.model::text, pix_internal.common_taste_version(f.model) AS taste
FROM (SELECT pix.find_model($model_name::text) AS model OFFSET 0) f
"""
TRAINED = f"""
SELECT u.user_id, $taste::text AS taste, pix_internal.train_voter(
    u.user_id, $model::text::pix.models, $algorithm::text, $parameters::jsonb, $taste
) AS fitted
FROM pix.users u
WHERE u.user_id > $low::text AND u.user_id <= $high::text AND {SOME_USERS.format(user_id="u.user_id")}
"""
TRAINED_ON_SEGMENTS = f"""
SELECT g.user_id, g.taste, pix_internal.train_on_votes(
    $model_name::text, g.taste, g.used, $parameters::jsonb ->> g.used, g.votes, g.vectors,
    pix_internal.half_of(g.user_id)
) AS fitted
FROM (
    SELECT r.user_id, r.votes, r.vectors, r.hash, t.version AS taste,
        coalesce($algorithm::text, pix_internal.choose_algorithm(r.likes, r.dislikes, t.version IS NOT NULL)) AS used
    FROM (
        SELECT v.user_id, sum(v.hash)::text AS hash, count(*) FILTER (WHERE v.value > 0)::int AS likes,
            count(*) FILTER (WHERE v.value < 0)::int AS dislikes,
            string_agg(v.vector, ''::bytea ORDER BY v.rank) AS vectors,
            ROW(array_agg(v.item_id ORDER BY v.rank), NULL, NULL, array_agg(v.value ORDER BY v.rank),
                array_agg(v.vote_id ORDER BY v.rank), array_agg(v.hash ORDER BY v.rank), NULL, NULL,
                NULL)::pix_internal.user_votes AS votes
        FROM pix_internal.training_votes v
        WHERE v.user_id > $low::text AND v.user_id <= $high::text AND {SOME_USERS.format(user_id="v.user_id")}
            AND v.model_name = $model_name
        GROUP BY v.user_id
    ) r
    LEFT JOIN pix.common_taste t
        ON t.model_name = $model_name AND t.model_checksum IS NOT DISTINCT FROM $model_checksum::text
) g
WHERE g.used IS NOT NULL AND NOT EXISTS (
    SELECT FROM pix.user_models m WHERE m.user_id = g.user_id AND m.model_name = $model_name AND m.algorithm = g.used
        AND m.model_checksum IS NOT DISTINCT FROM $model_checksum AND m.parameters = ($parameters ->> g.used)::jsonb
        AND m.common_taste_version IS NOT DISTINCT FROM CASE WHEN g.used = ANY ($tasteful::text[]) THEN g.taste END
        AND m.votes_hash = g.hash AND m.since_training = 0
)
"""
FORGET_FAILURES = """
DELETE FROM pix.user_model_failures x WHERE x.model_name = $model_name::text AND EXISTS (
    SELECT FROM pg_temp.pix_trained t WHERE t.user_id = x.user_id AND (t.fitted).algorithm = x.algorithm
)
"""
FORGET_STALE = f"""
DELETE FROM pix.user_models m
WHERE m.model_name = $model_name::text AND m.model_checksum IS DISTINCT FROM $model_checksum::text
    AND m.user_id > $low::text AND m.user_id <= $high::text AND {SOME_USERS.format(user_id="m.user_id")}
"""
STORE_FAILURES = """
INSERT INTO pix.user_model_failures (user_id, model_name, algorithm, sqlstate, reason)
SELECT t.user_id, $model_name::text, (t.fitted).algorithm, (t.fitted).sqlstate, (t.fitted).reason
FROM pg_temp.pix_trained t WHERE (t.fitted).reason IS NOT NULL
"""
STORE = """
INSERT INTO pix.user_models (user_id, model_name, algorithm, model_checksum, parameters, common_taste_version,
    likes, dislikes, watermark, votes_hash, since_training, described, content, slope, intercept, auc,
    contradictions, seconds)
SELECT t.user_id, $model_name::text, f.algorithm, $model_checksum::text, f.parameters::jsonb,
    CASE WHEN f.algorithm = ANY ($tasteful::text[]) THEN t.taste END, f.likes, f.dislikes, f.watermark, f.votes_hash, 0,
    f.described::jsonb, f.content, f.slope, f.intercept, f.auc, f.contradictions, f.seconds
FROM pg_temp.pix_trained t CROSS JOIN LATERAL unnest(ARRAY[t.fitted]) f WHERE f.described IS NOT NULL
ORDER BY t.user_id
ON CONFLICT ON CONSTRAINT user_models_pkey DO UPDATE SET
    model_checksum = excluded.model_checksum, parameters = excluded.parameters,
    common_taste_version = excluded.common_taste_version, likes = excluded.likes, dislikes = excluded.dislikes,
    watermark = excluded.watermark, votes_hash = excluded.votes_hash, since_training = excluded.since_training,
    described = excluded.described, content = excluded.content, slope = excluded.slope, intercept = excluded.intercept,
    auc = excluded.auc, contradictions = excluded.contradictions, seconds = excluded.seconds,
    trained_at = excluded.trained_at, updated_at = excluded.updated_at
"""


@driver
def train_some(
    database: Database, algorithm: str | None, users: list[str] | None, model_name: str, parameters: str | None,
    chunk_size: int, low: str | None = None,
) -> dict | None:  # fmt: skip
    """Train the models of the next users: a part of ``pix.train_user_models``.

    Returns
    -------
    dict or None
        What the next call is to be given besides; None: there are no users left.
    """
    model = database.model(model_name)
    if low is None:
        start(database, model, algorithm, users, parameters)
        return {"low": ""}
    database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", model_name=model_name)
    high = database.value(NEXT, low=low, users=users, chunk_size=chunk_size)
    if high is None:
        return None
    chunk = {
        "low": low, "high": high, "users": users, "algorithm": algorithm, "model_name": model_name,
        "model_checksum": model.checksum, "tasteful": TASTEFUL,
        "parameters": json.dumps(parameters_of(database, model, algorithm, parameters)),
    }  # fmt: skip
    chunk |= database.row(MODEL, model_name=model_name)
    with database.workers():
        query = TRAINED_ON_SEGMENTS if database.is_distributed else TRAINED
        database.create_temporary("pix_trained", query, "user_id", **chunk)
    for statement in (FORGET_FAILURES, FORGET_STALE, STORE_FAILURES, STORE):
        database.run(statement, **chunk)
    return {"low": high}


def start(
    database: Database, model: Model, algorithm: str | None, users: list[str] | None, parameters: str | None
) -> None:
    """Refuse what cannot be trained, learn what users have in common, and note who is not known."""
    name = {"model_name": model.model_name}
    parameters_of(database, model, algorithm, parameters)
    database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", **name)
    if algorithm in TASTEFUL:
        fit_common_taste(database, model.model_name)
    elif algorithm is None and rules_need_taste(database) and database.value(VOTERS, **name) >= FEWEST_VOTERS:
        try_common_taste(database, model)
    if users is not None:
        database.run(FORGET_UNKNOWN, users=users, **name)
        database.run(STORE_UNKNOWN, users=users, algorithm=algorithm, **name)
    if not database.is_distributed:
        restore_blocks(database, model.model_name)


def rules_need_taste(database: Database) -> bool:
    """Tell whether any rule is for models that take what users have in common."""
    return any(rule["needs_common_taste"] for rule in database.rows(RULES))


def try_common_taste(database: Database, model: Model) -> None:
    """Learn what users have in common, if it can be.

    A model whose features are all the same, or votes that were taken back, leave other algorithms to train.
    """
    try:
        fit_common_taste(database, model.model_name)
    except (TooFewPoints, TooFewVotes) as error:
        database.warn(f"What users have in common was not learned: {error}")


def parameters_of(database: Database, model: Model, algorithm: str | None, parameters: str | None) -> dict[str, str]:
    """Return the parameters, as JSON, of all algorithms that may be trained."""
    names = [algorithm] if algorithm is not None else {rule["algorithm"] for rule in database.rows(RULES)}
    return {name: complete(name, parameters or "{}", model.dimensions) for name in names}
