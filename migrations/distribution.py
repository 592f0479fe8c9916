"""Where a cluster keeps the rows of a table: DISTRIBUTED BY clauses, from the `info` of the tables' description.

Greenplum and Cloudberry are known by what they can, a catalogue of distribution policies, not by name or version.
On PostgreSQL the clauses vanish.
"""

from __future__ import annotations

from pixload.migrations.tables import metadata
from sqlalchemy import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

IS_CLUSTER = "SELECT to_regclass('pg_catalog.gp_distribution_policy') IS NOT NULL"


def detect(connection: Connection) -> None:
    """Find out whether tables are distributed here, for all CREATE TABLE on this connection."""
    with connection.connection.cursor() as cursor:
        cursor.execute(IS_CLUSTER)
        (connection.dialect.is_cluster,) = cursor.fetchone()


def clause(name: str) -> str:
    """Return the clause of a table; one that is not described (alembic's own) is left to the server.

    Parameters
    ----------
    name : str
        With schema: ``pix.images``.
    """
    table = metadata.tables.get(name)
    if table is None:
        return ""
    columns = table.info["distributed_by"]
    return f" DISTRIBUTED BY ({', '.join(columns)})" if columns else " DISTRIBUTED REPLICATED"


@compiles(CreateTable, "postgresql")
def _create_table(element: CreateTable, compiler, **options) -> str:
    statement = compiler.visit_create_table(element, **options)
    if not getattr(compiler.dialect, "is_cluster", False):
        return statement
    return statement.rstrip() + clause(element.element.fullname)
