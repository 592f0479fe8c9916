"""Files of this host's cache, restored from the database part by part."""

from __future__ import annotations

from pixelplum.server import cache as files


def missing_files(plpy, cache: dict, checksums: list[str], kind: str) -> list[str]:
    """Return which files of a kind are not in the cache of this host, or damaged."""
    return [checksum for checksum in checksums if not files.is_sound(checksum, kind)]


def write_file_part(plpy, cache: dict, checksum: str, part: int, content: bytes) -> None:
    """Append a part to a file that is being restored; part 0 starts it again."""
    files.write_part(checksum, part, content)


def finish_file(plpy, cache: dict, checksum: str, kind: str) -> None:
    """Give a restored file its name, if it is whole."""
    files.finish(checksum, kind)
