"""Which ids and texts the database can take."""

from __future__ import annotations

import pytest

from pixload.sources.rows import check_item_id, check_text, printable


@pytest.mark.parametrize("item_id", ["B00", 'O\'Dell "x" a/b\\c', "ботинки 👢", "x" * 1000, "é" * 1000, " "])
def test_usable_ids(item_id):
    assert check_item_id(item_id) is None


@pytest.mark.parametrize(
    ("item_id", "reason"),
    [
        ("", "the item_id is empty"),
        ("a\0b", "the item_id contains a NUL character"),
        ("a\udcff", "the item_id is not valid Unicode"),
        ("é" * 1000 + "x", "the item_id has 2,001 bytes, more than 2,000"),
    ],
)
def test_unusable_ids(item_id, reason):
    assert check_item_id(item_id) == reason


def test_names_that_are_not_utf8_become_storable():
    assert check_text(printable("a\udcff/ö.jpg")) is None
    assert printable("a\udcff/ö.jpg") == "a\\udcff/ö.jpg"
