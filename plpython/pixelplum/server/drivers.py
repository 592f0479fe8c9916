"""Drivers: Python that runs SQL and computes, step by step, in the place of functions that call one another.

PL/pgSQL refuses a call that must not be, checks its arguments, and hands them over as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module

from pixelplum.server.database import Database

DRIVERS: dict[str, Callable] = {}


def driver(function: Callable) -> Callable:
    """Let SQL call a function as ``module.name``: with a `Database`, and what it is to do by name."""
    module = function.__module__.rpartition(".")[2]
    DRIVERS[f"{module}.{function.__name__}"] = function
    return function


def drive(plpy, cache: dict, name: str, arguments: str) -> str | None:
    """Call a driver; arguments and result are JSON."""
    return call_driver(Database(plpy, cache), name, arguments)


def answer(plpy, cache: dict, name: str, arguments: str) -> str | None:
    """Call a driver that somebody waits for; see `drive`."""
    return call_driver(Database(plpy, cache, "answer"), name, arguments)


def call_driver(database: Database, name: str, arguments: str) -> str | None:
    """Call a driver with some database."""
    if name not in DRIVERS:
        import_module(f"pixelplum.server.{name.partition('.')[0]}")
    result = DRIVERS[name](database, **json.loads(arguments))
    return None if result is None else json.dumps(result)
