"""Files of this host, addressed by the sha256 of their content: networks, blocks of vectors, indexes.

The database holds all of it; a file here only saves reading it again, and is
shared by all backends. It is written under a name of the backend's own and
renamed when its checksum is right: a reader never sees a part of it, nothing
that is mapped is ever changed, and losing a file loses nothing.
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

KINDS = ("network", "block", "index", "state")
DERIVED = (".block", ".index", ".state", ".design")
"""Kinds of files that each packing and build sweeps once nothing needs them; `.design` is from before 0.8."""
UNFINISHED = re.compile(r"[0-9a-f]{64}\.(\d+)")
FORGOTTEN_SECONDS = 7 * 24 * 3600
"""Age at which a list of live files is that of a database which is no more."""


def folder() -> Path:
    """Return the cache folder: `PIX_CACHE` of the postmaster, or ~/.cache/pixelplum."""
    return Path(os.environ.get("PIX_CACHE") or Path.home() / ".cache" / "pixelplum")


def path(checksum: str, kind: str = "network") -> Path:
    """Return where the file of this sha256 (64 hexadecimal digits) and kind belongs."""
    if len(checksum) != 64 or not set(checksum) <= set("0123456789abcdef"):
        raise ModelBroken(f"{checksum!r} is not a sha256 checksum")
    if kind not in KINDS:
        raise IndexBroken(f"{kind!r} is not a kind of file that is kept")
    return folder() / f"{checksum}.{kind}"


def existing(checksum: str) -> Path:
    """Return the path of a network's file.

    Raises
    ------
    ModelMissing
        If there is none, or it is damaged.
    """
    if not is_sound(checksum, "network"):
        raise ModelMissing(f"Model {checksum[:12]}… is not in the cache of this host, or its file is damaged")
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
        if path(checksum, kind).stat().st_mtime == _seal_time(checksum):
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
    """Append a part to the file that is being restored; part 0 starts it again.

    Raises
    ------
    CacheUnusable
        If the folder cannot be written.
    """
    with unfinished(checksum) as file, file.open("wb" if part == 0 else "ab") as stream:
        stream.write(content)


def read_part(checksum: str, part: int, size: int) -> bytes:
    """Return a part of a file that was written here and has not got its name yet; nothing behind its end."""
    with _told(), _unfinished(checksum).open("rb") as stream:
        stream.seek(part * size)
        return stream.read(size)


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


def identify(file: Path) -> str:
    """Name a file that was written here, and is not finished, for its content; return the checksum."""
    with _told():
        with file.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        file.replace(_unfinished(checksum))
    return checksum


def finish(checksum: str, kind: str = "network") -> None:
    """Give a file that was written or restored its name, if it is whole.

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
    _remove_abandoned()


def discard(checksum: str) -> None:
    """Remove a file that was written here and is not going to be finished."""
    with _told():
        _unfinished(checksum).unlink(missing_ok=True)


def sweep(owner: str, live: list[str]) -> None:
    """Remove what nothing needs any more; whoever has mapped a file keeps it, and whoever misses one restores it.

    Parameters
    ----------
    owner : str
        Names the database whose files these are: databases may share the folder.
    live : list of str
        The files that it needs, ``checksum.kind``. The folder keeps this list, for sweeps of other databases.
    """
    with _told():
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        own = folder() / f"{owner}.live"
        draft = own.with_suffix(f".{os.getpid()}")
        draft.write_text("\n".join(live))
        draft.replace(own)
    needed: set[str] = set()
    for listed in folder().glob("*.live"):
        with suppress(OSError):
            if time.time() - listed.stat().st_mtime > FORGOTTEN_SECONDS:
                listed.unlink()
            else:
                needed.update(listed.read_text().splitlines())
    for file in folder().iterdir():
        if file.suffix in DERIVED and file.name not in needed:
            file.unlink(missing_ok=True)
    _remove_abandoned(os.getpid())


def _remove_abandoned(finished: int | None = None) -> None:
    """Remove what processes left that ended while they wrote, and one that has no use for it any more."""
    for file in folder().iterdir():
        writer = UNFINISHED.fullmatch(file.name)
        if writer and (int(writer[1]) == finished or not _runs(int(writer[1]))):
            with suppress(OSError):  # somebody else removed it
                file.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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
    return path(checksum).with_suffix(f".{os.getpid()}")
