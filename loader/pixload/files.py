"""Files that are there when they are complete."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pixload.errors import PixError


def check_target(path: Path) -> None:
    """Refuse what no file can be written to.

    Raises
    ------
    PixError
        If it is a folder or no regular file, or its folder is not there.
    """
    target = path.resolve()
    if target.is_dir():
        raise PixError(f"{path} is a folder.", "Name a file.")
    if not target.parent.is_dir():
        raise PixError(f"There is no folder {target.parent}.", "Make it first.")
    if target.exists() and not target.is_file():
        raise PixError(f"{path} is not a regular file.", "Name another one.")


def write_file(path: Path, content: bytes) -> None:
    """Write a file, or replace what is there; a write that fails leaves what was there.

    Raises
    ------
    PixError
        As for `check_target`.
    """
    check_target(path)
    target = path.resolve()
    draft, name = tempfile.mkstemp(dir=target.parent, prefix=".pix-")
    try:
        with os.fdopen(draft, "wb") as stream:
            stream.write(content)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(stream.fileno(), 0o666 & ~mask)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
