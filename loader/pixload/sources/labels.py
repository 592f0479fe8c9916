"""Labels from CSV or JSON lines: item_id, label_set, label; or one key a line, {item_id: label}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixload.errors import PixError
from pixload.sources.records import read_records
from pixload.sources.rows import Label, Reject, check_item_id, check_text

COLUMNS = ("item_id", "label_set", "label")
MAX_LABEL_SET_BYTES = 200
MAX_LABEL_BYTES = 500
HINT = "Begin it with the header item_id,label_set,label; with --label-set, the label set may be left out."


def read_labels(path: Path, label_set: str | None = None) -> Iterator[Label | Reject]:
    """Read a CSV file with the header item_id,label_set,label, or JSON lines with these keys.

    Parameters
    ----------
    path : Path
        The file, UTF-8; it may be compressed.
    label_set : str, optional
        The label set of rows that name none. Lines may then also be of the
        form ``{"item_id": "label"}``.

    Yields
    ------
    Label or Reject
        A row each.

    Raises
    ------
    PixError
        If the header lacks a column.
    """
    for record in read_records(path):
        if isinstance(record, Reject):
            yield record
            continue
        fields = record.fields
        if label_set is not None:
            if len(fields) == 1 and not set(fields) & set(COLUMNS):
                fields = dict(zip(("item_id", "label"), *fields.items(), strict=True))
            fields = {"label_set": label_set} | fields
        missing = [column for column in COLUMNS if column not in fields]
        if missing and label_set is None:
            raise PixError(f"{path} has no column {missing[0]}.", HINT)
        yield Reject(record.source, None, f"has no {missing[0]}") if missing else _label(record.source, fields)


def _label(source: str, fields: dict) -> Label | Reject:
    values = [fields[column] for column in COLUMNS]
    item_id, label_set, label = ("" if value is None else str(value) for value in values)
    reason = check_item_id(item_id) or check_text(label_set + label)
    if not reason and any(isinstance(value, dict | list | bool) for value in values):
        reason = "is not text"
    if not reason and not 1 <= len(label_set.encode()) <= MAX_LABEL_SET_BYTES:
        reason = f"the label_set is empty or longer than {MAX_LABEL_SET_BYTES} bytes"
    if not reason and not 1 <= len(label.encode()) <= MAX_LABEL_BYTES:
        reason = f"the label is empty or longer than {MAX_LABEL_BYTES} bytes"
    return Reject(source, item_id, reason) if reason else Label(item_id, label_set, label, source)
