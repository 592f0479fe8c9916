"""Files of this host, addressed by the sha256 of their content: networks, blocks of vectors, indexes.

The database holds all of it; a file here only saves reading it again, and is
shared by all backends. It is written under a name of the backend's own and
renamed when its checksum is right, so that a reader never sees a part of it,
and losing it loses nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelplum.errors import CacheUnusable, IndexBroken, ModelBroken, ModelMissing

ABANDONED_SECONDS = 3600
UNUSED_SECONDS = 7 * 24 * 3600
DERIVED = (".block", ".index", ".design")
"""Kinds of files that go when nobody has used them for long: they belong to blocks and indexes, which change often."""
UNFINISHED = re.compile(r"[0-9a-f]{64}\.\d+")


def folder() -> Path:
    """Return the cache folder: `PIX_CACHE` of the postmaster, or ~/.cache/pixelplum."""
    return Path(os.environ.get("PIX_CACHE") or Path.home() / ".cache" / "pixelplum")


def path(checksum: str, kind: str = "network") -> Path:
    """Return where the file of this sha256 (64 hexadecimal digits) and kind belongs."""
    if len(checksum) != 64 or not set(checksum) <= set("0123456789abcdef"):
        raise ModelBroken(f"{checksum!r} is not a sha256 checksum")
    return folder() / f"{checksum}.{kind}"


def is_there(checksum: str) -> bool:
    """Tell whether there is a network's file of this name."""
    with _told():
        return path(checksum).is_file()


def existing(checksum: str) -> Path:
    """Return the path of a network's file.

    Raises
    ------
    ModelMissing
        If there is none.
    """
    if not is_there(checksum):
        raise ModelMissing(f"Model {checksum[:12]}… is not in the cache of this host")
    return path(checksum)


def is_whole(checksum: str, kind: str = "network") -> bool:
    """Tell whether the file is there and has the right content."""
    with suppress(FileNotFoundError), _told(), path(checksum, kind).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == checksum
    return False


def is_sound(checksum: str, kind: str) -> bool:
    """Tell whether the file is there and nobody has touched it since it was found whole.

    Hundreds of megabytes are not read again by every backend: what was found whole is sealed with a time of
    modification that follows from its checksum, and that no writer leaves in place.
    """
    with suppress(FileNotFoundError), _told():
        found = path(checksum, kind).stat()
        if found.st_mtime == _seal_time(checksum):
            if time.time() - found.st_atime > ABANDONED_SECONDS:
                _seal(path(checksum, kind), checksum)  # it is in use
            return True
        if is_whole(checksum, kind):
            _seal(path(checksum, kind), checksum)
            return True
    return False


def write(checksum: str, kind: str, content: bytes) -> None:
    """Write a file of one part; see `write_part` and `finish`."""
    write_part(checksum, 0, content)
    finish(checksum, kind)


def write_part(checksum: str, part: int, content: bytes) -> None:
    """Append a part to the file that is being restored; part 0 starts it anew.

    Raises
    ------
    CacheUnusable
        If the folder cannot be written.
    """
    with unfinished(checksum) as file, file.open("wb" if part == 0 else "ab") as stream:
        stream.write(content)


@contextmanager
def unfinished(checksum: str) -> Iterator[Path]:
    """Yield the path of a file to write, which is removed again if that fails: it would keep a full disk full.

    Raises
    ------
    CacheUnusable
        If the folder cannot be written.
    """
    file = _unfinished(checksum)
    with _told():
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            yield file
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def finish(checksum: str, kind: str = "network") -> None:
    """Give the restored file its name, if it is whole.

    Raises
    ------
    ModelBroken, IndexBroken
        If the parts do not add up to the checksum.
    """
    file = _unfinished(checksum)
    actual = None
    with suppress(FileNotFoundError), _told(), file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != checksum:
        file.unlink(missing_ok=True)
        broken, what = (ModelBroken, "model") if kind == "network" else (IndexBroken, kind)
        raise broken(f"The stored parts of {what} {checksum[:12]}… are missing or damaged")
    with _told():
        _seal(file, checksum)
        file.replace(path(checksum, kind))
    _remove_unused()


def adopt(file: Path, kind: str) -> str:
    """Give a file that was written here the name of its content, and return its checksum."""
    with _told():
        with file.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        _seal(file, checksum)
        file.replace(path(checksum, kind))
    _remove_unused()
    return checksum


def forget(checksums: list[str], kind: str) -> None:
    """Remove files that are not needed any more; whoever has mapped them keeps them."""
    with _told():
        for checksum in checksums:
            path(checksum, kind).unlink(missing_ok=True)


def _remove_unused() -> None:
    """Remove what backends left that were killed while they wrote, and what has not been used for long."""
    for file in folder().iterdir():
        with suppress(OSError):  # somebody else removed or finished it
            now, found = time.time(), file.stat()
            is_abandoned = UNFINISHED.fullmatch(file.name) and now - found.st_mtime > ABANDONED_SECONDS
            if is_abandoned or (file.suffix in DERIVED and now - found.st_atime > UNUSED_SECONDS):
                file.unlink()


def _seal(file: Path, checksum: str) -> None:
    os.utime(file, (time.time(), _seal_time(checksum)))


def _seal_time(checksum: str) -> int:
    return int(checksum[:7], 16)


@contextmanager
def _told() -> Iterator[None]:
    """Turn trouble with files into an error that names the folder."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CacheUnusable(f"The cache folder {folder()} cannot be used: {error.strerror or error}") from error


def _unfinished(checksum: str) -> Path:
    return path(checksum, str(os.getpid()))
