"""Labels from a CSV file: item_id, label_set, label."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pixload.errors import PixError
from pixload.sources.rows import Label, Reject, check_item_id

COLUMNS = ("item_id", "label_set", "label")


def read_labels(path: Path) -> Iterator[Label | Reject]:
    """Read a CSV file with the header item_id,label_set,label.

    Parameters
    ----------
    path : Path
        The file, UTF-8.

    Yields
    ------
    Label or Reject
        A row each.

    Raises
    ------
    PixError
        If the header lacks a column.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise PixError(f"{path} has no header {','.join(COLUMNS)}.", "Name the columns in its first line.")
        for row in rows:
            item_id, label_set, label = (row[column] or "" for column in COLUMNS)
            source = f"{path.name}:{rows.line_num}"
            reason = check_item_id(item_id)
            if reason is None and not 1 <= len(label_set.encode(errors="replace")) <= 200:
                reason = "the label_set is empty or longer than 200 bytes"
            if reason is None and (not label or "\0" in label + label_set):
                reason = "the label is empty or holds a NUL character"
            yield (Label(item_id, label_set, label, source) if reason is None else Reject(source, item_id, reason))
