"""Comparing algorithms on a user's votes."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import algorithm_selection
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.votes import Votes
from pixelplum.errors import OtherRun, TooFewVotes, UnusableArgument, literal, shown_list
from pixelplum.server.blocks import kept, restore_blocks
from pixelplum.server.canceling import cancellable
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver

FEWEST_VOTES, MOST_VOTES = 6, 1900
"""To train on."""

FIND_PACK = "SELECT pix_internal.find_pack(pix.find_model($model_name::text))"


SELECTION = """
SELECT s.model_name, s.model_checksum, s.parameters FROM pix.algorithm_selections s WHERE s.run = $run::text
"""
IS_SAME = "SELECT $requested::jsonb = $parameters::jsonb"
STORE_SELECTION = """
INSERT INTO pix.algorithm_selections (run, model_name, model_checksum, parameters)
VALUES ($run::text, $model_name::text, $checksum::text, $parameters::jsonb)
"""
STORE_TASKS = """
INSERT INTO pix_internal.algorithm_selection_tasks (run, user_id, size, repeat, ordinal)
SELECT $run::text, t.user_id, t.size, t.repeat, row_number() OVER (ORDER BY t.repeat, md5(t.user_id), t.size)
FROM (
    SELECT v.user_id, s.size, r.repeat FROM (
        SELECT w.user_id, count(*) AS votes FROM pix_internal.packed_votes w
        WHERE w.model_name = $model_name::text AND ($users::text[] IS NULL OR w.user_id = ANY ($users))
        GROUP BY w.user_id
    ) v
    JOIN (SELECT DISTINCT u AS size FROM unnest($sizes::int[]) u) s ON v.votes >= s.size + 2
    CROSS JOIN generate_series(1, $repeats::int) r (repeat)
) t
"""
LAST = """
SELECT max(n.ordinal) FROM (
    SELECT t.ordinal FROM pix_internal.algorithm_selection_tasks t WHERE t.run = $run::text
    ORDER BY t.ordinal LIMIT $chunk_size::int8
) n
"""
TASKS = "pix_internal.algorithm_selection_tasks t WHERE t.run = $run::text AND t.ordinal <= $last::int"
SEED = "(($seed::int8 + t.repeat) % 2147483647)::int"
COMPARED = f"""
SELECT t.user_id, t.size, t.repeat, pix_internal.compare_algorithms_of_user(
    t.user_id, $model::text::pix.models, t.size, $algorithms::text[], $balance::text[], $search::text, {SEED}
) AS compared
FROM {TASKS}
"""
COMPARED_ON_SEGMENTS = f"""
SELECT t.user_id, t.size, t.repeat, pix_internal.compare_algorithms(
    NULL, NULL, NULL, g.vals, g.vectors, t.size, $algorithms::text[], $balance::text[], $search::text, {SEED}
) AS compared
FROM (SELECT t.* FROM {TASKS}) t
JOIN (
    SELECT v.user_id, array_agg(v.value ORDER BY v.rank) AS vals,
        string_agg(v.vector, ''::bytea ORDER BY v.rank) AS vectors, count(*) AS votes
    FROM pix_internal.training_votes v
    WHERE v.model_name = $model_name::text AND v.user_id IN (SELECT t.user_id FROM {TASKS})
    GROUP BY v.user_id
) g ON g.user_id = t.user_id
WHERE g.votes > t.size
"""
STORE_RESULTS = """
INSERT INTO pix.algorithm_selection_results (run, user_id, size, repeat, balance, algorithm, likes, test_auc, cv_auc,
    fit_seconds, predict_seconds, parameters, reason)
SELECT $run::text, c.user_id, c.size, c.repeat, e.balance, e.algorithm, e.likes, e.test_auc, e.cv_auc, e.fit_seconds,
    e.predict_seconds, e.parameters, e.reason
FROM pg_temp.pix_compared c CROSS JOIN LATERAL jsonb_to_recordset(c.compared::jsonb) e (
    balance text, algorithm text, likes integer, test_auc double precision, cv_auc double precision,
    fit_seconds double precision, predict_seconds double precision, parameters jsonb, reason text)
"""
FORGET_TASKS = f"DELETE FROM {TASKS}"


@driver
def compare_some(
    database: Database, run: str, model_name: str, chunk_size: int, is_started: bool = False, **request
) -> dict | None:
    """Do the next tasks of a run: a part of ``pix.select_algorithms``.

    Returns
    -------
    dict or None
        What the next call is to be given besides; None: all tasks are done.
    """
    database.lock("algorithm_selections", run)
    model = database.model(model_name)
    database.run(FIND_PACK, model_name=model_name)
    if not is_started:
        start(database, run, model, request)
        return {"is_started": True}
    last = database.value(LAST, run=run, chunk_size=chunk_size)
    if last is None:
        return None
    tasks = checked(request) | {"run": run, "last": last, "model_name": model_name}
    tasks["model"] = database.value("SELECT pix.find_model($model_name::text)::text", model_name=model_name)
    with database.workers():
        query = COMPARED_ON_SEGMENTS if database.is_distributed else COMPARED
        database.create_temporary("pix_compared", query, "user_id", **tasks)
    database.run(STORE_RESULTS, **tasks)
    database.run(FORGET_TASKS, **tasks)
    return {"is_started": True}


def start(database: Database, run: str, model: Model, request: dict) -> None:
    """Note what is to be compared, unless a run of this name goes on.

    Raises
    ------
    OtherRun
        If that has asked for something else.
    TooFewVotes
        If there is nobody to compare on.
    """
    parameters = checked(request)
    content = json.dumps(parameters)
    before = database.row(SELECTION, run=run)
    if before is not None:
        is_same = database.value(IS_SAME, requested=content, parameters=before["parameters"])
        if not is_same or (before["model_name"], before["model_checksum"]) != (model.model_name, model.checksum):
            raise OtherRun(
                f"There is a run {literal(run)}, which asked for something else",
                hint=f"Use another name, or SELECT pix.drop_algorithm_selection({literal(run)});",
            )
    else:
        database.run(STORE_SELECTION, run=run, model_name=model.model_name, checksum=model.checksum, parameters=content)
        if not database.run(STORE_TASKS, run=run, model_name=model.model_name, **parameters):
            raise TooFewVotes(
                "Nobody has more votes than are to be trained on", hint="Use smaller sizes: sizes => '{10,20}'."
            )
    if not database.is_distributed:
        restore_blocks(database, model.model_name)


def checked(request: dict) -> dict:
    """Return what is to be compared, each once; refuse what cannot be."""
    algorithm_selection.check(request["algorithms"] or [], request["balance"] or [], request["search"])
    sizes = request["sizes"]
    if not sizes or not all(size is not None and FEWEST_VOTES <= size <= MOST_VOTES for size in sizes):
        raise UnusableArgument(
            f"sizes must be numbers of votes from 6 to 1,900, not {shown_list(sizes)}",
            hint="For example sizes => '{20,40}'.",
        )
    return request | {name: list(dict.fromkeys(request[name])) for name in ("algorithms", "balance")}


@cancellable
def compare_algorithms(
    plpy, cache: dict, blocks_key: str | None, blocks: list[int] | None, rows: list[int] | None, values: list[float],
    packed: bytes | None, size: int, algorithms: list[str], balances: list[str], search: str, seed: int,
) -> str | None:  # fmt: skip
    """Compare algorithms; return what `algorithm_selection.compare` does, as JSON; None if the blocks are not opened.

    Parameters
    ----------
    blocks_key, blocks, rows, values, packed
        A user's votes, as for `user_models.fit`.
    size, algorithms, balances, search, seed
        As for `algorithm_selection.compare`.
    """
    stored = kept(cache, blocks_key)
    if packed is None and stored is None:
        return None
    if packed is None:
        matrix = stored.vectors(list(zip(blocks, rows, strict=True)))
    else:
        matrix = vectors.matrix(packed, len(packed) // 4 // len(values))
    votes = Votes(unit(matrix), np.array(values))
    return json.dumps(algorithm_selection.compare(votes, size, algorithms, balances, search, seed))
