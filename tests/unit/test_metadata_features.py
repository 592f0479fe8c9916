"""Metadata as numbers, against numbers computed by hand."""

import json
from math import log, sqrt

import numpy as np
import pytest

from pixelplum.core.networks.metadata_features import FIELDS, check, encode, fit
from pixelplum.errors import NoMetadata, UnusableArgument

# log(1 + price) is log 10, log 20, log 40: mean log 20, deviation log 2 · √(2/3).
SHOES = [
    {"item_id": "a", "price": 9.0, "brand": "North", "title": "Red boot, red laces", "related": ["b"]},
    {"item_id": "b", "price": 19.0, "brand": "North", "title": "RED shoe", "related": ["x"], "categories": ["Shoes"]},
    {"item_id": "c", "price": 39.0, "brand": "South", "title": "a blue boot", "categories": ["Shoes", "Boots"]},
    {"item_id": "d", "price": None, "brand": None, "title": None, "related": None, "categories": None},
]
COMMON = log(5 / 3) + 1  # of a value that two of four items have


def encoded(fields, terms=256, items=SHOES, length=1.0) -> np.ndarray:
    state = json.loads(json.dumps(fit(items, fields, terms, length)))
    return encode(items, state) / state["scale"]


def test_prices():
    step = sqrt(3 / 2)
    assert encoded(["price"]) == pytest.approx(np.array([[-step, 0], [0, 0], [step, 0], [0, 1]]), abs=1e-6)


@pytest.mark.parametrize("price", [None, -1.0, float("nan"), float("inf"), "NaN", "9"])
def test_prices_that_are_none(price):
    assert encoded(["price"], items=[{"item_id": "e", "price": price}, *SHOES])[0].tolist() == [0, 1]


def test_brands_that_one_item_has_have_no_number():
    assert encoded(["brand"]).tolist() == [[1], [1], [0], [0]]


def test_items_that_name_each_other_overlap():
    """Item b is in its own list, and in that of a."""
    state = fit(SHOES, ["related"], 256, 1.0)
    assert state["blocks"] == [{"field": "related", "values": ["b"], "idf": [pytest.approx(COMMON)]}]
    assert encoded(["related"]).tolist() == [[1], [1], [0], [0]]


def test_title_words_by_rarity():
    items = [{"item_id": str(n), "title": title} for n, title in enumerate(["Red boot boot", "red boot", "red", "red"])]
    state = fit(items, ["title"], 256, 1.0)
    assert state["blocks"][0]["values"] == ["boot", "red"]
    assert state["blocks"][0]["idf"] == pytest.approx([COMMON, 1])
    both = np.array([COMMON, 1]) / sqrt(COMMON**2 + 1)
    assert encoded(["title"], items=items) == pytest.approx(np.array([both, both, [0, 1], [0, 1]]))


def test_the_most_frequent_values_are_kept():
    items = [{"item_id": str(n), "categories": names} for n, names in enumerate([["x", "y"], ["x", "y"], ["y"]])]
    assert fit(items, ["categories"], 2, 1.0)["blocks"][0]["values"] == ["x", "y"]
    assert fit(items, ["categories"], 1, 1.0)["blocks"][0]["values"] == ["y"]


def test_columns_follow_the_fields_and_the_whole_has_its_length():
    state = fit(SHOES, ["brand", "price", "categories", "brand"], 256, 5.0)
    assert [block["field"] for block in state["blocks"]] == ["brand", "price", "categories"]
    rows = encode(SHOES, state)
    assert rows.dtype == "<f4"
    assert rows.shape == (4, state["columns"]) == (4, 4)
    assert sqrt((rows.astype(float) ** 2).sum(axis=1).mean()) == pytest.approx(5)
    assert rows[1] / state["scale"] == pytest.approx([1, 0, 0, 1], abs=1e-6)
    assert rows[3] / state["scale"] == pytest.approx([0, 0, 1, 0], abs=1e-6)


def test_new_items_are_encoded_as_the_old_ones():
    state = fit(SHOES, FIELDS, 256, 1.0)
    alone = encode(SHOES[1:2], state)
    assert alone.tolist() == encode(SHOES, state)[1:2].tolist()
    stranger = encode([{"item_id": "z", "brand": "Nobody", "title": "unheard-of"}], state) / state["scale"]
    assert stranger.tolist() == [[0, 1, *[0] * (state["columns"] - 2)]]


def test_the_order_of_items_does_not_matter():
    again = fit(SHOES[::-1], FIELDS, 2, 1.0)
    first = fit(SHOES, FIELDS, 2, 1.0)
    assert json.dumps(again["blocks"][1:]) == json.dumps(first["blocks"][1:])
    assert again["scale"] == pytest.approx(first["scale"])


def test_fields_that_no_item_has():
    state = fit([{"item_id": item["item_id"], "brand": item["brand"]} for item in SHOES], FIELDS, 256, 1.0)
    assert state["empty"] == ["price", "categories", "related", "title"]
    assert state["columns"] == 1


@pytest.mark.parametrize("items", [
    [{"item_id": "a"}, {"item_id": "b"}],
    [{"item_id": "a", "title": "red", "brand": "x"}],
    [{"item_id": "a", "price": 5.0}, {"item_id": "b", "price": 5.0}],
])  # fmt: skip
def test_nothing_to_learn_from(items):
    with pytest.raises(NoMetadata):
        fit(items, FIELDS, 256, 1.0)


@pytest.mark.parametrize(("fields", "weight", "terms", "error"), [
    (None, 1.0, 1, UnusableArgument), ([], 1.0, 1, UnusableArgument), (["color"], 1.0, 1, UnusableArgument),
    (["price", None], 1.0, 1, UnusableArgument), ([["price"]], 1.0, 1, UnusableArgument),
    (["price"], None, 1, UnusableArgument), (["price"], 0.0, 1, UnusableArgument),
    (["price"], float("nan"), 1, UnusableArgument), (["price"], float("inf"), 1, UnusableArgument),
    (["price"], 1.0, None, UnusableArgument), (["price"], 1.0, 0, UnusableArgument),
    (["price"], 1.0, 4097, UnusableArgument),
])  # fmt: skip
def test_bad_arguments(fields, weight, terms, error):
    with pytest.raises(error) as caught:
        check(fields, weight, terms)
    assert caught.value.hint
