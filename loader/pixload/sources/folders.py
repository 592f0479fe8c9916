"""Images that are files, alone or in folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from pixload.sources.rows import Reject, printable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


class Found(NamedTuple):
    """Bytes that are said to be an image."""

    source: str
    item_id: str
    content: bytes
    label: str | None


def is_image_name(name: str) -> bool:
    """Tell whether a file in a folder or an archive is to be read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is left out silently: what systems put beside the user's files."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def find_images(folder: Path) -> Iterator[Path | Reject]:
    """Find the files in a folder and its subfolders that have an image's suffix, in sorted order.

    Linked folders are entered too, but no folder twice.

    Yields
    ------
    Path or Reject
        A Reject is a folder that cannot be read.
    """
    entered = set()
    ahead = [(str(folder), True)]  # a stack, for trees may be deeper than Python's
    while ahead:
        path, is_folder = ahead.pop()
        if not is_folder:
            yield Path(path)
            continue
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            ahead += sorted(_entries(path), reverse=True)
        except OSError as error:
            yield Reject(printable(path), None, f"cannot be read: {error.strerror}")


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            # isdir, unlike is_dir, can take a link to itself.
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            if is_folder or is_image_name(entry.name):
                yield entry.path, is_folder


def label_of(image: PurePath, folder: PurePath) -> str | None:
    """Return the name of the folder that an image is in, if that is below the given one."""
    return None if image.parent == folder else image.parent.name


def read_file(path: Path, item_id: str, label: str | None, max_bytes: int) -> Found | Reject:
    """Read a file that is said to be an image, unless it is too large."""
    source = printable(str(path))
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Reject(source, item_id, "not a regular file")
        if status.st_size > max_bytes:
            return Reject(source, item_id, too_large(status.st_size, max_bytes))
        return Found(source, item_id, path.read_bytes(), label)
    except (OSError, ValueError) as error:  # ValueError: a NUL in a name that a manifest holds
        return Reject(source, item_id, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def too_large(size: int, max_bytes: int) -> str:
    """Return the reason why an image of this size is not read."""
    return f"{size:,} bytes, more than {max_bytes:,}"
