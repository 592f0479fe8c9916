"""What the command line tells a user who cannot go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg2

from pixelplum.errors import PixelplumError


class PixError(click.ClickException):
    """A failure with a remedy: printed as two lines, exit status 1."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.hint = hint

    def format_message(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nHint: {self.hint}"


@contextmanager
def refusals() -> Iterator[None]:
    """Tell what the package that the server shares with us refuses as our own failures are told."""
    try:
        yield
    except PixelplumError as error:
        raise PixError(f"{error}.", error.hint) from error


AGAIN = "Run the command again: what was committed stays."
REMEDIES = {
    "08": f"The connection was lost, or the server ended it; its log says why. {AGAIN}",
    "22007": "Write a time as 2026-11-25 10:00, and how long as '1 day' or '2 hours'.",
    "25006": "This is a standby, or the role may only read: connect to the primary, as a role that may write.",
    "25P03": f"The server's idle_in_transaction_session_timeout ended this session. Raise it for the role. {AGAIN}",
    "2BP01": "Something of yours uses what would be removed. Drop or move it first.",
    "2D000": "It commits as it goes: call it alone, outside a transaction (psql: without BEGIN; drivers: autocommit).",
    "3D000": "Create the database first: CREATE DATABASE … ENCODING 'UTF8', then pix migrate.",
    "3F000": "The database is not prepared. Run: pix migrate",
    "40001": f"Another command worked on the same rows. {AGAIN}",
    "40P01": f"Another command worked on the same rows. {AGAIN}",
    "42501": "Ask the owner of the database to grant {role} what it takes: pix_reader (looks and searches), "
    "pix_app (and votes), or pix_admin (and loads and trains).",
    "42883": "The SQL functions are missing or of another version. Run: pix migrate",
    "42P01": "The database is not prepared. Run: pix migrate",
    "53": f"The server is short of memory or other means. {AGAIN}",
    "53100": f"The server's disk is full: make room. {AGAIN}",
    "53300": "All connections are taken. Wait until some are free, or raise max_connections.",
    "55P03": f"Another session holds a lock for longer than lock_timeout; pg_stat_activity lists the sessions. {AGAIN}",
    "57014": f"A cancel or statement_timeout ended it; long work needs SET statement_timeout = 0 for the role. {AGAIN}",
    "57P01": f"The server was stopped, or ended this session. {AGAIN}",
    "57P02": f"The server crashed. {AGAIN}",
    "57P03": f"The server is starting, or stopping. Wait a moment. {AGAIN}",
}
"""What to do about PostgreSQL's own errors, by SQLSTATE or its class; class PX brings its own hints."""

REFUSALS = {
    r"password|authentication|pg_hba\.conf": "Are the user's name and password right? ~/.pgpass may hold passwords.",
    r"too many|connection slots": REMEDIES["53300"],
    r"database system is": REMEDIES["57P03"],
    r'database "[^"]*" does not exist|no such database': REMEDIES["3D000"],
}
"""What to do where a connection is refused, by what is said: the driver gives no SQLSTATE."""


def from_database(error: psycopg2.Error) -> PixError:
    """Say what the database said, with its hint or ours."""
    message = (error.diag.message_primary or str(error).strip()).removeprefix("plpy.Error: ")
    code = f" [{error.pgcode}]" if error.pgcode else ""
    if error.pgcode == "2BP01":  # only the detail says of what it is
        message = f"{message}: {error.diag.message_detail}"
    if error.pgcode is None and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return PixError(message.splitlines()[0], REMEDIES["08"])
    hint = REMEDIES.get(error.pgcode) or error.diag.message_hint or REMEDIES.get((error.pgcode or "")[:2])
    if error.pgcode == "42501":
        hint = hint.format(role=error.cursor.connection.info.user)
    return PixError(f"{message}{code}", hint)


def from_connecting(error: psycopg2.Error) -> PixError:
    """Say why there is no connection."""
    message = str(error).strip()
    hints = (hint for pattern, hint in REFUSALS.items() if re.search(pattern, message))
    return PixError(message, next(hints, "Is the server running, and is --dsn right?"))
