"""Votes from files: named columns, JSON lines, two columns without a header, and what is wrong with them."""

import gzip

import pytest

from pixload.errors import PixError
from pixload.sources.interactions import read_interactions
from pixload.sources.rows import Reject


def votes(path, user_id=None):
    return [row.vote for row in read_interactions(path, user_id) if not isinstance(row, Reject)]


def rejects(path, user_id=None):
    return [(row.item_id, row.reason) for row in read_interactions(path, user_id) if isinstance(row, Reject)]


def test_csv(tmp_path):
    path = tmp_path / "votes.csv.gz"
    path.write_bytes(gzip.compress(
        b"user_id,item_id,liked,signal,voted_at,propensity,cluster\n"
        b"ann,B1,1,,2026-01-02T03:04:05+02:00,0.25,0\nbob,B2,,cart,1767323045,,\nbob,B3,dislike,,2026-01-02,,\n"
    ))  # fmt: skip
    assert votes(path) == [
        {
            "user_id": "ann", "item_id": "B1", "liked": True, "voted_at": "2026-01-02T03:04:05+02:00",
            "propensity": 0.25,
            "cluster": 0,
        },
        {"user_id": "bob", "item_id": "B2", "signal": "cart", "voted_at": "2026-01-02T03:04:05+00:00"},
        {"user_id": "bob", "item_id": "B3", "liked": False, "voted_at": "2026-01-02T00:00:00+00:00"},
    ]  # fmt: skip


def test_json_lines(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text(
        '{"item_id": "B1", "liked": true}\n{"user_id": 7, "item_id": "B2", "liked": 0, "policy": "random"}\n'
    )
    assert votes(path, "ann") == [
        {"user_id": "ann", "item_id": "B1", "liked": True},
        {"user_id": "7", "item_id": "B2", "liked": False, "policy": "random"},
    ]


@pytest.mark.parametrize(
    "content", ["B1,1\nB2,0\n", "B1\t1\nB2\t0\n", "asin\tlike\nB1\tlike\nB2\tdislike\n", '"B1","1"\n\nB2,0']
)
def test_two_columns(tmp_path, content):
    path = tmp_path / "votes"
    path.write_text(content)
    assert votes(path, "ann") == [
        {"user_id": "ann", "item_id": "B1", "liked": True},
        {"user_id": "ann", "item_id": "B2", "liked": False},
    ]


def test_two_columns_with_something_else_in_between(tmp_path):
    path = tmp_path / "votes"
    path.write_bytes(b"B1,1\nB2,maybe\nB3\nB\xff,1\nB4,0\n")
    assert [vote["item_id"] for vote in votes(path, "ann")] == ["B1", "B4"]
    assert [reason for _, reason in rejects(path, "ann")] == [
        "liked is 'maybe', neither 1 nor 0", "is not an item and 0 or 1", "the line is not valid UTF-8: byte 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ann,,1,,", "the item_id is empty"),
        ("ann,B1,perhaps,,", "liked is 'perhaps', neither 1 nor 0"),
        ("ann,B1,1,yesterday,", "voted_at is 'yesterday', no time such as 2026-11-25T10:00:00+01:00"),
        ("ann,B1,1,2026-13-01,", "voted_at is '2026-13-01', no time such as 2026-11-25T10:00:00+01:00"),
        ("ann,B1,1,,much", "propensity is 'much', no number"),
        ("ann,B1,1,,nan", "propensity is nan, no number"),
    ],
)
def test_bad_rows(tmp_path, line, reason):
    path = tmp_path / "votes.csv"
    path.write_text(f"user_id,item_id,liked,voted_at,propensity\n{line}\nann,B2,1,,\n")
    assert [why for _, why in rejects(path)] == [reason]
    assert len(votes(path)) == 1


def test_files_that_name_nobody_or_nothing(tmp_path):
    path = tmp_path / "votes"
    path.write_text("B1,1\n")
    with pytest.raises(PixError, match="does not say who voted"):
        votes(path)
    path.write_text("who,item_id\nann,B1\n")
    with pytest.raises(PixError, match="does not say who voted"):
        votes(path)
    path.write_text("user_id,thing,liked\nann,B1,1\n")
    with pytest.raises(PixError, match="no column item_id"):
        votes(path)
    path.write_bytes(b"")
    assert votes(path) == []
