"""Look-alikes against scikit-learn, and questions that have no answer."""

import numpy as np
import psycopg2
import pytest
from sklearn.neighbors import NearestNeighbors

from pixelplum.core.search.vectors import from_bytes, to_bytes
from tests.fixtures.servers import Clone
from tests.helpers import fails_with

VECTORS = np.random.default_rng(7).normal(size=(200, 32)).astype(np.float32)


def fill(db: Clone) -> None:
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('random', 32, 'a test')")
    db.ask("INSERT INTO pix.items (item_id) SELECT 'i' || to_char(g, 'FM000') FROM generate_series(0, 199) g")
    values = ", ".join(f"('i{row:03}', 'random', '\\x{to_bytes(vector).hex()}')" for row, vector in enumerate(VECTORS))
    db.ask(f"INSERT INTO pix.features (item_id, model_name, vector) VALUES {values}")


@pytest.fixture(scope="session")
def with_vectors(stage) -> str:
    return stage("vectors", "template", fill)


@pytest.fixture
def db(clone, with_vectors) -> Clone:
    """200 items with random vectors of a foreign model."""
    return clone(with_vectors)


@pytest.fixture
def vectors() -> np.ndarray:
    return VECTORS.copy()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_agrees_with_scikit_learn(db, vectors, metric):
    oracle = NearestNeighbors(n_neighbors=11, metric=metric, algorithm="brute").fit(vectors.astype(np.float64))
    distances, indices = oracle.kneighbors(vectors[:5].astype(np.float64))
    for item in range(5):
        rows = db.ask("SELECT * FROM pix.nearest(%s, 10, 'random', %s)", (f"i{item:03}", metric), role="rita")
        assert [rank for rank, *_ in rows] == list(range(1, 11))
        assert [int(results[1:]) for _, results, _ in rows] == list(indices[item][1:])
        np.testing.assert_allclose([distance for *_, distance in rows], distances[item][1:], atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_many_are_answered_as_each_is(db, vectors, metric):
    item_ids = ["i005", "i000", "i199", "i005"]
    rows = db.ask("SELECT * FROM pix.nearest_many(%s, 7, 'random', %s)", (item_ids, metric), role="rita")
    assert [row[:2] for row in rows] == [
        (item_id, rank) for item_id in ("i000", "i005", "i199") for rank in range(1, 8)
    ]
    for item_id in set(item_ids):
        alone = db.ask("SELECT * FROM pix.nearest(%s, 7, 'random', %s)", (item_id, metric), role="rita")
        together = [row[1:] for row in rows if row[0] == item_id]
        assert [row[:2] for row in together] == [row[:2] for row in alone]
        np.testing.assert_allclose([row[2] for row in together], [row[2] for row in alone], atol=1e-12)


def test_many_without_any(db, vectors):
    assert db.ask("SELECT * FROM pix.nearest_many('{}', 7, 'random')") == []


def test_dot(db, vectors):
    products = vectors.astype(np.float64) @ vectors[3]
    products[3] = -np.inf
    rows = db.ask("SELECT item_id, distance FROM pix.nearest('i003', 5, 'random', 'dot')", role="rita")
    assert [int(results[1:]) for results, _ in rows] == list(np.argsort(-products)[:5])
    np.testing.assert_allclose([-distance for _, distance in rows], np.sort(products)[::-1][:5], rtol=1e-5)


def test_k_larger_than_the_catalogue(db, vectors):
    assert len(db.ask("SELECT * FROM pix.nearest('i000', 1000, 'random')", role="rita")) == 199


def test_ties_are_in_the_order_of_the_ids(db, vectors):
    db.ask("UPDATE pix.features SET vector = (SELECT vector FROM pix.features WHERE item_id = 'i000')")
    rows = db.ask("SELECT item_id FROM pix.nearest('i100', 3, 'random')")
    assert rows == [("i000",), ("i001",), ("i002",)]


def test_zero_vectors(db, vectors):
    db.ask("UPDATE pix.features SET vector = %s WHERE item_id = 'i007'", (psycopg2.Binary(bytes(128)),))
    rows = dict(db.ask("SELECT item_id, distance FROM pix.nearest('i000', 199, 'random')"))
    assert rows["i007"] == 1
    fails_with(db, "PX031", "SELECT * FROM pix.nearest('i007', 3, 'random')", role="rita")
    fails_with(db, "PX031", "SELECT * FROM pix.nearest_many(ARRAY['i000', 'i007'], 3, 'random')", role="rita")
    assert len(db.ask("SELECT * FROM pix.nearest('i007', 3, 'random', 'euclidean')")) == 3


@pytest.mark.parametrize(
    ("sqlstate", "call"),
    [
        ("PX040", "nearest('nope')"),
        ("PX040", "nearest(NULL)"),
        ("PX041", "nearest('i000')"),
        ("PX020", "nearest('i000', 10, 'nope')"),
        ("PX003", "nearest('i000', 10, 'random', 'manhattan')"),
        ("PX003", "nearest('i000', 0, 'random')"),
        ("PX003", "nearest('i000', -1, 'random')"),
        ("PX003", "nearest('i000', NULL, 'random')"),
        ("PX040", "nearest_many(ARRAY['i000', 'nope'], 3, 'random')"),
        ("PX040", "nearest_many(ARRAY['i000', NULL], 3, 'random')"),
        ("PX040", "nearest_many(ARRAY[NULL]::text[], 3, 'random')"),
        ("PX040", "nearest_many(NULL, 3, 'random')"),
        ("PX041", "nearest_many(ARRAY['i000'])"),
        ("PX020", "nearest_many(ARRAY['i000'], 3, 'nope')"),
        ("PX003", "nearest_many(ARRAY['i000'], 3, 'random', 'manhattan')"),
        ("PX003", "nearest_many(ARRAY['i000'], 0, 'random')"),
        ("PX010", "nearest_to_image(NULL)"),
        ("PX010", "nearest_to_image('<html>')"),
        ("PX022", "nearest_to_image('x', 10, 'random')"),
    ],
    ids=lambda text: text,
)
def test_questions_without_an_answer(shared, with_vectors, sqlstate, call):
    fails_with(shared(with_vectors), sqlstate, f"SELECT * FROM pix.{call}", role="rita")


def test_vectors_of_another_length(db):
    db.ask("UPDATE pix.features SET vector = '\\x0000803f' WHERE item_id = 'i007'")
    for call in (
        "nearest('i007', 3, 'random')", "nearest('i000', 3, 'random')",
        "nearest_many(ARRAY['i000', 'i007'], 3, 'random')", "nearest_many(ARRAY['i000'], 3, 'random')",
    ):  # fmt: skip
        fails_with(db, "PX030", f"SELECT * FROM pix.{call}", role="rita")


def test_image_finds_itself_first(extracted):
    item_id = extracted.value("SELECT max(item_id) FROM pix.images")
    rows = extracted.ask(
        "SELECT n.item_id, n.distance "
        "FROM pix.nearest_to_image((SELECT content FROM pix.images WHERE item_id = %s), 3) n",
        (item_id,),
        role="rita",
    )
    assert rows[0][0] == item_id
    assert rows[0][1] == pytest.approx(0, abs=1e-9)
    assert len(rows) == 3


def test_stale_features_are_not_compared(extracted):
    first, second = (row[0] for row in extracted.ask("SELECT item_id FROM pix.features ORDER BY 1 LIMIT 2"))
    extracted.ask("UPDATE pix.features SET model_checksum = 'older' WHERE item_id = %s", (first,))
    assert first not in dict(extracted.ask("SELECT item_id, rank FROM pix.nearest(%s, 60)", (second,)))
    error = fails_with(extracted, "PX041", "SELECT * FROM pix.nearest(%s)", (first,), role="rita")
    assert "extract_features" in error.diag.message_hint


def test_vectors_are_features(extracted):
    vector = from_bytes(bytes(extracted.value("SELECT vector FROM pix.features LIMIT 1")))
    assert np.isfinite(vector).all()


def test_command(extracted, boots):
    item_id = extracted.value("SELECT min(item_id) FROM pix.images")
    extracted.ask("UPDATE pix.items SET title = 'A boot'")
    by_item = extracted.pix("nearest", item_id, "-k", 3, role="rita").stdout
    assert by_item.count("A boot") == 3
    image = boots / "images" / f"{item_id}.jpg"
    assert item_id in extracted.pix("nearest", "--image", image, "-k", 1, role="rita").stdout
    other = extracted.value("SELECT max(item_id) FROM pix.images")
    both = extracted.pix("nearest", item_id, other, "-k", 2, role="rita").stdout
    assert both.count("A boot") == 4
    assert f"look-alikes of {other}" in both
    neither = extracted.pix("nearest", check=False)
    assert neither.returncode == 1
    assert "--image" in neither.stderr


@pytest.mark.slow
def test_real_photographs_by_label(photographs):
    """Precision@10 by folder on 3,068 photographs with MobileNet's features."""
    db = photographs
    truth = dict(db.ask("SELECT item_id, label FROM pix.labels"))
    connection = db.connect("rita")
    same = []
    with connection.cursor() as cursor:
        for item_id in sorted(truth)[::5]:
            cursor.execute("SELECT item_id FROM pix.nearest(%s, 10, 'mobilenet')", (item_id,))
            same += [truth[results] == truth[item_id] for (results,) in cursor]
    assert np.mean(same) >= 0.50
