"""Blocks: what is packed, counted, and taken out again."""

import numpy as np
import psycopg2
import pytest

from tests.helpers import fails_with

COUNTS = """
SELECT p.items, p.blocks, (SELECT count(*) FROM pix_internal.feature_blocks b WHERE b.model_name = p.model_name),
    (SELECT sum(cardinality(b.item_ids)) FROM pix_internal.feature_blocks b WHERE b.model_name = p.model_name)
FROM pix_internal.packs p WHERE p.model_name = %s
"""


def packed_vectors(db, model_name: str, dimensions: int) -> dict[str, bytes]:
    """What the blocks hold, item by item."""
    results = {}
    for item_ids, vectors in db.query(
        "SELECT item_ids, vectors FROM pix_internal.feature_blocks WHERE model_name = %s", (model_name,)
    ):
        assert len(vectors) == len(item_ids) * dimensions * 4
        for number, item_id in enumerate(item_ids):
            assert item_id not in results
            results[item_id] = bytes(vectors)[number * dimensions * 4 : (number + 1) * dimensions * 4]
    return results


def test_what_is_packed_is_what_is_there(catalogue):
    db = catalogue.db
    assert packed_vectors(db, "clouds", 48) == {name: vector.tobytes() for name, vector in catalogue.vectors.items()}
    items, blocks, stored_blocks, entries = db.query(COUNTS, ("clouds",))[0]
    assert (items, entries) == (2000, 2000)
    assert blocks == stored_blocks
    positions = db.query("SELECT count(DISTINCT (block, position)), max(position) FROM pix.features")
    assert positions[0][0] == 2000
    assert positions[0][1] <= 1000


def test_incremental_and_without_ghosts(catalogue):
    db = catalogue.db
    assert db.query("SELECT added, removed, items FROM pix.pack_features('clouds')") == [(0, 0, 2000)]
    added = catalogue.add(range(2000, 2030))
    changed = catalogue.add(range(100, 120))
    catalogue.remove([f"c{n:04}" for n in range(300, 310)])
    assert db.query("SELECT added, removed, items FROM pix.pack_features('clouds')") == [(50, 30, 2020)]
    assert packed_vectors(db, "clouds", 48) == {name: vector.tobytes() for name, vector in catalogue.vectors.items()}
    new = db.query("SELECT item_id FROM pix.features WHERE packed_in = 2 ORDER BY 1")
    assert [item_id for (item_id,) in new] == sorted(added + changed)


def test_whole_blocks_stay_as_they_are(catalogue):
    db = catalogue.db
    before = dict(db.query("SELECT checksum, items FROM pix_internal.feature_blocks"))
    catalogue.add(range(2000, 2010))
    db.query("SELECT pix.pack_features('clouds')")
    after = dict(db.query("SELECT checksum, items FROM pix_internal.feature_blocks"))
    assert {checksum for checksum, items in before.items() if items >= 500} <= set(after)


def test_small_blocks_are_joined(catalogue):
    db = catalogue.db
    for number in range(2000, 2005):
        catalogue.add([number])
        db.query("SELECT pix.pack_features('clouds')")
    per_segment = 2 * max(1, db.value("SELECT count(*) FROM pix_internal.feature_blocks WHERE items < 500"))
    assert db.value("SELECT count(*) FROM pix_internal.feature_blocks") <= 2 + per_segment


def test_everything_is_spread_over_segments(catalogue, segments):
    rows = catalogue.db.query("SELECT DISTINCT gp_segment_id FROM pix_internal.feature_blocks")
    assert len(rows) > 1


def test_image_that_changes_leaves_its_block(extracted, boots):
    assert extracted.query("SELECT items FROM pix_internal.packs") == [(60,)]
    images = sorted((boots / "images").iterdir())
    name, other = images[0].stem, images[1]
    extracted.query("UPDATE pix.images SET content = %s WHERE item_id = %s", (other.read_bytes() + b" ", name))
    fails_with(extracted, "PX041", "SELECT * FROM pix.nearest(%s)", (name,))
    neighbors = extracted.query("SELECT item_id FROM pix.nearest(%s, 60)", (other.stem,))
    assert len(neighbors) == 58
    assert (name,) not in neighbors
    assert extracted.query("SELECT added, removed, items FROM pix.pack_features()") == [(0, 1, 59)]
    extracted.query("CALL pix.extract_features()")
    assert extracted.query("SELECT items FROM pix_internal.packs") == [(60,)]
    first = extracted.query("SELECT item_id, distance FROM pix.nearest(%s, 1)", (other.stem,))
    assert first == [(name, pytest.approx(0, abs=1e-6))]


def test_model_imported_again_starts_anew(extracted):
    extracted.query("UPDATE pix.models SET checksum = repeat('a', 64) WHERE model_name = 'mini_inception'", role=None)
    assert extracted.query("SELECT added, removed, items, blocks FROM pix.pack_features('mini_inception')") == [
        (0, 60, 0, 0)
    ]
    assert extracted.value("SELECT count(*) FROM pix_internal.feature_blocks") == 0


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_number_that_is_none(catalogue, damage):
    vector = np.full(48, damage, np.float32)
    catalogue.db.query(
        "UPDATE pix.features SET vector = %s WHERE item_id = 'c0007'", (psycopg2.Binary(vector.tobytes()),)
    )
    error = fails_with(catalogue.db, "PX030", "SELECT pix.pack_features('clouds')", role="ada")
    assert "c0007" in error.diag.message_primary
    fails_with(catalogue.db, "PX030", "SELECT * FROM pix.nearest('c0001', 3, 'clouds')")
    assert catalogue.db.value("SELECT items FROM pix_internal.packs") == 2000


def test_vector_of_other_dimensions(catalogue):
    catalogue.db.query("UPDATE pix.features SET vector = '\\x00000000' WHERE item_id = 'c0007'")
    error = fails_with(catalogue.db, "PX030", "SELECT pix.pack_features('clouds')", role="ada")
    assert "c0007" in error.diag.message_primary


def test_readers_do_not_pack(catalogue):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        catalogue.db.query("SELECT pix.pack_features('clouds')", role="rita")


def test_model_without_features(db):
    assert db.query("SELECT * FROM pix.pack_features('mini_inception')") == [(0, 0, 0, 0)]


def test_nothing_is_left_of_a_dropped_model(catalogue):
    db = catalogue.db
    db.query("SELECT pix.build_index('fast', 'clouds', 'exact')")
    db.query("CALL pix.build_neighbor_graph('clouds', 2)")
    db.query("SELECT pix.drop_model('clouds')")
    for table in (
        "pix.features", "pix_internal.packs", "pix_internal.feature_blocks", "pix.indexes", "pix_internal.index_parts",
        "pix.neighbors", "pix.neighbor_graphs",
    ):  # fmt: skip
        assert db.value(f"SELECT count(*) FROM {table}", role=None) == 0, table


def test_extraction_and_loading_pack(extracted, tmp_path):
    assert extracted.query("SELECT items FROM pix_internal.packs WHERE model_name = 'mini_inception'") == [(60,)]
    vectors = np.random.default_rng(3).normal(size=(5, 8)).astype("<f4")
    content = b"".join(b"B%09d" % n + vector.tobytes() for n, vector in enumerate(vectors))
    (tmp_path / "features.b").write_bytes(content)
    extracted.pix("load", "features", tmp_path / "features.b", "--model", "elsewhere", "--dimensions", 8)
    assert extracted.query("SELECT items FROM pix_internal.packs WHERE model_name = 'elsewhere'") == [(5,)]


def test_blocks_that_are_empty_now(catalogue):
    """All is taken out, packed, and other features come."""
    db = catalogue.db
    catalogue.remove(sorted(catalogue.vectors))
    assert db.query("SELECT removed, items, blocks FROM pix.pack_features('clouds')") == [(2000, 0, 0)]
    numbers = [1.0] * 48
    assert db.query("SELECT * FROM pix.nearest_to_vector(%s::real[], 5, 'clouds')", (numbers,)) == []
    catalogue.add([5, 6])
    rows = db.query("SELECT item_id FROM pix.nearest('c0005', 5, 'clouds')")
    assert rows == [("c0006",)]


def test_same_vectors_in_other_blocks(catalogue):
    """A session that has mapped blocks before they were numbered again."""
    db = catalogue.db
    reader = db.connect("rita")
    ask = "SELECT item_id, distance FROM pix.nearest('c0000', 5, 'clouds')"
    with reader.cursor() as cursor:
        cursor.execute(ask)
        before = cursor.fetchall()
        db.query("DELETE FROM pix.features WHERE item_id <> 'c0000'")
        db.query("UPDATE pix.features SET vector = %s", (psycopg2.Binary(bytes(48 * 4)),))
        db.query("SELECT pix.pack_features('clouds')")
        catalogue.store(sorted(catalogue.vectors))
        db.query("SELECT pix.pack_features('clouds')")
        cursor.execute(ask)
        assert cursor.fetchall() == before
