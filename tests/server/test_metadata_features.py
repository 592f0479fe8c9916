"""Models whose vectors are those of another with metadata appended."""

import numpy as np
import psycopg2
import pytest

from pixload.migration import migrate
from tests.helpers import fails_with, refuses

FRESH = "SELECT count(*) FROM pix.current_features WHERE model_name = %s"


@pytest.fixture
def shop(extracted, boots):
    """Features and metadata of the drawn boots."""
    extracted.pix("load", "metadata", boots / "metadata.json.gz")
    return extracted


def vectors(db, model_name: str) -> dict[str, np.ndarray]:
    rows = db.ask("SELECT item_id, vector FROM pix.current_features WHERE model_name = %s", (model_name,))
    return {item_id: np.frombuffer(vector, "<f4").astype(float) for item_id, vector in rows}


def root_mean_square(lengths) -> float:
    return np.sqrt(np.mean(np.square(lengths)))


def test_metadata_follow_the_image(shop):
    ((dimensions, items, base, fitted_state),) = shop.ask(
        "SELECT dimensions, items, base_model, fitted_state "
        "FROM pix.fit_metadata('more', fields => '{brand,price}', weight => 2)"
    )
    images, together = vectors(shop, "mini_inception"), vectors(shop, "more")
    assert (items, base, len(together)) == (60, "mini_inception", 60)
    assert shop.value("SELECT dimensions FROM pix.models WHERE model_name = 'more'") == 288 + dimensions
    for item_id, vector in together.items():
        assert vector[:288].tolist() == images[item_id].tolist()
        assert len(vector) == 288 + dimensions
    lengths = [np.linalg.norm(vector[288:]) for vector in together.values()]
    assert root_mean_square(lengths) == pytest.approx(
        2 * root_mean_square([np.linalg.norm(vector) for vector in images.values()]), rel=1e-5
    )

    brands, prices = fitted_state["blocks"]
    stored = shop.ask("SELECT item_id, brand, price::double precision FROM pix.items")
    logarithms = [np.log1p(price) for _, _, price in stored if price is not None]
    assert len(logarithms) < 60  # some lack a price
    assert [prices["mean"], prices["deviation"]] == pytest.approx([np.mean(logarithms), np.std(logarithms)])
    for item_id, brand, price in stored:
        expected = [float(brand == value) for value in brands["values"]]
        expected += [0, 1] if price is None else [(np.log1p(price) - prices["mean"]) / prices["deviation"], 0]
        assert together[item_id][288:] / fitted_state["scale"] == pytest.approx(expected, abs=1e-5)


def test_neighbors_share_what_weighs(shop):
    shop.ask("SELECT pix.fit_metadata('brands', fields => '{brand}', weight => 30)")
    brands = dict(shop.ask("SELECT item_id, brand FROM pix.items WHERE brand IS NOT NULL"))
    brand = max(set(brands.values()), key=list(brands.values()).count)
    same = {item_id for item_id, other in brands.items() if other == brand}
    assert 3 < len(same) < 30
    query = min(same)
    results = shop.ask(
        "SELECT item_id FROM pix.nearest(%s, %s, 'brands') ORDER BY rank", (query, len(same) - 1), role="rita"
    )
    assert {item_id for (item_id,) in results} == same - {query}
    by_image = shop.ask(
        "SELECT item_id FROM pix.nearest(%s, 59, 'mini_inception') ORDER BY rank", (query,), role="rita"
    )
    assert {item_id for (item_id,) in by_image[: len(results)]} != same - {query}


def test_all_that_takes_a_model_takes_it(shop, boots):
    shop.pix("load", "labels", boots / "labels.csv")
    shop.ask("SELECT pix.fit_metadata('more')")
    assert shop.ask("SELECT items FROM pix.fit_clusters('both', 'more', k => 4)") == [(60,)]
    assert shop.ask("SELECT items FROM pix.fit_map('both', 'more')") == [(60,)]
    assert shop.ask("SELECT items FROM pix.build_index('both', 'more')") == [(60,)]
    assert shop.ask("SELECT items FROM pix.train_classifier('heels', 'heel', 'more')") == [(60,)]
    # Lists within lists are looked into, and every boot is one.
    values = shop.value(
        "SELECT block -> 'values' FROM pix.metadata_models, jsonb_array_elements(fitted_state -> 'blocks') block "
        "WHERE block ->> 'field' = 'categories'",
        role="rita",
    )
    assert {"Boots", "Shoes", "Women"} < set(values)
    # Again upon itself.
    ((dimensions, base_checksum),) = shop.ask(
        "SELECT dimensions, base_checksum FROM pix.fit_metadata('twice', 'more', '{price}')"
    )
    assert dimensions == 2
    assert base_checksum == shop.value("SELECT checksum FROM pix.models WHERE model_name = 'more'")


def test_another_design_is_noticed_and_the_same_is_not(shop):
    shop.ask("SELECT pix.fit_metadata('more', fields => '{price}')")
    shop.ask("SELECT pix.fit_clusters('both', 'more', k => 4)")
    shop.ask("SELECT pix.build_index('both', 'more')")
    kept = shop.ask("SELECT item_id, packed_in, xmin::text FROM pix.features WHERE model_name = 'more' ORDER BY 1")
    shop.ask("SELECT pix.fit_metadata('more', fields => '{price}')")
    assert kept == shop.ask(
        "SELECT item_id, packed_in, xmin::text FROM pix.features WHERE model_name = 'more' ORDER BY 1"
    )
    assert shop.ask("SELECT usable FROM pix.clustering_status") == [(True,)]

    shop.ask("SELECT pix.fit_metadata('more', fields => '{price,title}')")
    assert shop.value(FRESH, ("more",)) == 60
    assert shop.ask("SELECT usable FROM pix.clustering_status") == [(False,)]
    refuses(shop, "PX103", "SELECT pix.refresh_clusters('both')", "'both'")
    item_id = min(vectors(shop, "more"))
    refuses(shop, "PX092", f"SELECT pix.nearest('{item_id}', index_name => 'both')", "'both'")
    assert len(shop.ask("SELECT pix.nearest(%s, 59, 'more')", (item_id,))) == 59
    assert shop.value("SELECT count(*) FROM pix.metadata_models") == 1


def test_extending(shop, tmp_path):
    ids = sorted(item_id for (item_id,) in shop.ask("SELECT item_id FROM pix.images"))
    gone, new, changed, repriced, untouched = ids[0], *ids[-4:]
    shop.ask("CREATE TABLE pg_temp.kept AS SELECT * FROM pix.images WHERE item_id = %s", (new,))
    shop.ask("DELETE FROM pix.images WHERE item_id = %s", (new,))
    shop.ask("CALL pix.extract_features()")
    assert shop.ask("SELECT items FROM pix.fit_metadata('more')") == [(59,)]
    ((checksum, fitted_state),) = shop.ask(
        "SELECT m.checksum, d.fitted_state FROM pix.models m JOIN pix.metadata_models d USING (model_name)"
    )
    before = vectors(shop, "more")
    assert shop.ask("SELECT pix.refresh_metadata('more')") == [(0,)]

    shop.ask("INSERT INTO pix.images (item_id, content) SELECT item_id, content FROM pg_temp.kept")
    shop.ask("DELETE FROM pix.images WHERE item_id = %s", (gone,))
    shop.ask(
        "UPDATE pix.images SET content = (SELECT content FROM pix.images WHERE item_id = %s) WHERE item_id = %s",
        (untouched, changed),
    )
    assert shop.value(FRESH, ("more",)) == 57  # what is not so any more is not found
    shop.ask("CALL pix.extract_features()")
    file = tmp_path / "metadata.csv"
    file.write_text(f"item_id,price,title,brand\n{repriced},12345,,\n")
    shop.pix("load", "metadata", file)
    assert shop.pix("model", "refresh-metadata", "more").stdout == "more: 3 vectors made\n"

    after, images = vectors(shop, "more"), vectors(shop, "mini_inception")
    assert after.keys() == images.keys() == {*ids} - {gone}
    assert all(vector[:288].tolist() == images[item_id].tolist() for item_id, vector in after.items())
    assert after[untouched].tolist() == before[untouched].tolist()
    assert after[changed][:288].tolist() == after[untouched][:288].tolist()
    assert after[changed][288:].tolist() == before[changed][288:].tolist()
    price = fitted_state["blocks"][0]
    assert price["field"] == "price"
    assert after[repriced][288] / fitted_state["scale"] == pytest.approx(
        (np.log(12346) - price["mean"]) / price["deviation"], rel=1e-5
    )
    assert after[new][288:].any()
    assert shop.ask("SELECT items, fitted_state FROM pix.metadata_models") == [(59, fitted_state)]
    assert shop.value("SELECT checksum FROM pix.models WHERE model_name = 'more'") == checksum
    assert shop.value("SELECT count(*) FROM pix.features WHERE model_name = 'more' AND packed_in IS NULL") == 0


def test_features_of_a_file_in_chunks(catalogue):
    """12,290 numbers of metadata an item: 1,365 items at once."""
    db = catalogue.db
    db.ask(
        """
        UPDATE pix.items i SET title = w.title, categories = w.list, related = jsonb_build_object('also_viewed', w.list)
        FROM (
            SELECT item_id, string_agg('w' || n, ' ') AS title, jsonb_agg('w' || n) AS list
            FROM pix.items, generate_series(5 * substr(item_id, 2)::integer, 5 * substr(item_id, 2)::integer + 9) n
            GROUP BY item_id
        ) w
        WHERE w.item_id = i.item_id
        """
    )
    db.ask("DELETE FROM pix.items WHERE item_id = 'c0007'")
    ((dimensions, items, checksum, empty),) = db.ask(
        "SELECT dimensions, items, base_checksum, fitted_state -> 'empty' "
        "FROM pix.fit_metadata('more', 'clouds', '{price,categories,related,title}', terms => 4096)"
    )
    assert (dimensions, items, checksum, empty) == (2 + 3 * 4096, 2000, None, [])
    together = vectors(db, "more")
    assert all(vector[:48].tolist() == catalogue.vectors[item_id].tolist() for item_id, vector in together.items())
    assert np.flatnonzero(together["c0007"][48:]).tolist() == [1]  # not in the catalogue: its price is missing
    assert np.count_nonzero(together["c1999"][48:50]) == 1


def test_base_that_was_imported_again(shop):
    shop.ask("SELECT pix.fit_metadata('more')")
    shop.ask("UPDATE pix.models SET checksum = 'other' WHERE model_name = 'mini_inception'", role=None)
    refuses(shop, "PX154", "SELECT pix.refresh_metadata('more')", "'mini_inception' was imported again")
    assert shop.value(FRESH, ("more",)) == 60
    shop.ask("SELECT pix.drop_model('mini_inception')")
    refuses(shop, "PX020", "SELECT pix.refresh_metadata('more')", "'mini_inception'")


def test_foreign_base_of_other_dimensions(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_metadata('more', 'clouds', '{brand}')")
    db.ask("UPDATE pix.models SET dimensions = 47 WHERE model_name = 'clouds'", role=None)
    refuses(db, "PX154", "SELECT pix.refresh_metadata('more')", "'clouds' was imported again")


def test_it_has_no_network(shop, tmp_path):
    shop.ask("SELECT pix.fit_metadata('more')")
    refuses(shop, "PX022", "SELECT pix.embed(content, 'more') FROM pix.images LIMIT 1", "with metadata")
    refuses(shop, "PX022", "CALL pix.extract_features('more')", "with metadata")
    assert shop.ask("SELECT FROM pix.pending_images WHERE model_name = 'more'") == []
    assert shop.ask("SELECT model_name FROM pix.extraction_progress") == [("mini_inception",)]
    file = tmp_path / "features.b"
    file.write_bytes(b"ABCDEFGHIJ" + np.ones(288, "<f4").tobytes())
    refused = shop.pix("load", "features", file, "--model", "more", "--dimensions", 288, check=False)
    assert "'more' was imported, or made by pix.fit_metadata" in refused.stderr
    assert "more" in shop.pix("model", "list").stdout


def test_a_network_under_its_name_replaces_it(shop):
    shop.ask("SELECT pix.fit_metadata('more')")
    checksum = shop.value("SELECT checksum FROM pix.models WHERE model_name = 'mini_inception'")
    shop.ask("SELECT pix.register_model('more', %s, 'test')", (checksum,))
    assert shop.value("SELECT count(*) FROM pix.metadata_models") == 0
    assert shop.value(FRESH, ("more",)) == 0
    refuses(shop, "PX152", "SELECT pix.refresh_metadata('more')", "'more' has no metadata")


def test_dropping(shop):
    shop.ask("SELECT pix.fit_metadata('more')")
    shop.ask("SELECT pix.drop_model('more')")
    assert shop.value("SELECT count(*) FROM pix.metadata_models") == 0


BAD_ARGUMENTS = [
    ("PX020", "'more', 'nothing'", "'nothing'"),
    ("PX095", "'more', 'empty'", "'empty'"),
    ("PX003", "'more', fields => '{}'", "fields must be some of"),
    ("PX003", "'more', fields => NULL", "fields must be some of"),
    ("PX003", "'more', fields => '{price,color}'", "'color'"),
    ("PX003", "'more', fields => '{price,NULL}'", "NULL"),
    ("PX003", "'more', weight => 0", "weight must be above 0"),
    ("PX003", "'more', weight => -1", "not -1.0"),
    ("PX003", "'more', weight => 'NaN'", "not nan"),
    ("PX003", "'more', weight => 'Infinity'", "not inf"),
    ("PX003", "'more', weight => NULL", "weight must be"),
    ("PX003", "'more', terms => 0", "terms must be"),
    ("PX003", "'more', terms => 4097", "not 4097"),
    ("PX003", "'more', terms => NULL", "terms must be"),
    ("PX152", "'mini_inception'", "must be a new name, not that of the base model, 'mini_inception'"),
    ("PX152", "'mini_inception', 'foreign'", "'mini_inception' has a graph"),
    ("PX152", "'foreign'", "features of its own"),
    ("PX003", "''", "must be a name of 1 to 200 bytes, not empty"),
    ("PX003", "NULL", "must be a name of 1 to 200 bytes, not NULL"),
    ("PX003", "repeat('x', 201)", "must be a name of 1 to 200 bytes, not one of 201"),
    ("PX153", "'more'", "price, brand, categories, related, title"),
]  # fmt: skip


def test_bad_arguments(extracted):
    """Of items without metadata."""
    extracted.ask(
        "INSERT INTO pix.models (model_name, dimensions, source) VALUES ('foreign', 2, 'test'), ('empty', 2, 'test')"
    )
    extracted.ask(
        "INSERT INTO pix.features (item_id, model_name, vector) VALUES ('i', 'foreign', '\\x0000803f0000803f')"
    )
    for sqlstate, arguments, message in BAD_ARGUMENTS:
        refuses(extracted, sqlstate, f"SELECT pix.fit_metadata({arguments})", message)
    assert extracted.value("SELECT count(*) FROM pix.models") == 3


def test_only_what_has_metadata_is_extended(db):
    for sqlstate, name, message in (
        ("PX020", "'nothing'", "'nothing'"),
        ("PX152", "'mini_inception'", "has no metadata"),
        ("PX152", "NULL", "has no metadata"),
    ):
        refuses(db, sqlstate, f"SELECT pix.refresh_metadata({name})", message)


def test_only_admins_make_models(shop):
    shop.ask("SELECT pix.fit_metadata('more')")
    for role in ("rita", "adam"):
        for call in ("fit_metadata('other')", "refresh_metadata('more')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                shop.ask(f"SELECT pix.{call}", role=role)
        assert shop.value("SELECT count(*) FROM pix.metadata_models", role=role) == 1


def test_command(shop):
    shop.ask("UPDATE pix.items SET related = NULL")
    output = shop.pix("model", "fit-metadata", "more", "--field", "price", "--field", "related", "--weight", 0.5).stdout
    assert output == (
        "more: 2 numbers of metadata appended to the mini_inception features of 60 items\n"
        "  no items have anything in common in: related\n"
    )
    assert shop.ask("SELECT weight, terms, fields FROM pix.metadata_models") == [(0.5, 256, ["price", "related"])]
    refused = shop.pix("model", "fit-metadata", "more", "--base", "nothing", check=False)
    assert refused.returncode == 1
    assert "'nothing' is not known" in refused.stderr


def test_values_that_are_odd(extracted):
    """Numbers without end, JSON of any shape."""
    extracted.ask(
        'UPDATE pix.items SET price = 10, brand = \'x\', categories = \'[["a", 1, null, {"k": ["b"]}], "a"]\''
    )
    ids = [item_id for (item_id,) in extracted.ask("SELECT item_id FROM pix.items ORDER BY 1")]
    for item_id, price in zip(ids, ["'NaN'", "-5", "NULL"], strict=False):
        extracted.ask(f"UPDATE pix.items SET price = {price} WHERE item_id = %s", (item_id,))
    deep = "[" * 5000 + '"a"' + "]" * 5000
    extracted.ask("UPDATE pix.items SET categories = %s::jsonb WHERE item_id = %s", (deep, ids[0]))
    extracted.ask("UPDATE pix.items SET related = '7' WHERE item_id = %s", (ids[1],))
    fitted_state = extracted.value("SELECT fitted_state FROM pix.fit_metadata('more')")
    assert fitted_state["blocks"][2]["values"] == ["a", "b"]
    assert fitted_state["empty"] == ["related", "title"]
    missing = {item_id for item_id, vector in vectors(extracted, "more").items() if vector[289]}
    assert missing == set(ids[:3])
    fails_with(extracted, "PX003", "SELECT pix.fit_metadata('more', fields => '{{price}}')")


def test_older_versions_take_it_for_loaded_features(shop):
    shop.ask("SELECT pix.fit_metadata('more', fields => '{brand}')")
    before = vectors(shop, "more")
    shop.forget_sessions()
    migrate(shop.dsn(), "0006")
    assert shop.ask("SELECT checksum FROM pix.models WHERE model_name = 'more'", role=None) == [(None,)]
    migrate(shop.dsn())
    assert {key: vector.tolist() for key, vector in vectors(shop, "more").items()} == {
        key: vector.tolist() for key, vector in before.items()
    }
    refuses(shop, "PX022", "SELECT pix.embed(content, 'more') FROM pix.images LIMIT 1", "loaded from a file")
    assert len(shop.ask("SELECT pix.nearest(%s, 59, 'more')", (min(before),))) == 59
