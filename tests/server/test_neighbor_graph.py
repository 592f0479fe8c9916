"""The neighbor graph, and pairs that look the same."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest

from tests.helpers import fails_with


def graph(db) -> dict[str, list[tuple[str, float]]]:
    results = {}
    for item_id, rank, neighbor_id, distance in db.ask(
        "SELECT item_id, rank, neighbor_id, distance FROM pix.neighbors ORDER BY item_id, rank", role="rita"
    ):
        results.setdefault(item_id, []).append((neighbor_id, distance))
        assert rank == len(results[item_id])
    return results


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_graph_is_exact(catalogue, metric):
    db = catalogue.db
    db.ask("CALL pix.build_neighbor_graph('clouds', 5, %s)", (metric,))
    neighbors = graph(db)
    assert set(neighbors) == set(catalogue.vectors)
    for item_id in sorted(neighbors)[::50]:
        expected = catalogue.expected(catalogue.vectors[item_id], 5, metric, [item_id])
        assert [name for name, _ in neighbors[item_id]] == [name for name, _ in expected]
        np.testing.assert_allclose([d for _, d in neighbors[item_id]], [d for _, d in expected], atol=1e-6)
    assert db.ask("SELECT k, metric, items, finished_at IS NOT NULL FROM pix.neighbor_graphs") == [
        (5, metric, 2000, True)
    ]


def test_done_again_it_does_only_what_is_missing(catalogue):
    db = catalogue.db
    db.ask("CALL pix.build_neighbor_graph('clouds', 3)")
    first = db.ask("SELECT seconds, finished_at FROM pix.neighbor_graphs")
    db.ask("CALL pix.build_neighbor_graph('clouds', 3)")
    assert db.ask("SELECT seconds, finished_at FROM pix.neighbor_graphs") == first
    gone = ["c0005", "c0006"]
    catalogue.remove(gone)
    catalogue.add([2000])
    db.ask("CALL pix.build_neighbor_graph('clouds', 3)")
    neighbors = graph(db)
    assert set(neighbors) == set(catalogue.vectors)
    assert not {name for rows in neighbors.values() for name, _ in rows} & set(gone)


def test_fewer_items_than_neighbors(db):
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('tiny', 2, 'a test')")
    for name, numbers in (("a", [1, 0]), ("b", [1, 1]), ("zero", [0, 0])):
        db.ask("INSERT INTO pix.features VALUES (%s, 'tiny', NULL, NULL, pix.from_array(%s::real[]))", (name, numbers))
    db.ask("CALL pix.build_neighbor_graph('tiny', 10)")
    neighbors = graph(db)
    assert {name: [n for n, _ in rows] for name, rows in neighbors.items()} == {"a": ["b", "zero"], "b": ["a", "zero"]}


def test_more_neighbors_than_items(catalogue):
    catalogue.remove(sorted(catalogue.vectors)[30:])
    catalogue.db.ask("CALL pix.build_neighbor_graph('clouds', 2147483647)")
    assert {len(rows) for rows in graph(catalogue.db).values()} == {29}


@pytest.mark.parametrize(
    ("sqlstate", "arguments"),
    [
        ("PX020", "'none'"),
        ("PX003", "'clouds', 0"),
        ("PX003", "'clouds', 3, 'manhattan'"),
        ("PX003", "'clouds', 3, NULL"),
        ("PX095", "'mini_inception'"),
    ],
)
def test_graphs_that_cannot_be_built(shared, with_catalogue, sqlstate, arguments):
    fails_with(shared(with_catalogue), sqlstate, f"CALL pix.build_neighbor_graph({arguments})")


@pytest.mark.slow
@pytest.mark.sessions
def test_killed_it_goes_on_where_it_was(db, same_host, until):
    """A killed backend has lost no finished part; two callers then share the rest."""
    random = np.random.default_rng(5)
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('many', 512, 'a test')")
    connection = db.connect()
    with connection.cursor() as cursor:
        psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO pix.features (item_id, model_name, vector) VALUES %s",
            [
                (f"m{n:05}", "many", psycopg2.Binary(vector.tobytes()))
                for n, vector in enumerate(random.normal(size=(14_000, 512)).astype("<f4"))
            ],
            page_size=100,  # Greenplum plans every row by itself, in the memory of the statement
        )
    db.ask("SELECT pix.pack_features('many')")
    worker = db.connect()

    def work() -> None:
        with pytest.raises(psycopg2.Error):
            worker.cursor().execute(CALL)

    thread = threading.Thread(target=work)
    thread.start()
    until(db, "SELECT count(*) = 1 FROM pix.neighbor_graphs WHERE done <> '{}'")
    pid = worker.info.backend_pid
    os.kill(pid, signal.SIGKILL)
    thread.join()
    db.server.wait_for_recovery(pid)
    done = db.value("SELECT cardinality(done) FROM pix.neighbor_graphs")
    assert 0 < done <= db.value("SELECT blocks FROM pix.neighbor_graphs")
    kept = db.value("SELECT count(DISTINCT item_id) FROM pix.neighbors")
    assert kept >= 1000 * (done - 3)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: db.query(CALL), range(2)))
    assert db.query("SELECT count(*), count(DISTINCT item_id) FROM pix.neighbors") == [(56_000, 14_000)]


CALL = "CALL pix.build_neighbor_graph('many', 4)"


def test_duplicates(catalogue):
    db = catalogue.db
    for first, second in (("c0001", "c1999"), ("c0500", "c0002")):
        db.ask(
            "UPDATE pix.features SET vector = (SELECT vector FROM pix.features WHERE item_id = %s) WHERE item_id = %s",
            (first, second),
        )
    scaled = psycopg2.Binary((catalogue.vectors["c0700"] * np.float32(1.7)).tobytes())
    db.ask("UPDATE pix.features SET vector = %s WHERE item_id = 'c0701'", (scaled,))
    rows = db.ask("SELECT * FROM pix.duplicates('clouds', 0.000001) ORDER BY 1")
    assert [row[:2] for row in rows] == [("c0001", "c1999"), ("c0002", "c0500"), ("c0700", "c0701")]
    assert max(row[2] for row in rows) < 1e-6
    assert len(db.ask("SELECT * FROM pix.duplicates('clouds', 0)")) >= 2
    output = db.pix("duplicates", "--model", "clouds", "--max-distance", 0.000001).stdout
    assert "3 pairs" in output


def test_duplicates_by_the_definition(catalogue):
    limit = 0.22
    names = sorted(catalogue.vectors)
    matrix = np.stack([catalogue.vectors[name] for name in names]).astype(float)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    firsts, seconds = np.nonzero(np.triu(1 - matrix @ matrix.T <= limit, 1))
    expected = {(names[a], names[b]) for a, b in zip(firsts, seconds, strict=True)}
    rows = catalogue.db.ask("SELECT item_id, duplicate_id FROM pix.duplicates('clouds', %s)", (limit,))
    assert expected
    assert len(rows) == len(expected)
    assert set(rows) == expected


@pytest.mark.parametrize(
    ("sqlstate", "arguments"),
    [
        ("PX003", "'clouds', -1"),
        ("PX003", "'clouds', 3"),
        ("PX003", "'clouds', NULL"),
        ("PX003", "'clouds', 'NaN'"),
        ("PX096", "'clouds', 2"),
        ("PX020", "'none'"),
    ],
)
def test_duplicates_that_cannot_be_asked_for(shared, with_catalogue, sqlstate, arguments):
    fails_with(shared(with_catalogue), sqlstate, f"SELECT count(*) FROM pix.duplicates({arguments})")


def test_duplicates_of_a_model_without_features(shared, with_catalogue):
    assert shared(with_catalogue).query("SELECT * FROM pix.duplicates('mini_inception')", role="rita") == []


def test_identical_files(loaded, boots):
    assert loaded.ask("SELECT * FROM pix.identical_images") == []
    first, second = sorted(path.stem for path in (boots / "images").iterdir())[:2]
    loaded.ask(
        "UPDATE pix.images SET content = (SELECT content FROM pix.images WHERE item_id = %s) WHERE item_id = %s",
        (first, second),
    )
    assert loaded.ask("SELECT items, item_ids FROM pix.identical_images", role="rita") == [(2, [first, second])]


def test_command(catalogue):
    assert "2,000 items" in catalogue.db.pix("graph", "--model", "clouds", "-k", 3).stdout
    assert len(graph(catalogue.db)["c0001"]) == 3
