"""Indexes: what they find, that they are used, that they stay fresh, and what is lost when files are."""

import itertools
import json

import numpy as np
import psycopg2
import pytest

from tests.helpers import fails_with
from tests.indexes import KINDS, METRICS, build, nearest_many, recall

CASES = [
    pytest.param(
        kind, metric, id=f"{kind}, {metric}",
        marks=pytest.mark.exhaustive if kind.startswith("projected") and metric != "cosine" else (),
    )
    for kind, metric in itertools.product(KINDS, METRICS)
    if (kind, metric) not in {("hnsw of int8", "euclidean"), ("hnsw of int8", "dot")}
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_finds_everything(catalogue, metric):
    assert recall(catalogue, metric, None) == 1
    catalogue.add(range(1990, 2050))
    catalogue.remove([f"c{n:04}" for n in range(0, 2000, 100)])
    assert recall(catalogue, metric, None) == 1
    catalogue.db.ask("SELECT pix.pack_features('clouds')")
    assert recall(catalogue, metric, None) == 1


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_recall_and_freshness(catalogue, kind, metric):
    db = catalogue.db
    bar = build(db, kind, metric)
    stored = db.ask("SELECT recall FROM pix.indexes WHERE index_name = 'fast'")[0][0]
    assert bar <= stored <= 1
    assert recall(catalogue, metric) >= bar

    added = catalogue.add(range(2000, 2060))
    changed = catalogue.add(range(500, 540))
    gone = [f"c{n:04}" for n in range(900, 940)]
    catalogue.remove(gone)
    assert db.ask("SELECT added, removed, usable FROM pix.index_status") == [(100, 80, True)]
    assert recall(catalogue, metric) >= bar
    if metric != "dot":
        for item_id in added[:3] + changed[:3]:
            numbers = catalogue.vectors[item_id].tolist()
            rows = db.ask(
                "SELECT item_id FROM pix.nearest_to_vector(%s::real[], 1, 'clouds', %s, 'fast')", (numbers, metric)
            )
            assert rows == [(item_id,)]
    everywhere = nearest_many(db, added[:20], 200, metric, "fast")
    assert not {name for rows in everywhere.values() for name, _ in rows} & set(gone)

    items, after = db.ask("SELECT items, recall FROM pix.refresh_index('fast')")[0]
    assert items == 2020
    assert after >= bar
    assert db.ask("SELECT added, removed FROM pix.index_status") == [(0, 0)]
    assert recall(catalogue, metric) >= bar
    unchanged = db.ask("SELECT built_at FROM pix.indexes")
    db.ask("SELECT pix.refresh_index('fast')")
    assert db.ask("SELECT built_at FROM pix.indexes") == unchanged


@pytest.mark.parametrize(
    ("algorithm", "parameters", "project_to"),
    [
        ("exact", '{"rerank": 1}', 2),
        ("annoy", '{"trees": 1, "search_k": 1, "rerank": 1}', None),
        ("hnsw", '{"m": 2, "ef_construction": 1, "ef_search": 1, "rerank": 1}', None),
    ],
)
def test_index_is_what_answers(catalogue, algorithm, parameters, project_to):
    """Only a bad index shows that it is used: exact search would find everything."""
    db = catalogue.db
    db.ask("SELECT pix.build_index('bad', 'clouds', %s, 'cosine', %s, %s)", (algorithm, parameters, project_to))
    measured = db.ask("SELECT recall, queries, k FROM pix.recall_check('bad', 5, 50)", role="rita")
    assert measured[0][0] < 0.9
    assert measured[0][1:] == (50, 5)
    ask = "SELECT array_agg(item_id ORDER BY rank) FROM pix.nearest(%s, 5, 'clouds', index_name => %s)"
    differ = [db.ask(ask, (item_id, "bad")) != db.query(ask, (item_id, None)) for item_id in QUERIED]
    assert any(differ)


QUERIED = [f"c{n:04}" for n in range(0, 200, 20)]


def test_one_and_many_and_vector_agree(catalogue):
    db = catalogue.db
    build(db, "hnsw", "cosine")
    one = db.ask("SELECT item_id, distance FROM pix.nearest('c0042', 10, index_name => 'fast')", role="rita")
    many = nearest_many(db, ["c0042", "c0043"], 10, None, "fast")["c0042"]
    numbers = catalogue.vectors["c0042"].tolist()
    vector = db.ask(
        "SELECT item_id, distance FROM pix.nearest_to_vector(%s::real[], 11, index_name => 'fast')", (numbers,), "rita"
    )
    assert one == many
    assert vector[0] == ("c0042", pytest.approx(0, abs=1e-9))
    assert [name for name, _ in vector[1:]] == [name for name, _ in one]


@pytest.mark.parametrize("kind", [None, "annoy", "hnsw", "projected"])
def test_filtered_queries_return_k(catalogue, kind):
    """Over-fetching, then comparing all that pass: never fewer than there are."""
    db = catalogue.db
    index = None if kind is None else "fast"
    if kind:
        build(db, kind, "cosine")
    db.ask(
        "INSERT INTO pix.labels (item_id, label_set, label) SELECT item_id, 's', 'rare' FROM pix.items "
        "WHERE item_id IN ('c0003', 'c0999', 'c1500')"
    )
    query = catalogue.vectors["c0011"]
    ranked = [name for name, _ in catalogue.expected(query, 2000, "cosine", ["c0011"])]

    def ids_of(sql: str, k: int = 10) -> list[str]:
        rows = db.ask(
            f"SELECT item_id FROM pix.nearest('c0011', {k}, 'clouds', index_name => %s, "
            f"filter => pix.items_where({sql}))",
            (index,),
            role="rita",
        )
        return [name for (name,) in rows]

    def price(name: str) -> int:
        return int(name[1:]) % 100

    cheap = [name for name in ranked if price(name) <= 5]
    assert set(ids_of("max_price => 5")) >= set(cheap[:8])
    assert len(ids_of("max_price => 5")) == 10
    assert ids_of("max_price => 5", 200) == cheap
    brand = [name for name in ranked if int(name[1:]) % 7 == 3 and 40 <= price(name) <= 60]
    assert ids_of("brand => 'brand 3', min_price => 40, max_price => 60", 50) == brand[:50]
    assert set(ids_of("label => 'rare'")) == {"c0003", "c0999", "c1500"}
    assert set(ids_of("label => 'rare', label_set => 's'")) == {"c0003", "c0999", "c1500"}
    assert set(ids_of("label_set => 's'")) == {"c0003", "c0999", "c1500"}
    some = ["c0005", "c0006", "c0007", "c0011", "unknown"]
    assert ids_of("only_ids => ARRAY['c0005', 'c0006', 'c0007', 'c0011', 'unknown', NULL]") == [
        name for name in ranked if name in some
    ]
    assert ids_of("only_ids => '{}'") == []
    assert ids_of("only_ids => ARRAY[ARRAY['c0005', 'c0006']]") == [n for n in ranked if n in ("c0005", "c0006")]
    best = ranked[:300]
    rest = ids_of(f"except_ids => ARRAY{best}")
    assert len(rest) == 10
    assert not set(rest) & set(best)
    half = [name for name in ranked if price(name) >= 50]
    assert len(set(ids_of("min_price => 50")) & set(half[:10])) >= 9
    assert len(ids_of("min_price => 50", 1500)) == len(half)


def test_categories_are_searched_at_any_depth(catalogue):
    db = catalogue.db
    categories = json.dumps([["Shoes", 'It\'s "new"'], ["Boots"]])
    db.ask("UPDATE pix.items SET categories = %s WHERE item_id = 'c0005'", (categories,))
    for category in ("Boots", 'It\'s "new"'):
        rows = db.ask(
            "SELECT item_id FROM pix.nearest('c0001', 5, 'clouds', filter => pix.items_where(category => %s))",
            (category,),
        )
        assert rows == [("c0005",)]
    boot = "SELECT * FROM pix.nearest('c0001', 5, 'clouds', filter => pix.items_where(category => 'Boot'))"
    assert "Did you mean 'Boots'?" in fails_with(db, "PX004", boot).diag.message_hint


def test_labels_that_exist_nowhere_are_looked_for_where_the_filter_says(catalogue):
    db = catalogue.db
    db.ask("INSERT INTO pix.labels (item_id, label_set, label) VALUES ('c0001', 'style', 'ankle')")
    ask = "SELECT * FROM pix.nearest('c0001', 5, 'clouds', filter => pix.items_where({}))"
    error = fails_with(db, "PX004", ask.format("label => 'black'"))
    assert error.diag.message_primary.endswith("There is no label 'black'")
    assert "SELECT DISTINCT label FROM pix.labels lists all 1." in error.diag.message_hint
    error = fails_with(db, "PX004", ask.format("label => 'black', label_set => 'style'"))
    assert "no label in label set 'style': 'black'" in error.diag.message_primary
    assert "WHERE label_set = 'style' lists all 1." in error.diag.message_hint


@pytest.mark.parametrize("kind", ["exact", "annoy", "hnsw"])
def test_more_than_there_are(catalogue, kind):
    build(catalogue.db, kind, "euclidean")
    rows = catalogue.db.ask("SELECT * FROM pix.nearest('c0000', 100000, index_name => 'fast')", role="rita")
    assert len(rows) == 1999


def test_vectors_of_zeros_are_found_last(catalogue):
    db = catalogue.db
    db.ask("UPDATE pix.features SET vector = %s WHERE item_id = 'c0001'", (psycopg2.Binary(bytes(48 * 4)),))
    for kind in ("exact", "annoy", "hnsw"):
        build(db, kind, "cosine")
        rows = dict(db.ask("SELECT item_id, distance FROM pix.nearest('c0000', 2000, index_name => 'fast')"))
        assert rows["c0001"] == 1
        assert len(rows) == 1999
        fails_with(db, "PX031", "SELECT * FROM pix.nearest('c0001', 3, index_name => 'fast')")


def test_questions_without_an_answer(catalogue):
    db = catalogue.db
    build(db, "hnsw", "cosine")
    nearest = "SELECT * FROM pix.nearest({})"
    fails_with(db, "PX090", nearest.format("'c0001', index_name => 'none'"))
    fails_with(db, "PX090", nearest.format("'c0001', index_name => ''"))
    fails_with(db, "PX092", nearest.format("'c0001', 5, 'mini_inception', index_name => 'fast'"))
    fails_with(db, "PX092", nearest.format("'c0001', metric => 'dot', index_name => 'fast'"))
    fails_with(db, "PX003", nearest.format("'c0001', 0, index_name => 'fast'"))
    fails_with(db, "PX040", nearest.format("'nope', index_name => 'fast'"))
    vector = "SELECT * FROM pix.nearest_to_vector({}::real[], 5, 'clouds')"
    fails_with(db, "PX030", vector.format("ARRAY[1, 2, 3]"))
    fails_with(db, "PX003", vector.format("NULL"))
    fails_with(db, "PX030", vector.format("array_fill('NaN'::real, ARRAY[48])"))
    fails_with(db, "PX030", vector.format("array_fill(NULL::real, ARRAY[48])"))
    fails_with(db, "PX031", vector.format("array_fill(0::real, ARRAY[48])"))
    fails_with(db, "PX090", "SELECT * FROM pix.recall_check('none')")
    fails_with(db, "PX003", "SELECT * FROM pix.recall_check('fast', 0, 10)")
    fails_with(db, "PX003", "SELECT * FROM pix.recall_check('fast', queries => 0)")
    fails_with(db, "PX090", "SELECT pix.refresh_index('none')", role="ada")
    fails_with(db, "PX090", "SELECT pix.drop_index('none')", role="ada")


@pytest.mark.parametrize(
    ("sqlstate", "arguments"),
    [
        ("PX003", "'', 'clouds'"),
        ("PX003", "NULL, 'clouds'"),
        ("PX003", "repeat('x', 201), 'clouds'"),
        ("PX020", "'x', 'none'"),
        ("PX003", "'x', 'clouds', 'ivf'"),
        ("PX003", "'x', 'clouds', NULL"),
        ("PX003", "'x', 'clouds', 'hnsw', 'manhattan'"),
        ("PX003", "'x', 'clouds', 'hnsw', NULL"),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"trees": 3}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"m": 0}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"m": "many"}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"m": true}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"dtype": "float8"}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'dot', '{"dtype": "int8"}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"dtype": []}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"m": 1e5000}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '{"m": 1}'"""),
        ("PX003", """'x', 'clouds', 'hnsw', 'cosine', '[1]'"""),
        ("PX003", "'x', 'clouds', 'exact', 'cosine', '{}', 0"),
        ("PX003", "'x', 'clouds', 'exact', 'cosine', '{}', -3"),
        ("PX003", "'x', 'clouds', 'exact', 'cosine', '{}', 48"),
        ("PX095", "'x', 'mini_inception'"),
    ],
)
def test_index_that_cannot_be_built(catalogue, sqlstate, arguments):
    fails_with(catalogue.db, sqlstate, f"SELECT pix.build_index({arguments})", role="ada")
    assert catalogue.db.ask("SELECT * FROM pix.indexes") == []
    assert catalogue.db.ask("SELECT * FROM pix_internal.index_parts") == []


def test_numbers_too_large_for_float16(catalogue):
    large = np.full(48, 70000, np.float32)
    catalogue.db.ask("UPDATE pix.features SET vector = %s WHERE item_id = 'c0007'", (psycopg2.Binary(large.tobytes()),))
    build = "SELECT pix.build_index('x', 'clouds', 'hnsw', 'euclidean', %s)"
    fails_with(catalogue.db, "PX003", build, ("{}",), role="ada")
    catalogue.db.ask(build, ('{"dtype": "float32"}',))


def test_query_too_large_for_float16(catalogue):
    db = catalogue.db
    build(db, "hnsw", "euclidean")
    query = np.zeros(48, np.float32)
    query[3] = 1e5
    rows = db.ask("SELECT item_id FROM pix.nearest_to_vector(%s::real[], 10, index_name => 'fast')", (query.tolist(),))
    assert [name for (name,) in rows] == [name for name, _ in catalogue.expected(query, 10, "euclidean")]


def test_stored_principal_components_are_used(catalogue):
    """An index by Euclidean distance holds those of pix.fit_pca, if there are enough; damaged ones show it."""
    db = catalogue.db
    db.ask("SELECT pix.fit_pca('clouds', 24)")
    build = "SELECT recall FROM pix.build_index('small', 'clouds', 'exact', %s, '{\"rerank\": 1}', project_to => %s)"
    ((recall,),) = db.ask(build, ("euclidean", 24))
    assert recall > 0.5
    spoil = (
        "UPDATE pix_internal.projections SET axes = substr(axes, 1, 4 * 48) || decode(repeat('00', 4 * 48 * 23), 'hex')"
    )
    db.ask(spoil, role=None)
    assert db.ask(build, ("euclidean", 24))[0][0] < 0.3
    assert db.ask(build, ("euclidean", 25))[0][0] > 0.5
    assert db.ask(build, ("cosine", 24))[0][0] > 0.5
