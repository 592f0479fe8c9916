"""What this host has, and what it lacks."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pixelplum
from pixelplum import __version__, host
from pixelplum.server import cache as files

ROOM_WANTED = 1 << 30
"""Bytes of room in the cache folder, for a few large networks."""

BACKEND_BYTES = 64 << 20
"""A backend with Python and its libraries."""


def examine(plpy, cache: dict, networks: int | None, model_bytes: int) -> list[tuple[str, bool, str, str | None]]:
    """Check this host.

    Parameters
    ----------
    plpy : module
        PL/Python's access to the database.
    cache : dict
        The backend's GD.
    networks : int, optional
        Networks that run at once on this host. None: one a core.
    model_bytes : int
        Size of the largest model's file.

    Returns
    -------
    list of tuple
        ``(check, ok, found, remedy)``, a row a check.
    """
    return [
        ("package", True, f"pixelplum {__version__} in {Path(pixelplum.__file__).parents[1]}", None),
        _python(),
        ("packages", True, _packages(), None),
        _cache_folder(),
        _memory(networks or cores(plpy, cache), model_bytes),
        ("cores", True, str(cores(plpy, cache)), None),
    ]


def cores(plpy, cache: dict) -> int:
    """Return the number of CPU cores that this server may use."""
    return host.cores()


def _python():
    """The package may have been installed by another Python than the server links."""
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return "python", ok, version, None if ok else "PostgreSQL's PL/Python must link Python 3.11 or later"


def _packages() -> str:
    import numpy  # slow to import, like the next
    import onnxruntime
    import PIL

    versions = {"numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__}
    versions |= {name: metadata.version(name) for name in ("onnx", "scikit-learn")}  # slow to import
    for name in ("tensorflow-cpu", "tensorflow"):  # the server runs without it
        with suppress(metadata.PackageNotFoundError):
            versions["tensorflow"] = metadata.version(name)
    return ", ".join(f"{name} {version}" for name, version in versions.items())


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


def _memory(networks: int, model_bytes: int):
    from pixelplum.core.networks.onnx import LOADED_PER_STORED  # slow to import

    available = host.available_bytes()
    wanted = networks * (BACKEND_BYTES + LOADED_PER_STORED * model_bytes)
    summary = f"{available >> 20} MB available, {wanted >> 20} MB wanted ({networks} at once)"
    ok = available >= wanted
    return "memory", ok, summary, None if ok else "Add memory, run fewer segments on this host, or use a smaller model"
