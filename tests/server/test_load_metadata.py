"""Metadata, labels and foreign features into the database."""

import gzip
import json
import struct

import pytest


def test_drawn_catalogue(db, boots):
    result = db.pix("load", "metadata", boots / "metadata.json.gz")
    assert result.stdout == "60 new, 0 changed, 0 unchanged, 0 rejected\n"
    assert db.pix("load", "metadata", boots / "metadata.json.gz").stdout.startswith("0 new, 0 changed, 60 unchanged")
    row = db.ask("SELECT title, sales_rank ->> 'Shoes', categories FROM pix.items ORDER BY item_id LIMIT 1")[0]
    assert "Boot" in row[0]
    assert int(row[1]) > 0
    assert isinstance(row[2], list)


def test_labels(db, boots):
    first = db.pix("load", "labels", boots / "labels.csv").stdout
    assert first.startswith(f"{60 * 7} new, 0 changed")
    assert db.value("SELECT count(DISTINCT label_set) FROM pix.labels") == 7
    assert db.pix("load", "labels", boots / "labels.csv").stdout.startswith(f"0 new, 0 changed, {60 * 7} unchanged")


def test_bad_labels(db, tmp_path):
    (tmp_path / "labels.csv").write_text(
        f"item_id,label_set,label\na,kind,hat\n,kind,hat\nb,,hat\nc,kind,\nd,{'x' * 300},y\n"
    )
    result = db.pix("load", "labels", "labels.csv", cwd=tmp_path)
    assert result.stdout.startswith("1 new, 0 changed, 0 unchanged, 4 rejected")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    refused = db.pix("load", "labels", "other.csv", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "item_id,label_set,label" in refused.stderr


def test_labels_as_one_key_a_line(db, tmp_path, data):
    output = db.pix("load", "labels", data / "boots" / "labels.txt", "--label-set", "color", cwd=tmp_path).stdout
    assert output.startswith("60 new, 0 changed, 0 unchanged, 0 rejected")
    assert db.value("SELECT label FROM pix.labels WHERE item_id = 'B00GTZJF5Q' AND label_set = 'color'") == "Brown"


def test_label_set_of_rows_that_name_none(db, tmp_path):
    (tmp_path / "labels.csv").write_text("item_id,label\na,hat\nb,boot\n")
    assert "label_set" in db.pix("load", "labels", "labels.csv", cwd=tmp_path, check=False).stderr
    db.pix("load", "labels", "labels.csv", "--label-set", "kind", cwd=tmp_path)
    (tmp_path / "mixed.jsonl").write_text(
        '{"a": "red"}\n{"item_id": "b", "label_set": "own", "label": "blue"}\n{"c": ""}\n'
    )
    output = db.pix("load", "labels", "mixed.jsonl", "--label-set", "color", cwd=tmp_path).stdout
    assert output.startswith("2 new, 0 changed, 0 unchanged, 1 rejected")
    assert db.ask("SELECT item_id, label_set, label FROM pix.labels ORDER BY 1, 2") == [
        ("a", "color", "red"),
        ("a", "kind", "hat"),
        ("b", "kind", "boot"),
        ("b", "own", "blue"),
    ]


def test_bad_lines_of_labels_stop_nothing(db, tmp_path):
    (tmp_path / "labels.jsonl").write_text(
        '{"a": "hat", "b": "boot"}\n{"c": "boot"}\n{"d": 0}\n{"e": false}\n{"f": ["x"]}\n{"g": null}\n'
        f'{{"h": "{"x" * 501}"}}\n'
    )
    output = db.pix("load", "labels", "labels.jsonl", "--label-set", "kind", cwd=tmp_path).stdout
    assert output.startswith("2 new, 0 changed, 0 unchanged, 5 rejected")
    assert db.ask("SELECT item_id, label FROM pix.labels ORDER BY 1") == [("c", "boot"), ("d", "0")]


def test_metadata_joins_images(loaded, boots):
    loaded.pix("load", "metadata", boots / "metadata.json.gz")
    joined = "SELECT count(*) FROM pix.items JOIN pix.images USING (item_id) WHERE title IS NOT NULL"
    assert loaded.value(joined, role="rita") == 60


def test_changed_and_filtered(db, tmp_path):
    items = [{"asin": "A1", "title": "Boots", "price": 10.5}, {"asin": "A2", "title": "Sandals"}]
    (tmp_path / "a.json").write_text("\n".join(map(repr, items)))
    assert db.pix("load", "metadata", tmp_path / "a.json", "--where-title", "BOOT").stdout.startswith("1 new")
    items[0]["price"] = 12
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, items)))
    assert db.pix("load", "metadata", tmp_path / "a.json").stdout.startswith("1 new, 1 changed, 0 unchanged")
    assert db.ask("SELECT item_id, price FROM pix.items ORDER BY 1") == [("A1", 12), ("A2", None)]


def test_lines_that_cannot_be_stored(db, tmp_path):
    lines = [
        repr({"asin": "A1", "title": "It's a boot", "related": {"also_bought": ["A2"]}}),
        repr({"asin": "A2", "title": "cut in the middle"})[:-12],
        '{"asin": "A3", "title": "half a surrogate \\ud800"}',
        '{"asin": "A4", "attributes_of_mine": NaN}',
        '{"asin": "A5", "title": "nul \\u0000"}',
        '{"title": "no id"}',
        '{"asin": "A1", "title": "again"}',
        "['not', 'a', 'dict']",
        '{"asin": "A6", "title": "good"}',
    ]
    (tmp_path / "meta.json").write_text("\n".join(lines))
    result = db.pix("load", "metadata", "meta.json", cwd=tmp_path)
    assert result.stdout.startswith("3 new, 0 changed, 0 unchanged, 6 rejected")
    stored = db.ask("SELECT item_id, title, attributes FROM pix.items ORDER BY 1")
    assert stored == [("A1", "It's a boot", None), ("A4", None, None), ("A6", "good", None)]
    assert "A1" in (tmp_path / "pix-rejects.csv").read_text()


def test_truncated_gzip_keeps_the_rows_before(db, tmp_path):
    lines = "".join(f"{ {'asin': f'A{n:05}', 'title': f'item {n * 7919}'}!r}\n" for n in range(20_000))
    content = gzip.compress(lines.encode())
    (tmp_path / "meta.json.gz").write_bytes(content[: len(content) * 3 // 4])
    result = db.pix("load", "metadata", "meta.json.gz", cwd=tmp_path)
    assert result.stdout.endswith("1 rejected (reasons in pix-rejects.csv)\n")
    assert db.value("SELECT count(*) FROM pix.items") > 1000


def test_real_boots(db, data):
    result = db.pix("load", "metadata", data / "boots" / "metadata_women.csv")
    assert result.stdout == "3,696 new, 0 changed, 0 unchanged, 0 rejected\n"
    row = db.ask("SELECT title, related -> 'bought_together' FROM pix.items WHERE item_id = 'B007KHXTXQ'")[0]
    assert row == ("MuckBoots Women's Stroll Boot,Black/Fuschia,6 M US Womens", ["B008RKEDZS", "B000WH4SWM"])


def records(*items: tuple[bytes, list[float]]) -> bytes:
    return b"".join(item_id + struct.pack(f"<{len(vector)}f", *vector) for item_id, vector in items)


def test_foreign_features(db, tmp_path):
    path = tmp_path / "features.b"
    path.write_bytes(records((b"B000000001", [1, 0, 0]), (b"B000000002", [1, 1, 0]), (b"B000000003", [0, 0, 1])))
    load = ("load", "features", path, "--model", "amazon", "--dimensions", 3)
    assert db.pix(*load).stdout == "3 new, 0 changed, 0 unchanged, 0 rejected\n"
    assert db.pix(*load).stdout == "0 new, 0 changed, 3 unchanged, 0 rejected\n"
    rows = db.ask("SELECT item_id FROM pix.nearest('B000000001', 2, 'amazon')", role="rita")
    assert rows == [("B000000002",), ("B000000003",)]
    assert "amazon" in db.pix("model", "list").stdout
    refused = db.pix("extract", "--model", "amazon", check=False)
    assert "has no graph" in refused.stderr


def test_features_file_that_ends_within_a_record(db, tmp_path):
    (tmp_path / "f.b").write_bytes(records((b"B000000001", [1, 0]), (b"B000000002", [1, float("nan")])) + b"B0000")
    result = db.pix("load", "features", "f.b", "--model", "amazon", "--dimensions", 2, cwd=tmp_path)
    assert result.stdout.startswith("1 new, 0 changed, 0 unchanged, 2 rejected")
    assert "5 bytes remain" in (tmp_path / "pix-rejects.csv").read_text()


@pytest.mark.parametrize(("name", "fault"), [("mini_inception", "was imported"), ("amazon", "dimensions")])
def test_features_under_a_name_that_is_taken(db, tmp_path, name, fault):
    (tmp_path / "f.b").write_bytes(records((b"B000000001", [1, 0])))
    db.pix("load", "features", tmp_path / "f.b", "--model", "amazon", "--dimensions", 2)
    refused = db.pix("load", "features", tmp_path / "f.b", "--model", name, "--dimensions", 3, check=False)
    assert refused.returncode == 1
    assert fault in refused.stderr
    assert "another --model" in refused.stderr
