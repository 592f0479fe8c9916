"""Labels from a CSV file: item_id, label_set, label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixload.errors import PixError
from pixload.sources.records import read_records
from pixload.sources.rows import Label, Reject, check_item_id, check_text

COLUMNS = ("item_id", "label_set", "label")
MAX_LABEL_SET_BYTES = 200


def read_labels(path: Path) -> Iterator[Label | Reject]:
    """Read a CSV file with the header item_id,label_set,label, or JSON lines with these keys.

    Parameters
    ----------
    path : Path
        The file, UTF-8; it may be compressed.

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
        missing = [column for column in COLUMNS if column not in record.fields]
        if missing:
            raise PixError(f"{path} has no column {missing[0]}.", f"Begin it with the header {','.join(COLUMNS)}")
        item_id, label_set, label = (str(record.fields[column] or "") for column in COLUMNS)
        reason = check_item_id(item_id) or check_text(label_set + label)
        if not reason and not 1 <= len(label_set.encode()) <= MAX_LABEL_SET_BYTES:
            reason = f"the label_set is empty or longer than {MAX_LABEL_SET_BYTES} bytes"
        if not reason and not label:
            reason = "the label is empty"
        yield Reject(record.source, item_id, reason) if reason else Label(item_id, label_set, label, record.source)
