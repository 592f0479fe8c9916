"""Records of named fields, from lines that are dicts or from CSV: metadata and manifests."""

from __future__ import annotations

import ast
import csv
import json
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pixload.sources.rows import Reject
from pixload.sources.streams import BROKEN, MAX_LINE, Lines, open_decompressed


class Record(NamedTuple):
    """Named fields, and where they stand: `file:LINE`."""

    source: str
    fields: dict


def read_records(
    path: Path, needle: bytes | None = None, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Record | Reject]:
    """Read a file whose lines are JSON objects or Python dicts, or a CSV file with a header.

    The first line that is not blank tells which. The file may be compressed.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    needle : bytes, optional
        Lower case. Lines that are dicts and do not contain it, in whatever
        case, are passed over before they are parsed.
    on_bytes : callable, optional
        See `Lines`.

    Yields
    ------
    Record or Reject

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    with open_decompressed(path) as (stream, file):
        lines = Lines(stream, file, on_bytes)
        try:
            remaining = iter(lines)
            first = next((line for line in remaining if line.strip()), b"")
            if first.lstrip().startswith(b"{"):
                yield from _read_dicts(path, lines, chain([first], remaining), needle)
            elif first:
                yield from _read_csv(path, lines, chain([first], remaining))
        except BROKEN as fault:
            yield Reject(f"{path}:{lines.number + 1}", None, f"the file is broken from here on: {fault}")


def count_records(path: Path) -> int:
    """Count the lines that are not blank, without a CSV file's header; it is quick and nearly right."""
    count, is_csv = 0, False
    with open_decompressed(path) as (stream, file):
        try:
            for line in filter(bytes.strip, Lines(stream, file)):
                is_csv = is_csv if count else not line.lstrip().startswith(b"{")
                count += 1
        except BROKEN:
            pass  # who reads the records will hear of it
    return count - is_csv


def _read_dicts(path: Path, lines: Lines, content: Iterator[bytes], needle: bytes | None):
    for line in content:
        if (needle is not None and needle not in line.lower()) or not line.strip():
            continue
        source = f"{path}:{lines.number}"
        try:
            yield Record(source, _parse_dict(line))
        except ValueError as error:
            yield Reject(source, None, str(error))


def _parse_dict(line: bytes) -> dict:
    if len(line) > MAX_LINE:
        raise ValueError(f"the line has more than {MAX_LINE:,} bytes")
    try:
        fields = parse_literal(line.decode().strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"the line is not valid UTF-8: byte {error.start + 1}") from error
    if not isinstance(fields, dict):
        raise ValueError("the line is not a dict")
    return fields


def parse_literal(text: str) -> object:
    """Parse JSON or a Python literal.

    Raises
    ------
    ValueError
        If it is neither, or nested too deeply.
    """
    try:
        if text[1:].lstrip().startswith('"'):
            try:
                return json.loads(text)
            except ValueError:
                pass  # a Python literal may begin like JSON
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes
            return ast.literal_eval(text)
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deeply") from error
    except (SyntaxError, TypeError, ValueError) as error:
        fault = error.msg if isinstance(error, SyntaxError) else "not only plain values"
        raise ValueError(f"neither JSON nor a Python literal: {fault}") from error


def _read_csv(path: Path, lines: Lines, content: Iterator[bytes]):
    # Undecodable bytes pass as surrogates, to be found when the row is complete.
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in content), strict=True)
    header = None
    start = lines.number
    while True:
        source = f"{path}:{start}"
        try:
            cells = next(reader)
            if header is None:
                header = [name.strip() for name in cells]
            elif cells:
                yield Record(source, _name_cells(header, cells))
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            yield Reject(source, None, str(error))
            if header is None:
                return
        start = lines.number + 1


def _name_cells(header: list[str], cells: list[str]) -> dict:
    if len(cells) != len(header):
        raise ValueError(f"the row has {len(cells)} cells, the header {len(header)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the row is not valid UTF-8") from error
    return dict(zip(header, map(_unwrap, cells), strict=True))


def _unwrap(cell: str) -> str:
    """Take off the second pair of quotes, which some writers of CSV put around a cell."""
    inner = cell[1:-1]
    return inner if '"' not in inner and cell == f'"{inner}"' else cell
