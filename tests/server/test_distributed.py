"""Drivers as they work on Greenplum, where what a subtransaction writes can be lost: they write in none.

Elsewhere they are made to work so too.
"""

import re
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from pixelplum import __version__
from pixelplum.server.distributed import text_of

CALLS = {
    "pack_features": "SELECT pix.pack_features('clouds')",
    "build_index": "SELECT pix.build_index('fresh', algorithm => 'annoy')",
    "fit_clusters": "SELECT pix.fit_clusters('fresh', k => 4)",
    "refresh_clusters": "SELECT pix.refresh_clusters('groups')",
    "fit_map": "SELECT pix.fit_map('flat', algorithm => 'pca')",
    "fit_pca": "SELECT pix.fit_pca('clouds', 3)",
    "train_classifier": "SELECT pix.train_classifier('kinds', 'kinds', 'clouds')",
    "vote_batch": """SELECT pix.vote_batch('[{"user_id": "new", "item_id": "c0001", "liked": true}]')""",
    "recommend": "SELECT pix.recommend('u1', 3, 'centroid')",
    "next_item": "SELECT pix.next_item('u1')",
    "fit_common_taste": "SELECT pix.fit_common_taste()",
    "refresh_priors": "SELECT pix.refresh_priors('groups')",
    "duplicates": "SELECT pix.duplicates('clouds')",
    "simulate": "SELECT pix.simulate('thompson', pix.users_who_like('kinds', 2, 1), 3, 'groups', keep => true)",
}
BAD = {
    "SELECT pix.build_index('fresh', 'unheard of')": ("PX020", "Model 'unheard of' is not known"),
    "SELECT pix.train_classifier('fresh', 'unheard of')": ("PX071", "unheard of"),
}
STRINGS = ["", "a b", "a,b", '"', "\\", "\\x00", "{}", "NULL", "null", "it's", "ü\n\t", None, "$1", "%s"]


@pytest.fixture(scope="module")
def with_handing_over(stage, with_voters, server) -> str:
    def prepare(db) -> None:
        db.query("SELECT pix.fit_clusters('groups', k => 8)")
        db.query(
            "INSERT INTO pix.labels (item_id, label_set, label) "
            "SELECT item_id, 'kinds', 'kind ' || substr(item_id, 2)::integer % 3 FROM pix.items"
        )
        db.query("UPDATE pix.features SET vector = vector WHERE item_id < 'c0100'")
        if not server.is_distributed:
            file = Path(__file__).parents[2] / "sql" / "090_drivers.sql"
            block = re.search(r"DO \$distributed\$.*?\$distributed\$;", file.read_text(), re.DOTALL)[0]
            block = block.replace("IF NOT pix_internal.is_distributed()", "IF false").replace("@VERSION@", __version__)
            db.query(block, role=None)

    return stage("handing_over", with_voters, prepare)


def written_in_subtransactions(cursor, is_distributed: bool) -> dict[str, int]:
    """Tables of which this transaction has written rows by another number than its own, and how many rows."""
    segment = "gp_segment_id" if is_distributed else "0"
    # A table that each segment has in full does not tell which.
    spread = "JOIN gp_distribution_policy d ON d.localoid = c.oid AND d.policytype = 'p'" if is_distributed else ""
    cursor.execute(
        f"SELECT c.oid::regclass::text FROM pg_class c {spread} WHERE c.relkind = 'r' "
        "AND c.relnamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace)"
    )
    counts = {}
    for (table,) in cursor.fetchall():
        cursor.execute(
            f"SELECT count(*) FROM (SELECT {segment} AS segment, xmin::text::bigint AS number FROM {table}) t "
            f"JOIN (SELECT {segment} AS segment, max(xmin::text::bigint) AS number FROM marks GROUP BY 1) m "
            "ON m.segment = t.segment AND t.number > m.number"
        )
        counts[table] = cursor.fetchone()[0]
    if not is_distributed:
        for table in ("pix.users", "pix_internal.locks"):  # PL/pgSQL writes to them elsewhere, as it may there
            del counts[table]
    return {table: count for table, count in counts.items() if count}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_is_written_in_a_subtransaction(shared, with_handing_over, server, call):
    """Such rows have numbers of their own, which are larger than the transaction's."""
    with closing(shared(with_handing_over).connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE marks AS SELECT generate_series(1, 100) AS n")
        connection.commit()
        cursor.execute("UPDATE marks SET n = n")
        cursor.execute(call)
        assert written_in_subtransactions(cursor, server.is_distributed) == {}


@pytest.mark.parametrize("call", BAD)
def test_errors_are_those_of_the_driver(shared, with_handing_over, call):
    sqlstate, message = BAD[call]
    with shared(with_handing_over).connect().cursor() as cursor:
        with pytest.raises(psycopg2.Error, match=message) as caught:
            cursor.execute(call)
        assert caught.value.pgcode == sqlstate
        assert caught.value.diag.message_hint
        cursor.execute("SELECT count(*) FROM pix.nearest('c0001', 3, 'clouds')")
        assert cursor.fetchone() == (3,)


def test_a_simulation_leaves_nothing(shared, with_handing_over):
    db = shared(with_handing_over)
    before = db.query("SELECT count(*) FROM pix.interactions"), db.query("SELECT * FROM pix.arms ORDER BY 1, 2, 3")
    db.query("SELECT pix.simulate('thompson', pix.users_who_like('kinds', 2, 1), 3, 'groups')")
    assert before == (
        db.query("SELECT count(*) FROM pix.interactions"), db.query("SELECT * FROM pix.arms ORDER BY 1, 2, 3"),
    )  # fmt: skip


VALUES = {
    "text[]": STRINGS, "bytea": b'\x00\\"{}\xff', "int[]": [1, None, -3], "float8[]": [0.1, float("inf"), 1e-300],
    "bool[]": [True, False], "int8[]": [], "int": None, "text": "", "bool": True,
}  # fmt: skip


@pytest.mark.parametrize("type_name", VALUES)
def test_values_are_read_from_text_as_they_were(db, type_name):
    value = VALUES[type_name]
    (read,) = db.query(f"SELECT (%s::text[])[1]::{type_name}", ([text_of(value)],))[0]
    assert (bytes(read) if isinstance(value, bytes) else read) == value
