"""Images from files, folders, archives, manifests and URLs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from pixelplum.errors import ImageError, ImageTooLarge
from pixelplum.untrusted.images import outline, weigh
from pixload.sources.archives import count_zip, is_tar, is_zip, read_tar, read_zip
from pixload.sources.downloads import Downloader, DownloadError
from pixload.sources.folders import Found, find_images, label_of, read_file
from pixload.sources.manifests import Entry, is_manifest, read_manifest
from pixload.sources.records import count_records
from pixload.sources.rows import ImageRow, Known, Reject, check_item_id, check_text

MAX_BYTES = 64 << 20
ENTRIES_PER_QUESTION = 500

AlreadyLoaded = Callable[[list[tuple[str, str]]], set[str]]


def read_images(
    paths: Iterable[Path],
    *,
    already_loaded: AlreadyLoaded | None = None,
    downloader: Downloader | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[ImageRow | Known | Reject]:
    """Read images, one after the other.

    An image's item_id is the stem of its file's name, and its label the
    folder that it is in, if that is below the given one, or in an archive.
    A manifest may say otherwise.

    Parameters
    ----------
    paths : iterable of Path
        Folders, tar and zip archives, manifests (CSV, JSON lines) and
        image files.
    already_loaded : callable, optional
        Told pairs of item_id and URL, returns the item_ids that need no
        download.
    downloader : Downloader, optional
        How to download what manifests name by URL.
    max_bytes : int
        Larger files are rejected without being read.

    Yields
    ------
    ImageRow, Known or Reject

    Raises
    ------
    FileNotFoundError
        If one of the paths does not exist; before anything is yielded.
    """
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    downloader = downloader or Downloader()
    for path in paths:
        for row in _read(path, already_loaded, downloader, max_bytes):
            yield _image(row) if isinstance(row, Found) else row


def count_candidates(paths: Iterable[Path]) -> int | None:
    """Count the rows that `read_images` will yield, or return None if only reading could tell."""
    counts = [_count(path) for path in paths]
    return None if None in counts else sum(counts)


def inspect(content: bytes) -> tuple[str, int, int]:
    """Read an image's header; no pixel is decoded.

    Parameters
    ----------
    content : bytes
        An image's file.

    Returns
    -------
    tuple
        Format as Pillow names it, width and height.

    Raises
    ------
    ValueError
        If it is not an image, or takes too much memory or time to decode.
    """
    if not content:
        raise ValueError("empty file")
    try:
        image = outline(content)
        weigh(image)
    except ImageTooLarge as error:
        raise ValueError(str(error)) from error
    except ImageError as error:
        looks_like_html = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(
            (b"<!doctype html", b"<html")
        )  # fmt: skip
        raise ValueError("not an image (looks like HTML)" if looks_like_html else "not an image") from error
    return image.format, image.width, image.height


def _read(
    path: Path, already_loaded: AlreadyLoaded | None, downloader: Downloader, max_bytes: int
) -> Iterator[Found | Known | Reject]:
    if path.is_dir():
        return _read_folder(path, max_bytes)
    if is_tar(path):
        return read_tar(path, max_bytes)
    if is_zip(path):
        return read_zip(path, max_bytes)
    if is_manifest(path):
        return _read_listed(path, already_loaded, downloader, max_bytes)
    return iter([read_file(path, path.stem, None, max_bytes)])


def _count(path: Path) -> int | None:
    if path.is_dir():
        return sum(1 for _ in find_images(path))
    if is_tar(path):
        return None
    if is_zip(path):
        return count_zip(path)
    if is_manifest(path):
        return count_records(path) if path.is_file() else None  # a pipe can be read only once
    return 1


def _read_folder(folder: Path, max_bytes: int) -> Iterator[Found | Reject]:
    for path in find_images(folder):
        if isinstance(path, Reject):
            yield path
        else:
            yield read_file(path, path.stem, label_of(path, folder), max_bytes)


def _read_listed(
    manifest: Path, already_loaded: AlreadyLoaded | None, downloader: Downloader, max_bytes: int
) -> Iterator[Found | Known | Reject]:
    entries = read_manifest(manifest)
    if already_loaded is not None:
        entries = _mark_known(entries, already_loaded)
    for entry, download in downloader.download_in_order(entries, _url, max_bytes):
        if not isinstance(entry, Entry):
            yield entry
        elif download is None:
            yield read_file(entry.path, entry.item_id, entry.label, max_bytes)
        else:
            try:
                yield Found(entry.url, entry.item_id, download.result(), entry.label)
            except DownloadError as error:
                yield Reject(entry.url, entry.item_id, str(error))


def _mark_known(entries: Iterator[Entry | Reject], already_loaded: AlreadyLoaded) -> Iterator[Entry | Known | Reject]:
    while batch := list(islice(entries, ENTRIES_PER_QUESTION)):
        urls = [(entry.item_id, url) for entry in batch if (url := _url(entry))]
        loaded = already_loaded(urls) if urls else ()
        for entry in batch:
            is_known = _url(entry) and entry.item_id in loaded
            yield Known(entry.item_id, entry.url) if is_known else entry


def _url(entry: Entry | Known | Reject) -> str | None:
    return entry.url if isinstance(entry, Entry) and entry.path is None else None


def _image(file: Found) -> ImageRow | Reject:
    if reason := check_item_id(file.item_id):
        return Reject(file.source, None, reason)
    if file.label is not None and (reason := check_text(file.label)):
        return Reject(file.source, file.item_id, f"the folder's name {reason}")
    try:
        format_, width, height = inspect(file.content)
    except ValueError as error:
        return Reject(file.source, file.item_id, str(error))
    return ImageRow(file.item_id, file.content, format_, width, height, file.source, file.label)
