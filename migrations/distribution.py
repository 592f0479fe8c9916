"""Where a cluster keeps the rows of a table: DISTRIBUTED BY clauses, from the `info` of the tables' description.

Greenplum and Cloudberry are known by what they can, a catalogue of distribution policies, not by name or version.
On PostgreSQL the clauses vanish.
"""

from __future__ import annotations

from pixload.migrations.tables import metadata
from sqlalchemy import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

# Tables that a later revision has renamed or moved, as the revisions before it know them.
FORMER_NAMES = {
    "pix.model_parts": "pix_internal.model_parts",
    "pix.index_parts": "pix_internal.index_parts",
    "pix.feature_blocks": "pix_internal.feature_blocks",
    "pix.packs": "pix_internal.packs",
    "pix.clustering_designs": "pix_internal.clustering_states",
    "pix.projections": "pix_internal.projections",
    "pix.model_selection_tasks": "pix_internal.algorithm_selection_tasks",
    "pix.locks": "pix_internal.locks",
    "pix.metadata_designs": "pix.metadata_models",
    "pix.user_model_policy": "pix.algorithm_rules",
    "pix.tastes": "pix.common_taste",
    "pix.model_selections": "pix.algorithm_selections",
    "pix.model_selection_results": "pix.algorithm_selection_results",
}

IS_DISTRIBUTED = "SELECT to_regclass('pg_catalog.gp_distribution_policy') IS NOT NULL"


def detect(connection: Connection) -> None:
    """Find out whether tables are distributed here, for all CREATE TABLE on this connection."""
    with connection.connection.cursor() as cursor:
        cursor.execute(IS_DISTRIBUTED)
        (connection.dialect.is_distributed,) = cursor.fetchone()


def clause(name: str) -> str:
    """Return the clause of a table; one that is not described (alembic's own) is left to the server.

    Parameters
    ----------
    name : str
        With schema: ``pix.images``.
    """
    table = metadata.tables.get(FORMER_NAMES.get(name, name))
    if table is None:
        return ""
    columns = table.info["distributed_by"]
    return f" DISTRIBUTED BY ({', '.join(columns)})" if columns else " DISTRIBUTED REPLICATED"


@compiles(CreateTable, "postgresql")
def _create_table(element: CreateTable, compiler, **options) -> str:
    statement = compiler.visit_create_table(element, **options)
    if not getattr(compiler.dialect, "is_distributed", False):
        return statement
    return statement.rstrip() + clause(element.element.fullname)
