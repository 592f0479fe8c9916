"""Images in tar and zip archives, which are never extracted to disk."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pixload.sources.folders import Found, is_hidden, is_image_name, too_large
from pixload.sources.rows import Reject, printable
from pixload.sources.streams import BROKEN, open_decompressed

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# What zipfile raises for what is damaged, encrypted, or of an unknown kind.
BROKEN_MEMBER = (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def is_tar(path: Path) -> bool:
    """Tell by its name whether a file is a tar archive."""
    return path.name.lower().endswith(TAR_SUFFIXES)


def is_zip(path: Path) -> bool:
    """Tell by its name whether a file is a zip archive."""
    return path.name.lower().endswith(".zip")


def read_tar(path: Path, max_bytes: int) -> Iterator[Found | Reject]:
    """Read the images in a tar archive, compressed or not, from front to end.

    Yields
    ------
    Found or Reject
        A broken archive ends with a Reject that names it.
    """
    try:
        with (
            open_decompressed(path) as (stream, _),
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictMember) as archive,
        ):
            for member in iter(archive.next, None):
                archive.members.clear()  # which tarfile collects, a kilobyte each
                if not member.isdir() and _is_candidate(member.name):
                    yield _read_tar_member(path, archive, member, max_bytes)
    except (tarfile.TarError, ValueError, *BROKEN) as fault:
        yield Reject(printable(str(path)), None, f"the archive is broken: {fault}")


class _StrictMember(tarfile.TarInfo):
    """To tarfile a damaged or missing header is the end of an archive; here only the mark of the end is."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as fault:
            raise tarfile.ReadError(f"no header and no end mark at byte {archive.offset:,}") from fault


def _read_tar_member(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> Found | Reject:
    source, item_id, label = _describe(path, member.name)
    if not member.isreg():
        return Reject(source, item_id, "not a regular file")
    if member.size > max_bytes:
        return Reject(source, item_id, too_large(member.size, max_bytes))
    return Found(source, item_id, archive.extractfile(member).read(), label)


def read_zip(path: Path, max_bytes: int) -> Iterator[Found | Reject]:
    """Read the images in a zip archive.

    Yields
    ------
    Found or Reject
        A Reject for each broken member; for an archive whose directory is
        broken, or cut off, only one that names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _candidates(archive):
                yield _read_zip_member(path, archive, member, max_bytes)
    except BROKEN_MEMBER as fault:
        yield Reject(printable(str(path)), None, f"the archive is broken: {fault}")


def count_zip(path: Path) -> int:
    """Count the images in a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(1 for _ in _candidates(archive))
    except BROKEN_MEMBER:
        return 1  # it will be one Reject


def _candidates(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    return (m for m in archive.infolist() if not m.is_dir() and _is_candidate(m.filename))


def _read_zip_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> Found | Reject:
    source, item_id, label = _describe(path, member.filename)
    if member.file_size > max_bytes:
        return Reject(source, item_id, too_large(member.file_size, max_bytes))
    try:
        return Found(source, item_id, archive.read(member), label)
    except BROKEN_MEMBER as fault:
        return Reject(source, item_id, f"the member is broken: {fault}")


def _is_candidate(name: str) -> bool:
    return is_image_name(name) and not any(map(is_hidden, PurePosixPath(name).parts))


def _describe(path: Path, name: str) -> tuple[str, str, str | None]:
    member = PurePosixPath(name)
    label = member.parent.name
    return printable(f"{path}!{name}"), member.stem, label if label not in ("", "..") else None
