"""What tests of several subjects call."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import psycopg2
import pytest

CHECKOUT = Path(__file__).parents[1]
DATA = CHECKOUT.parent / "shared" / "data"
PIX = Path(sys.executable).parent / "pix"
HEAD = "0010"
"""The latest revision."""

HANDS_OVER = r"""
p.proname <> 'follow_steps' AND p.prosrc ~ (
    SELECT 'pix_internal\.(drive_parts|drive|answer|' || string_agg(f.proname, '|') || ')\(' FROM pg_proc f
    JOIN pg_language g ON g.oid = f.prolang
    WHERE f.pronamespace = 'pix_internal'::regnamespace AND g.lanname = 'plpython3u' AND f.prokind = 'f'
        AND f.proparallel = 'u' AND f.proname <> 'examine_host'  -- which asks the host alone
)
"""
"""Whether a function p hands over to Python that queries: no parallel worker may run that."""

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"  # on Greenplum, perhaps on a segment


def execute(dsn: str, sql: str, parameters=None) -> list[tuple]:
    """Run SQL in a connection of its own, and return the rows."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def fails_with(db, sqlstate: str, sql: str, parameters=None, role: str = "ada") -> psycopg2.Error:
    """Run SQL that is refused, with a hint; return the error."""
    with pytest.raises(psycopg2.Error) as caught:
        db.ask(sql, parameters, role)
    assert caught.value.pgcode == sqlstate
    assert caught.value.diag.message_hint
    return caught.value


def refuses(db, sqlstate: str, sql: str, message: str) -> None:
    """Run SQL that is refused with a message like this."""
    assert message in str(fails_with(db, sqlstate, sql))


def members(db, clustering: str) -> dict[str, int]:
    """The cluster of each item."""
    return dict(db.ask("SELECT item_id, cluster FROM pix.cluster_members WHERE clustering = %s", (clustering,)))


def store(db, model_name: str, vectors: np.ndarray) -> None:
    """Write features of a foreign model: items i000, i001, …"""
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES (%s, %s, 'a test')",
           (model_name, vectors.shape[1]))  # fmt: skip
    with db.session("ada").cursor() as cursor:
        for number, vector in enumerate(np.float32(vectors)):
            cursor.execute("INSERT INTO pix.features (item_id, model_name, vector) VALUES (%s, %s, %s)",
                           (f"i{number:03}", model_name, vector.tobytes()))  # fmt: skip


def labels_of(db, label_set: str) -> set[str]:
    return {label for (label,) in db.query("SELECT DISTINCT label FROM pix.labels WHERE label_set = %s", (label_set,))}


def vote(db, user, item, liked=None, **options) -> int:
    """Vote as an application does; return the id of the interaction."""
    named = "".join(f", {name} => %({name})s" for name in options)
    parameters = {"user": user, "item": item, "liked": liked} | options
    return db.ask(f"SELECT pix.vote(%(user)s, %(item)s, %(liked)s{named})", parameters, role="adam")[0][0]


ARMS = """
SELECT a.user_id, a.clustering, a.cluster, a.likes * d.fresh, a.dislikes * d.fresh, a.votes
FROM pix.arms a,
    LATERAL (SELECT pix_internal.decay(pix_internal.half_life(), '2026-01-01Z'::timestamptz - a.as_of) AS fresh) d
WHERE a.votes > 0 ORDER BY 1, 2, 3
"""
"""What counts, as of one day."""


def arms_agree(db) -> None:
    """Arms are what the log says."""
    before = db.ask(ARMS)
    db.ask("SELECT pix.rebuild_arms()")
    after = db.ask(ARMS)
    assert [row[:3] + row[5:] for row in before] == [row[:3] + row[5:] for row in after]
    for old, new in zip(before, after, strict=True):
        assert old[3:5] == pytest.approx(new[3:5], rel=1e-9, abs=1e-9)


def generator():
    """The module that generates the reference."""
    spec = importlib.util.spec_from_file_location("generate_reference", CHECKOUT / "tools" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arm_counts(db, user="ann") -> dict[int, tuple]:
    """Likes, dislikes and votes of each cluster that a user has voted on."""
    rows = db.ask("SELECT cluster, likes, dislikes, votes FROM pix.arms WHERE user_id = %s AND votes > 0", (user,))
    return {cluster: tuple(numbers) for cluster, *numbers in rows}


def model_state(db, user: str, algorithm: str) -> dict:
    """What is stored of a model."""
    columns = "likes, dislikes, watermark, since_training, described, content, trained_at, updated_at, votes_hash"
    rows = db.ask(f"SELECT {columns} FROM pix.user_models WHERE user_id = %s AND algorithm = %s", (user, algorithm))
    assert len(rows) == 1
    return dict(zip(columns.split(", "), rows[0], strict=True)) | {"content": bytes(rows[0][5])}


def recommended(db, user: str, algorithm: str | None = None, role: str = "adam") -> list[tuple]:
    """The best five items of a user."""
    return db.ask(
        "SELECT item_id, score, algorithm FROM pix.recommend(%s, 5, %s) ORDER BY rank", (user, algorithm), role=role
    )


FAULTS = "SELECT * FROM pix.check_derived() WHERE NOT ok"


def derived_agrees(db) -> None:
    """Everything that is derived is what it is made of says."""
    assert db.query(FAULTS) == []
