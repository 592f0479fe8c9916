"""Long work in the server, and a bar for its progress."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress

import psycopg2

from pixload.database import Database, connect
from pixload.progress import progress_bar

SECONDS_BETWEEN_LOOKS = 0.5

# A server that can (PostgreSQL 14) notices within seconds that this process was killed, and stops working for it.
# The setting is the session's, so it is only made where the protocol's process id shows that the session is ours:
# a pooler gives an id of its own.
CANCEL_WHEN_ALONE = """
SELECT pg_catalog.set_config(name, '2s', false) FROM pg_catalog.pg_settings
WHERE name OPERATOR(pg_catalog.=) 'client_connection_check_interval'
    AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %s
"""

PERCENT = """
SELECT b.percent FROM pix.builds b JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE strpos(a.query, %s) > 0
"""


def run_watched(
    database: Database, sql: str, parameters, description: str, total: int, look: Callable[[object, str], int]
) -> list[tuple]:
    """Run a statement in a connection of its own while another one asks for its progress.

    Parameters
    ----------
    database : Database
        Where.
    sql : str
        The statement, run outside a transaction block; see `Database.connect` for what it must not hold.
    parameters : sequence or mapping
        Its parameters.
    description : str
        Says what is going on.
    total : int
        Where the bar ends.
    look : callable
        Takes the other connection and the mark by which pg_stat_activity knows the statement, returns how much is
        done. Each look is a transaction.

    Returns
    -------
    list of tuple
        The rows, if there are any.
    """
    mark = f"/* pix {secrets.token_hex(8)} */"
    with database.connect(autocommit=True) as working, closing(connect(database.dsn)) as watching:
        cursor = working.cursor()
        cursor.execute(CANCEL_WHEN_ALONE, (working.info.backend_pid,))
        with progress_bar(description, total) as advance, ThreadPoolExecutor(1) as pool:
            running = pool.submit(cursor.execute, f"{sql} {mark}", parameters)
            try:
                with suppress(psycopg2.OperationalError):  # a pooler may have no second session: then without looking
                    while not wait([running], SECONDS_BETWEEN_LOOKS).done:
                        advance(completed=look(watching, mark))
                        watching.commit()
                running.result()
            except BaseException:  # Ctrl-C too: the server should not go on alone
                with suppress(psycopg2.Error):
                    working.cancel()
                raise
            advance(completed=total)
        return cursor.fetchall() if cursor.description else []


def percent(watching, mark: str) -> int:
    """Return how much is done of what the statement with this mark builds."""
    with watching.cursor() as cursor:
        cursor.execute(PERCENT, (mark,))
        row = cursor.fetchone()
    return row[0] if row else 0
