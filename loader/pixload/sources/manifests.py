"""Manifests: files that list images by path or URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pixload.sources.records import read_records
from pixload.sources.rows import Reject, check_item_id, check_text

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json")
ID_NAMES = ("item_id", "asin", "id")
URL_NAMES = ("url", "imUrl", "image_url")
LABEL_NAMES = ("label",)


class Entry(NamedTuple):
    """An image to be read from `path`, or, if that is None, to be downloaded."""

    item_id: str
    label: str | None
    path: Path | None
    url: str | None


def is_manifest(path: Path) -> bool:
    """Tell by its name whether a file is a manifest."""
    return path.name.lower().removesuffix(".gz").endswith(MANIFEST_SUFFIXES)


def read_manifest(path: Path) -> Iterator[Entry | Reject]:
    """Read what a manifest lists, from CSV with a header, JSON objects or Python dicts.

    Yields
    ------
    Entry or Reject
    """
    for record in read_records(path):
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield _entry(path.parent, record.fields)
        except ValueError as error:
            yield Reject(record.source, None, str(error))


def _entry(folder: Path, fields: dict) -> Entry:
    image, url = _text(fields, ("path",)), _text(fields, URL_NAMES)
    if image:
        stem = Path(image).stem
    elif url:
        stem = _stem_of_url(url)
    else:
        raise ValueError("neither a path nor a url")
    item_id = _text(fields, ID_NAMES) or stem
    if reason := check_item_id(item_id):
        raise ValueError(reason)
    return Entry(item_id, _text(fields, LABEL_NAMES), folder / image if image else None, url)


def _stem_of_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url}")
    return PurePosixPath(unquote(parts.path)).stem


def _text(fields: dict, names: tuple[str, ...]) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int):
            value = str(value)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise ValueError(f"the {name} is not text")
        if reason := check_text(value):
            raise ValueError(f"the {name} {reason}")
        return value
    return None
