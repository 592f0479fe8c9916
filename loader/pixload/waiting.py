"""Telling for whom something waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import click
import psycopg2

from pixload.database import connect
from pixload.errors import PixError

SECONDS_IN_SILENCE = 3

WHO = """
SELECT format(
    'Waiting for process %%s of role %%s (%%s%%s)', pid, usename, coalesce(nullif(application_name, ''), 'no name'),
    CASE WHEN state LIKE 'idle in transaction%%' THEN ', idle in a transaction since ' || state_change ELSE '' END
)
FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%s)) ORDER BY pid
"""


@contextmanager
def tell_who_is_in_the_way(dsn: str, process_id: int) -> Iterator[None]:
    """Say on standard error whose locks a session waits for, if it waits for longer than a moment.

    Parameters
    ----------
    dsn : str
        The server.
    process_id : int
        Of the session.
    """
    over = Event()
    thread = Thread(target=_tell, args=(dsn, process_id, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _tell(dsn: str, process_id: int, over: Event) -> None:
    shown = None
    while not over.wait(SECONDS_IN_SILENCE):
        try:
            connection = connect(dsn)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(WHO, (process_id,))
                    lines = [line for (line,) in cursor]
            finally:
                connection.close()
        except (psycopg2.Error, PixError):  # the migration itself tells what is wrong
            continue
        if lines != shown:
            for line in lines:
                click.echo(line, err=True)
            shown = lines
