"""Connections: to the private server, or wherever `--dsn` says.

A pooler may give every transaction another session of the server, and that
session to others afterwards. So nothing here outlasts a transaction.
"""

from __future__ import annotations

from contextlib import contextmanager

import psycopg2
import psycopg2.extensions

from pixload.errors import PixError, from_connecting, from_database
from pixload.private_server import PrivateServer


class Database:
    """The database that commands work on.

    Parameters
    ----------
    dsn : str, optional
        A connection string or URL. None: the private server of `cluster`.
    private_server : PrivateServer
        The private server.
    """

    def __init__(self, dsn: str | None, private_server: PrivateServer):
        self._dsn = dsn
        self.private_server = private_server

    @property
    def is_remote(self) -> bool:
        """Whether a server other than the private one is meant."""
        return self._dsn is not None

    @property
    def dsn(self) -> str:
        """The connection string; the private server has to run for its own."""
        if self._dsn is not None:
            return self._dsn
        if not self.private_server.is_running():
            raise PixError("The private server does not run.", "Start it: pix server start")
        return self.private_server.dsn

    @contextmanager
    def connect(self, autocommit: bool = False):
        """Open a connection; leave it committed, or rolled back after an error.

        Parameters
        ----------
        autocommit : bool, default False
            For what commits by itself. Such a statement must not hold an operator, or a name without its schema:
            the search_path is the session's own.
        """
        connection = connect(self.dsn)
        try:
            connection.autocommit = autocommit
            yield connection
            connection.commit()
        except psycopg2.Error as error:
            raise from_database(error) from error
        finally:
            connection.close()


class Cursor(psycopg2.extensions.cursor):
    """Begins each transaction with a search_path that finds nothing of others."""

    def execute(self, query, parameters=None) -> None:
        info = self.connection.info
        if info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE and not self.connection.autocommit:
            super().execute("SET LOCAL search_path = pg_catalog, pg_temp")
        super().execute(query, parameters)


def connect(dsn: str):
    """Open a connection that speaks UTF-8, whatever the environment says.

    Raises
    ------
    PixError
        If there is no server, or the connection string is wrong.
    """
    try:
        return psycopg2.connect(dsn, application_name="pix", client_encoding="UTF8", cursor_factory=Cursor)
    except psycopg2.Error as error:
        raise from_connecting(error) from error
