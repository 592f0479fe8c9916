"""What this host has, and what it lacks."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import metadata

import numpy
import onnxruntime
import PIL

from pixelplum import __version__
from pixelplum.server import cache as files

ROOM_WANTED = 1 << 30
"""Bytes of memory and of cache that two loaded networks need with room to spare."""


def examine(plpy, cache: dict, sql_version: str) -> list[tuple[str, bool, str, str | None]]:
    """Check this host.

    Returns
    -------
    list of tuple
        ``(check, ok, found, remedy)``, a row a check.
    """
    return [
        _version(sql_version),
        _python(),
        ("packages", True, _packages(), None),
        _cache_folder(),
        _memory(),
        ("cores", True, str(cores(plpy, cache)), None),
    ]


def cores(plpy, cache: dict) -> int:
    """Return the number of CPU cores that this server may use."""
    return len(os.sched_getaffinity(0))


def _version(sql_version: str):
    remedy = None if sql_version == __version__ else "Run: pix migrate, or install the version SQL has"
    return "version", remedy is None, f"SQL {sql_version}, Python {__version__}", remedy


def _python():
    """The package may have been installed by another Python than the server links."""
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    ok = sys.version_info >= (3, 11)
    return "python", ok, found, None if ok else "PostgreSQL's PL/Python must link Python 3.11 or later"


def _packages() -> str:
    found = {"numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__}
    with suppress(metadata.PackageNotFoundError):  # the server runs without it
        found["tensorflow"] = metadata.version("tensorflow-cpu")
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _cache_folder():
    folder = files.folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return "cache", False, f"{folder}: {error.strerror}", "Set PIX_CACHE for the postmaster, and restart"
    ok = free >= ROOM_WANTED
    return "cache", ok, f"{folder}, {free >> 20} MB free", None if ok else "Make room in this folder"


def _memory():
    with open("/proc/meminfo") as lines:
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10
    ok = available >= ROOM_WANTED
    return "memory", ok, f"{available >> 20} MB available", None if ok else "Free memory, or add some"
