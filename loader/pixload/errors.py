"""What the command line tells a user who cannot go on."""

from __future__ import annotations

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


REMEDIES = {
    "53100": "The server's disk is full. What was committed stays: make room and run the command again.",
    "22007": "Write a time as 2026-11-25 10:00, and how long as '1 day' or '2 hours'.",
    "3F000": "The database is not prepared. Run: pix migrate",
    "42P01": "The database is not prepared. Run: pix migrate",
    "42883": "The SQL functions are missing or old. Run: pix migrate",
    "2BP01": "Something of yours uses what would be removed. Drop or move it first.",
    "40001": "Another command worked on the same rows. Run the command again: what was committed stays.",
    "40P01": "Another command worked on the same rows. Run the command again: what was committed stays.",
    "57P01": "The server was stopped. Run the command again: what was committed stays.",
    "57P02": "The server crashed. Run the command again: what was committed stays.",
    "42501": "Ask the owner of the database for membership in pix_reader, pix_app or pix_admin.",
}
"""What to do about PostgreSQL's own errors, by SQLSTATE; class PX brings its own hints."""


def from_database(error: psycopg2.Error) -> PixError:
    """Say what the database said, with its hint or ours."""
    message = (error.diag.message_primary or str(error).strip()).removeprefix("plpy.Error: ")
    code = f" [{error.pgcode}]" if error.pgcode else ""
    if error.pgcode == "2BP01":  # only the detail says of what it is
        message = f"{message}: {error.diag.message_detail}"
    return PixError(f"{message}{code}", REMEDIES.get(error.pgcode) or error.diag.message_hint)
