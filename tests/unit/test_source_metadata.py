"""Metadata in the formats that it comes in, and what becomes of lines that are broken."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import time
import tracemalloc
import warnings
from decimal import Decimal
from pathlib import Path

import pytest

from pixload.sources.metadata import read_metadata
from pixload.sources.records import count_records
from pixload.sources.rows import Item, Reject

DATA = Path(__file__).parents[3] / "shared" / "data"

AMAZON = {
    "asin": "B0001",
    "title": "Women's &quot;Palma&quot; Boots &amp; more",
    "price": 1299.5,
    "imUrl": "http://example.com/a.jpg",
    "salesRank": {"Shoes": 12},
    "related": {"also_bought": ["B2", "B3"]},
    "categories": [["Shoes", "Boots"]],
    "brand": "Mary O&#39;Dell",
    "description": "It\\'s warm",
    "color": "red",
}
ITEM = Item(
    item_id="B0001",
    title='Women\'s "Palma" Boots & more',
    brand="Mary O'Dell",
    price=Decimal("1299.5"),
    image_url="http://example.com/a.jpg",
    categories=[["Shoes", "Boots"]],
    sales_rank={"Shoes": 12},
    related={"also_bought": ["B2", "B3"]},
    description="It\\'s warm",
    attributes={"color": "red"},
)


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def read(tmp_path: Path, *lines: str | bytes, title_word: str | None = None) -> list[Item | Reject]:
    return list(read_metadata(write(tmp_path / "meta", *lines), title_word))


@pytest.mark.parametrize("write_line", [repr, json.dumps], ids=["python", "json"])
def test_dict_lines(tmp_path, write_line):
    assert read(tmp_path, "", write_line(AMAZON), "") == [ITEM]


def test_gzip_is_told_by_content_and_progress_adds_up(tmp_path):
    path = tmp_path / "meta.json"
    lines = (repr({**AMAZON, "asin": f"B{i:04}", "noise": random.Random(i).random()}) for i in range(5000))
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    progress = []
    rows = list(read_metadata(path, on_bytes=progress.append))
    assert [row.item_id for row in rows] == [f"B{i:04}" for i in range(5000)]
    assert sum(progress) == path.stat().st_size
    assert 4 <= len(progress) <= 7


def test_newer_amazon_keys(tmp_path):
    line = json.dumps(
        {
            "asin": "B1", "title": "T", "category": ["Shoes"], "rank": ["5 in Shoes"], "also_buy": ["B2"],
            "imageURL": [], "imageURLHighRes": ["http://x/large.jpg"], "description": ["one", "two"],
            "price": "$1,234.50",
        }
    )  # fmt: skip
    [item] = read(tmp_path, line)
    assert (item.categories, item.sales_rank, item.price) == (["Shoes"], ["5 in Shoes"], Decimal("1234.50"))
    assert item.description == "one\ntwo"
    assert item.attributes["also_buy"] == ["B2"]


def test_the_first_of_several_images_is_taken(tmp_path):
    [item] = read(tmp_path, '{"asin": "B1", "imageURLHighRes": ["http://x/1.jpg", "http://x/2.jpg"]}')
    assert item.image_url == "http://x/1.jpg"


def test_csv(tmp_path):
    [item] = read(
        tmp_path,
        "\ufeffid,title,price,salesRank,related,categories,note",
        '''7,"""Women's, tall""","$1,299.00",{'Shoes': 5},"{'a': ['B1','B2']'b': ['B3']}",Boots,''',
    )
    assert item == Item(
        item_id="7",
        title="Women's, tall",
        price=Decimal("1299.00"),
        sales_rank={"Shoes": 5},
        related={"a": ["B1", "B2"], "b": ["B3"]},
        categories=["Boots"],
    )


def test_csv_cells_may_hold_line_breaks_and_errors_name_the_first_line(tmp_path):
    rows = read(tmp_path, "asin,title", 'A,"one\ntwo"', "B,x,too many", "C", "", "D,fine")
    assert rows[0].title == "one\ntwo"
    assert rows[1:3] == [
        Reject(f"{tmp_path}/meta:4", None, "the row has 3 cells, the header 2"),
        Reject(f"{tmp_path}/meta:5", None, "the row has 1 cells, the header 2"),
    ]
    assert rows[3].item_id == "D"


def test_csv_cell_that_cannot_be_parsed(tmp_path):
    [reject] = read(tmp_path, "asin,related", "A,\"{'a': ['B1'\"")
    assert (reject.source, reject.item_id) == (f"{tmp_path}/meta:2", "A")
    assert reject.reason.startswith("related: neither JSON nor a Python literal")


def test_csv_that_ends_within_quotes(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text('asin,title\nA,x\nB,"cut of')
    whole, cut = read_metadata(path)
    assert whole.item_id == "A"
    assert (cut.source, cut.reason) == (f"{path}:3", "unexpected end of data")


def test_quote_that_is_never_closed_swallows_no_more_than_a_field_can_hold(tmp_path):
    rows = read(tmp_path, "asin,title", 'A,"open', *(f"B{i},{'x' * 1000}" for i in range(200)))
    assert "field larger" in rows[0].reason
    assert rows[-1].item_id == "B199"


@pytest.mark.parametrize(
    ("price", "expected", "kept"),
    [
        ("$12.99", "12.99", None),
        ("1,234,567.5", "1234567.5", None),
        (".5", "0.5", None),
        ("$12.99 - $29.99", None, "$12.99 - $29.99"),
        ("1,2", None, "1,2"),
        ("free", None, "free"),
        ("NaN", None, None),
        ("", None, None),
        (float("nan"), None, None),
        (5, "5", None),
        (-1, None, -1),
    ],
)
def test_prices(tmp_path, price, expected, kept):
    [item] = read(tmp_path, json.dumps({"asin": "A", "price": price}))
    assert item.price == (expected and Decimal(expected))
    assert (item.attributes or {}).get("price") == kept


def test_structured_columns_are_never_text(tmp_path):
    [item] = read(tmp_path, '{"asin": "A", "rank": "2,000 in Shoes", "categories": "Boots", "related": true}')
    assert (item.sales_rank, item.categories, item.related) == (["2,000 in Shoes"], ["Boots"], [True])
    [item] = read(tmp_path, "asin,rank", "A,17")
    assert item.sales_rank == 17


BAD_LINES = [
    ("{'asin': 'X', 'title': 'cut of", "unterminated string literal"),
    ('{"asin": "X", "title": "cut of', "neither JSON nor a Python literal"),
    ("['not', 'a dict']", "not a dict"),
    ("plain words", "neither JSON"),
    ("{'title': 'no id'}", "the item_id is empty"),
    ("{'asin': ['X']}", "the item_id is not text"),
    ("{'asin': ''}", "the item_id is empty"),
    ("{'asin': '%s'}" % ("x" * 2001), "2,001 bytes"),
    (r"{'asin': 'a\x00'}", "the item_id contains a NUL character"),
    (r'{"asin": "\ud800"}', "the item_id is not valid Unicode"),
    (b"{'asin': 'X', 'title': '\xff'}", "not valid UTF-8"),
    ('{"asin": ' + "[" * 100_000, "nested too deeply"),
    ("{'asin': " + "-" * 100_000 + "1}", "nested too deeply"),
    ("{'asin': " + "1" + "+1" * 50_000 + "}", "nested too deeply"),
    ("{'asin': print()}", "not only plain values"),
    ("{['asin']: 1}", "not only plain values"),
    ("{'asin': 'X', 'a': %s}" % ("x" * (4 << 20)), "the line has more than 4,194,304 bytes"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_bad_lines_do_not_stop_the_others(tmp_path, line, reason):
    before, reject, after = read(tmp_path, "{'asin': 'A'}", line, "{'asin': 'B'}")
    assert (before.item_id, after.item_id) == ("A", "B")
    assert (reject.source, reject.item_id) == (f"{tmp_path}/meta:2", None)
    assert reason in reject.reason


BAD_VALUES = [
    (r"{'asin': 'X', 'related': {'a': ['\x00']}}", "a value contains a NUL character"),
    (r'{"asin": "X", "note": "\ud800"}', "a value is not valid Unicode"),
    ("{'asin': 'X', 'note': {1, 2}}", "cannot be stored as JSON"),
    ("{'asin': 'X', 'note': 0x1%s}" % ("0" * 5000), "cannot be stored as JSON"),
    ("{'asin': 'X', 'title': {'a': 1}}", "the title is not text"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_VALUES, ids=[reason for _, reason in BAD_VALUES])
def test_values_that_cannot_be_stored(tmp_path, line, reason):
    [reject] = read(tmp_path, line)
    assert reject.item_id == "X"
    assert reason in reject.reason


def test_backslashes_are_not_taken_for_nul_characters(tmp_path):
    line = json.dumps({"asin": "X", "title": r"a\u0000b", "note": "\\\\u0000"})
    [item] = read(tmp_path, line)
    assert (item.title, item.attributes) == (r"a\u0000b", {"note": "\\\\u0000"})


def test_unknown_escapes_cause_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [item] = read(tmp_path, r"{'asin': 'X', 'title': 'a\d'}")
    assert item.title == r"a\d"


def test_infinite_and_missing_numbers_become_nothing(tmp_path):
    [item] = read(tmp_path, '{"asin": "A", "salesRank": {"a": NaN}, "x": 1e999, "y": null, "z": "", "related": NaN}')
    assert item == Item("A", sales_rank={"a": None})


def test_csv_line_that_is_not_utf8(tmp_path):
    rows = read(tmp_path, "asin,title", b"A,\xff", "B,x")
    assert rows[0] == Reject(f"{tmp_path}/meta:2", None, "the row is not valid UTF-8")
    assert rows[1].item_id == "B"


def test_truncated_gzip_yields_the_items_before(tmp_path):
    path = tmp_path / "meta.json.gz"
    packed = gzip.compress(
        "".join(repr({"asin": f"B{random.Random(i).random()}"}) + "\n" for i in range(5000)).encode()
    )
    path.write_bytes(packed[: len(packed) // 2])
    *items, reject = read_metadata(path)
    assert 2000 < len(items) < 3000
    assert all(isinstance(item, Item) for item in items)
    assert reject.source == f"{path}:{len(items) + 1}"
    assert "Compressed file ended" in reject.reason


@pytest.mark.parametrize("content", [b"", b"\n\n", gzip.compress(b"", mtime=0)])
def test_empty_file(tmp_path, content):
    (tmp_path / "meta").write_bytes(content)
    assert list(read_metadata(tmp_path / "meta")) == []


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(read_metadata(tmp_path / "none.json"))


@pytest.mark.parametrize("word", ["boot", "BOOT", "o'dell", "é"])
def test_title_word(tmp_path, word):
    titles = ["Tall Boots", "BOOTIES", "O&#39;Dell café", "É", "Shoe", None]
    lines = [repr({"asin": f"A{i}", "title": title, "brand": "Boots é"}) for i, title in enumerate(titles)]
    results = [row.item_id for row in read(tmp_path, *lines, title_word=word)]
    assert results == {"boot": ["A0", "A1"], "BOOT": ["A0", "A1"], "o'dell": ["A2"], "é": ["A2", "A3"]}[word]
    assert results == [row.item_id for row in read(tmp_path, "title,asin", *(
        f'"{title or ""}",A{i}' for i, title in enumerate(titles)
    ), title_word=word)]  # fmt: skip


def test_lines_without_the_title_word_are_passed_over_quickly(tmp_path):
    ids = [f"B{i:09}" for i in range(100)]
    write(
        tmp_path / "meta",
        *(repr({"asin": id_, "title": "Running Shoe", "related": ids}) for id_ in ids * 200),
    )
    start = time.process_time()
    assert list(read_metadata(tmp_path / "meta", "Boot")) == []
    assert time.process_time() - start < 1  # 0.1 s; to parse the 20,000 lines takes more than 2 s


def test_memory_stays_constant(tmp_path):
    path = write(tmp_path / "meta", *(repr({**AMAZON, "asin": f"B{i}", "x": "y" * 2000}) for i in range(5000)))
    tracemalloc.start()
    for _ in itertools.islice(read_metadata(path, "boots"), 500):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20 < path.stat().st_size


def test_counts(tmp_path):
    assert count_records(write(tmp_path / "a", "asin,title", "", "A,x", "B,y")) == 2
    assert count_records(write(tmp_path / "b", "{'asin': 1}", "", "{'asin': 2}")) == 2
    assert count_records(write(tmp_path / "c")) == 0


def test_the_boots(tmp_path):
    path = DATA / "boots" / "metadata_women.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    items = list(read_metadata(path))
    assert len(items) == 3696
    assert all(isinstance(item, Item) for item in items)
    boots = {item.item_id: item for item in items}
    assert boots["B007KHXTXQ"].title == "MuckBoots Women's Stroll Boot,Black/Fuschia,6 M US Womens"
    assert boots["B007KHXTXQ"].related["bought_together"] == ["B008RKEDZS", "B000WH4SWM"]
    assert boots["B007RI9ZEU"].price == Decimal("145.95")
    assert not any(item.title.startswith('"') and item.title.endswith('"') for item in items)
    assert not any("&amp;" in item.title for item in items)
