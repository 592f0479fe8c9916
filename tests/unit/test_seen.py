"""What a load remembers of the keys that it has met."""

import pytest

from pixload.errors import PixError
from pixload.seen import Seen


def test_a_key_is_known_by_its_first_source():
    with Seen() as seen:
        assert seen.first_source(b"a", "one.csv:2") is None
        assert seen.first_source(b"b", "one.csv:3") is None
        assert seen.first_source(b"a", "two.csv:2") == "one.csv:2"
        assert seen.first_source(b"a", "two.csv:3") == "one.csv:2"


def test_no_room_is_told_with_a_remedy():
    with Seen() as seen:
        seen._store.execute("PRAGMA max_page_count = 20")
        with pytest.raises(PixError, match="disk is full") as failure:
            [seen.first_source(b"%d" % number, "one.csv") for number in range(10_000)]
    assert "SQLITE_TMPDIR" in failure.value.hint
