"""A database of version 0.7 comes along: with all its rows, and with the same answers."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import psycopg2
import pytest

from pixload.migration import migrate
from tests.fixtures.servers import Clone
from tests.helpers import HEAD

FOLDER = Path(__file__).parents[1] / "data" / "version_0_7"
ANSWERS = {answer["name"]: answer for answer in json.loads((FOLDER / "answers.json").read_text())}

RENAMED = {
    "clustering_designs": "pix_internal.clustering_states",
    "feature_blocks": "pix_internal.feature_blocks",
    "index_parts": "pix_internal.index_parts",
    "metadata_designs": "pix.metadata_models",
    "model_parts": "pix_internal.model_parts",
    "model_selection_results": "pix.algorithm_selection_results",
    "model_selection_tasks": "pix_internal.algorithm_selection_tasks",
    "model_selections": "pix.algorithm_selections",
    "packs": "pix_internal.packs",
    "projections": "pix_internal.projections",
    "tastes": "pix.common_taste",
    "user_model_policy": "pix.algorithm_rules",
}
WORDS = [  # in queries, from 0.7 to now
    ("filter_label =>", "filter => pix.items_where(label =>"),
    ("filter_brand =>", "filter => pix.items_where(brand =>"),
    ("filter_category =>", "filter => pix.items_where(category =>"),
    ("filter_clustering =>", "filter => pix.items_where(clustering =>"),
    ("filter_cluster =>", "cluster =>"),
    ("6, min_price =>", "6, filter => pix.items_where(min_price =>"),
    ("candidates =>", "filter => pix.items_where(only_ids =>"),
    ('"exclude" =>', "filter => pix.items_where(except_ids =>"),
    ("method", "algorithm"),
    ("share_nearer", "fraction_nearer"),
    ("contradiction_share", "contradiction_fraction"),
    ("min_share, max_share", "min_fraction, max_fraction"),
    ("needs_taste", "needs_common_taste"),
    ("pix.model_ranking", "pix.algorithm_ranking"),
    ("pix.user_model_policy", "pix.algorithm_rules"),
    ("pix.metadata_designs", "pix.metadata_models"),
    (
        "SELECT pix.silhouette('boots'), pix.davies_bouldin('boots'), pix.adjusted_rand_index('boots','heel'), "
        "pix.purity('boots','heel')",
        "SELECT * FROM pix.clustering_quality('boots', 'heel')",
    ),
    ("'heels') ORDER", "'{heels}') ORDER"),
]
VALUES = {  # in rows
    "clustering status": {"hierarchical": "ward"},
    "impressions": {"hierarchical": "tree"},
    "simulations": {"hierarchical": "tree"},
    "evaluations": {"ladder": "rules"},
}


def restore(database) -> None:
    dump = gzip.decompress((FOLDER / "database.sql.gz").read_bytes())
    if database.server.is_distributed:  # where tables have to say how they are spread
        assert migrate(database.dsn(), "0008") == (None, "0008")
        dump = rows_of(dump)
    restored = subprocess.run(
        ["psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", database.dsn()],
        input=dump, capture_output=True, check=False,
    )  # fmt: skip
    assert restored.returncode == 0, restored.stderr.decode()


def rows_of(dump: bytes) -> bytes:
    """The statements of a dump that fill tables and set sequences."""
    tables = re.findall(rb"^COPY (\S+) ", dump, re.MULTILINE)
    filled = re.findall(rb"^COPY .*?^\\\.$|^SELECT pg_catalog.setval.*?$", dump, re.MULTILINE | re.DOTALL)
    return b"\n".join([b"SET client_min_messages = warning;", b"TRUNCATE " + b", ".join(tables) + b";", *filled, b""])


def query_now(name: str) -> str:
    if name.startswith("rows of "):
        table = name.removeprefix("rows of ")
        return f"SELECT count(*) FROM {RENAMED.get(table, f'pix.{table}')}"
    query = ANSWERS[name]["sql"]
    for old, new in WORDS:
        query = query.replace(old, new)
    if "items_where" in query:
        query = query.replace(") ORDER", ")) ORDER")
    return query


def expected(name: str) -> list[list]:
    changed = VALUES.get(name, {})
    rows = [[changed.get(value, value) if isinstance(value, str) else value for value in row]
            for row in ANSWERS[name]["rows"]]  # fmt: skip
    if name == "evaluations":  # they are sorted by a word that has changed
        rows.sort(key=lambda row: row[:3])
    if name == "clusters":  # a mean price is rounded to cents
        rows = [[*row[:-1], row[-1] and f"{float(row[-1]):.2f}"] for row in rows]
    if name == "prices":
        rows = [[item_id, price and f"{float(price):.2f}"] for item_id, price in rows]
    return rows


def as_json(value):
    return json.loads(json.dumps(value, default=str))


def near(neighbors, wanted) -> bool:
    if isinstance(wanted, list):
        return isinstance(neighbors, list) and len(neighbors) == len(wanted) and all(map(near, neighbors, wanted))
    if isinstance(wanted, float) or isinstance(neighbors, float):
        return neighbors == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    return neighbors == wanted


@pytest.fixture(scope="module")
def upgraded(server):
    """The database of version 0.7, migrated; tests only read it."""
    clone = Clone(server, server.name("upgraded"))
    server.run(f"CREATE DATABASE {clone.name} ENCODING 'UTF8' TEMPLATE template0")
    restore(clone)
    assert migrate(clone.dsn()) == ("0008", HEAD)
    yield clone
    clone.close()
    server.drop(clone.name)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_the_same(upgraded, name):
    results = as_json([list(row) for row in upgraded.query(query_now(name), role=None)])
    wanted = expected(name)
    if name == "evaluations":
        results.sort(key=lambda row: row[:3])
    assert len(results) == len(wanted)
    for ours, theirs in zip(results, wanted, strict=True):
        assert near(ours, theirs), (ours, theirs)


def test_all_that_is_derived_agrees(upgraded):
    assert upgraded.query("SELECT * FROM pix.check_derived() WHERE NOT ok") == []


def test_everything_goes_on(upgraded, clone):
    db = clone("upgraded")
    db.query("SELECT pix.vote('user 0', (SELECT min(item_id) FROM pix.items), true)", role="adam")
    assert len(db.query("SELECT * FROM pix.recommend('user 0', 3)", role="adam")) == 3
    assert (
        len(db.query("SELECT * FROM pix.next_items('user 1', 2, clustering => 'tree', prior => 'tree')", role="adam"))
        == 2
    )
    assert db.query("SELECT items FROM pix.refresh_index('graph')") == [(36,)]
    db.query("SELECT pix.fit_clusters('tree', algorithm => 'ward', k => 4)")
    db.query("CALL pix.recommend_all(3)")
    assert db.query("SELECT * FROM pix.check_derived() WHERE NOT ok") == []


def test_down_to_version_0_7_again(upgraded, clone):
    """Back to its schema, with its rows: the functions come with the package of that version."""
    db = clone("upgraded")
    assert migrate(db.dsn(), "0008") == (HEAD, "0008")
    for name, answer in ANSWERS.items():
        if name.startswith("rows of ") or name in (
            "settings",
            "rules",
            "evaluations",
            "impressions",
            "cluster members",
        ):
            query = answer["sql"]
            results = as_json([list(row) for row in db.query(query, role=None)])
            wanted = answer["rows"]
            assert len(results) == len(wanted), name
            assert all(near(ours, theirs) for ours, theirs in zip(results, wanted, strict=True)), name
    with pytest.raises(psycopg2.errors.UndefinedTable):
        db.query("SELECT count(*) FROM pix_internal.packs", role=None)
