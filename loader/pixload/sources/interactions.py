"""Votes and other signals, from CSV or JSON lines with named fields, or from two columns: item, and 0 or 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pixload.errors import PixError
from pixload.sources.records import Record, read_records
from pixload.sources.rows import Interaction, Reject, check_item_id, check_text
from pixload.sources.streams import BROKEN, Lines, open_decompressed

FIELDS = (
    "user_id", "item_id", "liked", "signal", "voted_at", "policy", "clustering", "cluster", "propensity",
    "idempotency_key",
)  # fmt: skip
SAID = {
    "1": True, "true": True, "t": True, "yes": True, "like": True,
    "0": False, "false": False, "f": False, "no": False, "dislike": False,
}  # fmt: skip
TWO_COLUMNS = re.compile(rb'^\s*"?([^,\t"]+)"?[,\t]\s*"?([A-Za-z01]+)"?\s*$')
NAMES_OF_ITEMS = {"asin", "item", "item_id"}
HINT = "Begin it with a header of user_id,item_id,liked or user_id,item_id,signal; --user names the one who voted."


def read_interactions(
    path: Path, user_id: str | None = None, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Interaction | Reject]:
    """Read a CSV file with a header, JSON lines, or two columns without one: item,1 or item,0, with a comma or a tab.

    Parameters
    ----------
    path : Path
        The file, UTF-8; it may be compressed. Fields are `FIELDS`; those but the item, and liked or signal, may be
        left out.
    user_id : str, optional
        Whose votes they are, where rows do not say.
    on_bytes : callable, optional
        See `Lines`.

    Yields
    ------
    Interaction or Reject
        A row each. Times without a zone are taken as UTC; numbers are seconds since 1970.

    Raises
    ------
    PixError
        If a column is missing, or nobody is named.
    """
    records = _read_pairs(path, on_bytes) if _has_two_columns(path) else read_records(path, on_bytes=on_bytes)
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        fields = {name: value for name, value in record.fields.items() if value not in (None, "")}
        if user_id is not None:
            fields = {"user_id": user_id} | fields
        if "user_id" not in record.fields and user_id is None:
            raise PixError(f"{path} does not say who voted.", HINT)
        if "item_id" not in record.fields:
            raise PixError(f"{path} has no column item_id.", HINT)
        yield _interaction(record.source, fields)


def _has_two_columns(path: Path) -> bool:
    with open_decompressed(path) as (stream, file):
        try:
            first = next((line for line in Lines(stream, file) if line.strip()), b"")
        except BROKEN:
            return False
    match = TWO_COLUMNS.match(first)
    return match is not None and match[2].decode().lower() in SAID


def _read_pairs(path: Path, on_bytes: Callable[[int], None] | None) -> Iterator[Record | Reject]:
    with open_decompressed(path) as (stream, file):
        lines = Lines(stream, file, on_bytes)
        try:
            for number, line in enumerate(filter(bytes.strip, lines)):
                source = f"{path}:{lines.number}"
                match = TWO_COLUMNS.match(line)
                if match is None:
                    yield Reject(source, None, "is not an item and 0 or 1")
                    continue
                try:
                    item_id, liked = match[1].decode().strip(), match[2].decode()
                except UnicodeDecodeError as error:
                    yield Reject(source, None, f"the line is not valid UTF-8: byte {error.start + 1}")
                    continue
                if number or item_id.lower() not in NAMES_OF_ITEMS:  # else it is a header
                    yield Record(source, {"item_id": item_id, "liked": liked})
        except BROKEN as fault:
            yield Reject(f"{path}:{lines.number + 1}", None, f"the file is broken from here on: {fault}")


def _interaction(source: str, fields: dict) -> Interaction | Reject:
    item_id = str(fields.get("item_id", ""))
    texts = ("user_id", "item_id", "signal", "policy", "clustering", "idempotency_key")
    vote = {name: str(fields[name]) for name in texts if name in fields}
    reason = check_item_id(item_id) or next((check for text in vote.values() if (check := check_text(text))), None)
    try:
        if reason:
            raise ValueError(reason)
        if any(isinstance(fields.get(name), dict | list | bool) for name in texts):
            raise ValueError("a name is not text")
        if "liked" in fields:
            liked = str(fields["liked"]).strip().lower()
            if liked not in SAID:
                raise ValueError(f"liked is {liked[:40]!r}, neither 1 nor 0")
            vote["liked"] = SAID[liked]
        if "voted_at" in fields:
            vote["voted_at"] = _moment(str(fields["voted_at"]).strip()).isoformat()
        if "cluster" in fields:
            vote["cluster"] = _number(fields["cluster"], int, "cluster")
        if "propensity" in fields:
            vote["propensity"] = _number(fields["propensity"], float, "propensity")
    except ValueError as error:
        return Reject(source, item_id or None, str(error))
    return Interaction(item_id, vote, source)


def _moment(text: str) -> datetime:
    try:
        if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"voted_at is {text[:40]!r}, no time such as 2026-11-25T10:00:00+01:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(value, kind: type, name: str):
    try:
        number = kind(str(value))
    except ValueError as error:
        raise ValueError(f"{name} is {str(value)[:40]!r}, no number") from error
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{name} is {value}, no number")
    return number
