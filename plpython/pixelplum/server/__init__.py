"""The bodies of the SQL functions.

Every SQL function in PL/Python is one import and one call::

    from pixelplum.server import call
    return call(plpy, GD, '@VERSION@', 'features.embed', content, checksum)

`call` takes `plpy` and the backend's cache (a dict that lives as long as the
connection) as arguments and hands both on: nothing here is global.
"""

from __future__ import annotations

import os
from importlib import import_module

# One backend per core does the work: more threads in each only get in the way.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
# Where a function does use several threads, they soon wait for one another asleep: by default OpenMP's spin for
# milliseconds, and two such backends at a time keep each other from working.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from pixelplum import __version__  # noqa: E402
from pixelplum.errors import PixelplumError, VersionMismatch  # noqa: E402
from pixelplum.server.canceling import Canceled, forget_interrupts  # noqa: E402


def call(plpy, cache: dict, sql_version: str, function: str, *arguments):
    """Run a server function for SQL, and turn its errors into SQL errors.

    Parameters
    ----------
    plpy : module
        PL/Python's access to the database.
    cache : dict
        The backend's GD.
    sql_version : str
        Version of the SQL function that calls.
    function : str
        ``module.name`` in this package.
    *arguments
        The SQL function's arguments.

    Returns
    -------
    object
        What the function returns.

    Raises
    ------
    plpy.Error
        With a SQLSTATE of class PX and a hint.
    """
    try:
        # Looked up once per backend and version: a classifier is called a hundred thousand times a second.
        body = cache.get((sql_version, function)) or _find(cache, sql_version, function)
        return body(plpy, cache, *arguments)
    except PixelplumError as error:
        failure = error
    except plpy.SPIError as error:  # of a statement that it ran: what the server would make of it has another message
        plpy.error(*error.args, **reported(error))
    except Canceled:
        return None  # the server ends the statement before anything is done with it
    except KeyboardInterrupt:
        forget_interrupts()
        raise
    hint = {"hint": failure.hint} if failure.hint else {}  # None would be shown as such
    plpy.error(str(failure), sqlstate=failure.sqlstate, **hint)


def reported(error) -> dict[str, str]:
    """Return what belongs to an error of the server besides its message."""
    code, detail, hint = error.spidata[:3]
    fields = {"detail": detail, "hint": hint}
    letters = (chr((code >> shift & 0x3F) + ord("0")) for shift in range(0, 30, 6))
    return {"sqlstate": "".join(letters)} | {name: text for name, text in fields.items() if text}


def _find(cache: dict, sql_version: str, function: str):
    check_version(sql_version)
    module, name = function.split(".")
    body = cache[sql_version, function] = getattr(import_module(f"pixelplum.server.{module}"), name)
    return body


def check_version(sql_version: str) -> None:
    """Refuse to work for SQL functions of another version, and say how to mend it."""
    if sql_version == __version__:
        return
    older_sql = _numbers(sql_version) < _numbers(__version__)
    raise VersionMismatch(
        f"The SQL functions have version {sql_version}, the Python package on this host {__version__}",
        hint="Run: pix migrate"
        if older_sql
        else f"Install pixelplum {sql_version} on this host, and open a new connection.",
    )


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]
