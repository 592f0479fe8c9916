"""Files of this host, addressed by the sha256 of their content.

The database holds every model; a file here only saves reading it again. It is
written under a name of the backend's own and renamed when its checksum is
right, so that a reader never sees a part of it, and losing it loses nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelplum.errors import CacheUnusable, ModelBroken, ModelMissing

ABANDONED_SECONDS = 3600
UNFINISHED = re.compile(r"[0-9a-f]{64}\.\d+")


def folder() -> Path:
    """Return the cache folder: `PIX_CACHE` of the postmaster, or ~/.cache/pixelplum."""
    return Path(os.environ.get("PIX_CACHE") or Path.home() / ".cache" / "pixelplum")


def path(checksum: str) -> Path:
    """Return where the file of this sha256 (64 hexadecimal digits) belongs."""
    if len(checksum) != 64 or not set(checksum) <= set("0123456789abcdef"):
        raise ModelBroken(f"{checksum!r} is not a sha256 checksum")
    return folder() / f"{checksum}.network"


def is_there(checksum: str) -> bool:
    """Tell whether there is a file of this name."""
    with _told():
        return path(checksum).is_file()


def existing(checksum: str) -> Path:
    """Return the path of the file.

    Raises
    ------
    ModelMissing
        If there is none.
    """
    if not is_there(checksum):
        raise ModelMissing(f"Model {checksum[:12]}… is not in the cache of this host")
    return path(checksum)


def is_whole(checksum: str) -> bool:
    """Tell whether the file is there and has the right content."""
    with suppress(FileNotFoundError), _told(), path(checksum).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == checksum
    return False


def write_part(checksum: str, part: int, content: bytes) -> None:
    """Append a part to the file that is being restored; part 0 starts it anew.

    Raises
    ------
    CacheUnusable
        If the folder cannot be written.
    """
    with _told():
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with _unfinished(checksum).open("wb" if part == 0 else "ab") as stream:
                stream.write(content)
        except OSError:
            _unfinished(checksum).unlink(missing_ok=True)  # it would keep a full disk full
            raise


def finish(checksum: str) -> None:
    """Give the restored file its name, if it is whole.

    Raises
    ------
    ModelBroken
        If the parts do not add up to the checksum.
    """
    unfinished = _unfinished(checksum)
    content = unfinished.read_bytes() if unfinished.exists() else b""
    if hashlib.sha256(content).hexdigest() != checksum:
        unfinished.unlink(missing_ok=True)
        raise ModelBroken(f"The stored parts of model {checksum[:12]}… are missing or damaged")
    with _told():
        unfinished.replace(path(checksum))
    _remove_abandoned()


def _remove_abandoned() -> None:
    """Remove what backends left that were killed while they wrote."""
    for file in folder().iterdir():
        with suppress(OSError):  # somebody else removed or finished it
            if UNFINISHED.fullmatch(file.name) and time.time() - file.stat().st_mtime > ABANDONED_SECONDS:
                file.unlink()


@contextmanager
def _told() -> Iterator[None]:
    """Turn trouble with files into an error that names the folder."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CacheUnusable(f"The cache folder {folder()} cannot be used: {error.strerror}") from error


def _unfinished(checksum: str) -> Path:
    return path(checksum).with_suffix(f".{os.getpid()}")
