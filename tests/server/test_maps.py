"""Maps: each method, new items, one cluster, bad input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest
from sklearn.manifold import trustworthiness

from tests.helpers import refuses, store


def points(db, name: str) -> dict[str, np.ndarray]:
    rows = db.ask("SELECT item_id, x, y FROM pix.map_points WHERE map = %s ORDER BY 1", (name,), role="rita")
    return {item_id: np.array([x, y]) for item_id, x, y in rows}


def kinship(points_by_item: dict[str, np.ndarray]) -> float:
    """The fraction of items whose neighbor on the map is of their kind."""
    names, coordinates = list(points_by_item), np.stack(list(points_by_item.values()))
    kinds = np.array([int(name[1:]) % 40 for name in names])
    apart = np.linalg.norm(coordinates[:, np.newaxis] - coordinates, axis=2) + np.diag(np.full(len(names), np.inf))
    return (kinds == kinds[apart.argmin(axis=1)]).mean()


@pytest.mark.parametrize(
    ("algorithm", "bar"),
    [("tsne", 0.95), pytest.param("umap", 0.9, marks=[pytest.mark.slow, pytest.mark.library("umap")])],
)
def test_kin_are_near(catalogue, algorithm, bar):
    db = catalogue.db
    ((items, perplexity, trust),) = db.ask(
        "SELECT items, perplexity, trustworthiness FROM pix.fit_map('all', 'clouds', %s)", (algorithm,)
    )
    assert (items, perplexity) == (2000, 30)
    points_by_item = points(db, "all")
    assert set(points_by_item) == set(catalogue.vectors)
    assert kinship(points_by_item) > bar
    matrix = np.stack([catalogue.vectors[item_id] for item_id in points_by_item])
    assert trust == pytest.approx(trustworthiness(matrix, np.stack(list(points_by_item.values()))), abs=0.02)
    # New items among their kin; the others stay.
    added = catalogue.add(range(2000, 2040))
    catalogue.remove(["c0000"])
    assert db.ask("SELECT added FROM pix.map_status") == [(40,)]
    assert db.ask("SELECT pix.refresh_map('all')") == [(40,)]
    later = points(db, "all")
    assert set(later) == set(catalogue.vectors)
    assert all((later[item_id] == points_by_item[item_id]).all() for item_id in points_by_item if item_id != "c0000")
    near = 0
    for item_id in added:
        others = {name: coordinate for name, coordinate in points_by_item.items() if name in later}
        nearest = min(others, key=lambda name: ((others[name] - later[item_id]) ** 2).sum())
        near += int(nearest[1:]) % 40 == int(item_id[1:]) % 40
    assert near >= 34
    assert db.ask("SELECT pix.refresh_map('all')") == [(0,)]


def test_principal_components_are_as_they_are(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_map('plane', 'clouds', 'pca')")
    db.ask("SELECT pix.fit_pca('clouds', 48)")
    before = points(db, "plane")
    db.ask("SELECT pix.fit_map('plane', 'clouds', 'pca')")  # from the stored ones
    after = points(db, "plane")
    components = dict(db.ask("SELECT item_id, pix.principal_components(vector, 'clouds') FROM pix.features"))
    for item_id in ("c0000", "c0777", "c1999"):
        assert np.abs(after[item_id]) == pytest.approx(np.abs(components[item_id][:2]), abs=1e-4)
        assert np.abs(after[item_id]) == pytest.approx(np.abs(before[item_id]), abs=1e-2)
    catalogue.add([2000])
    db.ask("SELECT pix.refresh_map('plane')")
    ((new,),) = db.ask("SELECT pix.principal_components(vector, 'clouds') FROM pix.features WHERE item_id = 'c2000'")
    assert points(db, "plane")["c2000"] == pytest.approx(new[:2], abs=1e-2)


def test_components_of_few_items_are_not_used_for_many(catalogue):
    db = catalogue.db
    db.ask("DELETE FROM pix.features WHERE item_id >= 'c0005'")
    db.ask("SELECT pix.fit_pca('clouds', 3)")
    for item_id in [item_id for item_id in catalogue.vectors if item_id >= "c0005"]:
        del catalogue.vectors[item_id]
    catalogue.add(range(5, 1000))
    db.ask("SELECT pix.fit_map('all', 'clouds')")
    assert kinship(points(db, "all")) > 0.9


def test_the_same_seed_gives_the_same_map(catalogue):
    db = catalogue.db
    db.ask("DELETE FROM pix.features WHERE item_id >= 'c0200'")
    db.ask("SELECT pix.fit_map('a', 'clouds', perplexity => 10, seed => 3)")
    db.query("SELECT pix.fit_map('b', 'clouds', perplexity => 10, seed => 3)")
    first, second = points(db, "a"), points(db, "b")
    assert all(first[item_id] == pytest.approx(second[item_id]) for item_id in first)


def test_one_cluster(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('tree', 'clouds', 'ward', k => 10)")
    ((parent,),) = db.ask("SELECT parent FROM pix.clusters WHERE cluster = 1")
    for cluster in (1, parent):
        ((size,),) = db.ask("SELECT items FROM pix.clusters WHERE cluster = %s", (cluster,))
        db.ask("SELECT pix.fit_map('one', clustering => 'tree', cluster => %s)", (cluster,))
        assert db.ask("SELECT items, model_name, clustering, cluster FROM pix.maps") == [
            (size, "clouds", "tree", cluster)
        ]
        assert len(points(db, "one")) == size
    catalogue.add(range(2000, 2040))
    db.ask("SELECT pix.refresh_clusters('tree')")
    ((size,),) = db.ask("SELECT items FROM pix.clusters WHERE cluster = %s", (parent,))
    db.ask("SELECT pix.refresh_map('one')")
    assert len(points(db, "one")) == size
    refuses(db, "PX105", "SELECT pix.fit_map('one', clustering => 'tree', cluster => 99)", "no cluster 99")
    refuses(db, "PX100", "SELECT pix.fit_map('one', clustering => 'nothing', cluster => 1)", "'nothing'")
    refuses(db, "PX003", "SELECT pix.fit_map('one', clustering => 'tree')", "must be given together")
    refuses(db, "PX003", "SELECT pix.fit_map('one', cluster => 1)", "must be given together")
    refuses(db, "PX003", "SELECT pix.fit_map('x', 'mini_inception', clustering => 'tree', cluster => 1)", "not of")
    db.ask("SELECT pix.drop_clustering('tree')")
    refuses(db, "PX100", "SELECT pix.refresh_map('one')", "'tree'")
    assert len(points(db, "one")) == size


def test_few_items(db):
    store(db, "few", np.random.default_rng(5).normal(size=(5, 8)))
    for algorithm in ("tsne", "pca"):
        assert db.ask("SELECT items FROM pix.fit_map(%s, 'few', %s)", (algorithm, algorithm)) == [(5,)]
    refuses(
        db,
        "PX003",
        "SELECT pix.fit_map('x', 'few', perplexity => 30)",
        "perplexity must be from 1 to 1.333 for 5 items, not 30",
    )
    refuses(db, "PX003", "SELECT pix.fit_map('x', 'few', perplexity => 0)", "5 items, not 0")
    refuses(db, "PX003", "SELECT pix.fit_map('x', 'few', perplexity => 'NaN')", "5 items, not nan")
    store(db, "three", np.random.default_rng(5).normal(size=(3, 8)))
    refuses(db, "PX112", "SELECT pix.fit_map('x', 'three')", "at least 4 items, not 3")
    store(db, "same", np.ones((10, 4)))
    refuses(db, "PX112", "SELECT pix.fit_map('x', 'same')", "the same")
    store(db, "thin", np.random.default_rng(5).normal(size=(10, 1)))
    assert db.ask("SELECT items FROM pix.fit_map('thin', 'thin', 'pca')") == [(10,)]
    assert {y for (y,) in db.ask("SELECT y FROM pix.map_points WHERE map = 'thin'")} == {0}


@pytest.mark.parametrize(
    ("call", "sqlstate", "message"),
    [
        ("fit_map('x', 'clouds', 'isomap')", "PX003", "'isomap'"),
        ("fit_map('x', 'clouds', NULL)", "PX003", "NULL"),
        ("fit_map('', 'clouds')", "PX003", "map must be a name"),
        ("fit_map(NULL)", "PX003", "map must be a name"),
        ("fit_map('x', 'clouds', seed => -1)", "PX003", "seed must be 0 or more"),
        ("fit_map('x', 'nothing')", "PX020", "'nothing'"),
        ("fit_map('x', 'mini_inception')", "PX095", "no up-to-date"),
        ("refresh_map('nothing')", "PX110", "'nothing'"),
        ("drop_map('nothing')", "PX110", "'nothing'"),
    ],
)
def test_bad_arguments(shared, with_catalogue, call, sqlstate, message):
    refuses(shared(with_catalogue), sqlstate, f"SELECT pix.{call}", message)


def test_readers_do_not_fit(shared, with_catalogue):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        shared(with_catalogue).query("SELECT pix.fit_map('x', 'clouds')", role="rita")


def test_a_failed_map_leaves_what_was_there(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_map('all', 'clouds', 'pca')")
    before = db.ask("SELECT * FROM pix.maps"), db.ask("SELECT * FROM pix.map_points ORDER BY item_id")
    refuses(db, "PX003", "SELECT pix.fit_map('all', 'clouds', perplexity => 2000)", "2000")
    assert (db.ask("SELECT * FROM pix.maps"), db.ask("SELECT * FROM pix.map_points ORDER BY item_id")) == before


def test_a_model_that_has_changed(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_map('all', 'clouds', 'pca')")
    db.ask("UPDATE pix.models SET checksum = 'other' WHERE model_name = 'clouds'", role=None)
    db.ask("UPDATE pix.features SET model_checksum = 'other' WHERE model_name = 'clouds'")
    assert db.ask("SELECT usable FROM pix.map_status") == [(False,)]
    refuses(db, "PX113", "SELECT pix.refresh_map('all')", "earlier version of model 'clouds'")
    db.ask("SELECT pix.fit_map('all', 'clouds', 'pca')")
    assert db.ask("SELECT usable FROM pix.map_status") == [(True,)]


def test_too_few_are_left_to_place_others_among(catalogue):
    db = catalogue.db
    db.ask("DELETE FROM pix.features WHERE item_id >= 'c0100'")
    db.ask("SELECT pix.fit_map('all', 'clouds')")
    catalogue.add(range(90))
    refuses(db, "PX112", "SELECT pix.refresh_map('all')", "10 are left")


@pytest.fixture
def many(db):
    """A model of 15,000 items, from which on openTSNE lays them out."""
    random = np.random.default_rng(5)
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('many', 8, 'a test')")
    vectors = (random.normal(size=(20, 8)) * 5)[np.arange(15_000) % 20] + random.normal(size=(15_000, 8))
    with db.session("ada").cursor() as cursor:
        cursor.execute(
            "INSERT INTO pix.features (item_id, model_name, vector) "
            "SELECT 'm' || n, 'many', substr(%s, 32 * n + 1, 32) FROM generate_series(0, 14999) n",
            (psycopg2.Binary(vectors.astype(np.float32).tobytes()),),
        )
    return db


@pytest.mark.slow
@pytest.mark.sessions
def test_a_map_of_many_items_can_be_canceled(many, until):
    """A wish to cancel is heard, leaves nothing, and the session goes on."""
    session = many.connect("ada")
    pid = session.info.backend_pid

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.cursor().execute, "SELECT pix.fit_map('all', 'many')")
        until(many, f"SELECT coalesce((SELECT percent > 5 FROM pix.builds WHERE pid = {pid}), false)")
        session.cancel()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            running.result(60)
    assert many.ask("SELECT count(*) FROM pix.maps") == [(0,)]
    cursor = session.cursor()
    cursor.execute("SELECT items FROM pix.fit_map('all', 'many', 'pca')")
    assert cursor.fetchall() == [(15_000,)]


@pytest.mark.exhaustive
def test_many_items_are_laid_out_by_opentsne(many):
    ((trust,),) = many.ask("SELECT trustworthiness FROM pix.fit_map('all', 'many')")
    assert trust > 0.9


def test_command(catalogue):
    db = catalogue.db
    assert (
        "all: 2,000 items, trustworthiness 0."
        in db.pix("map", "fit", "all", "--model", "clouds", "--algorithm", "pca").stdout
    )
    catalogue.add([2000])
    assert "1 items placed" in db.pix("map", "refresh", "all").stdout
    assert "everything" in db.pix("map", "list", role="rita").stdout
    db.pix("map", "drop", "all")
    assert "is not known" in db.pix("map", "refresh", "all", check=False).stderr
