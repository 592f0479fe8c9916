"""pix algorithms: what can be chosen."""

from __future__ import annotations

import click
from rich.console import Console

from pixload.database import Database
from pixload.tables import Table


@click.command()
@click.argument("kind", required=False)
@click.pass_obj
def algorithms(database: Database, kind: str | None) -> None:
    """List what can be chosen as a metric, index, classifier, clustering, map, policy, estimator, or user model.

    KIND is one of these; without it, all are listed.

    Example: pix algorithms metric
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT kind, algorithm, summary, parameters::text FROM pix.algorithms(%s)", (kind,))
        rows = cursor.fetchall()
    table = Table("kind", "name", "summary", "parameters")
    for *columns, parameters in rows:
        table.add_row(*columns, "" if parameters == "{}" else parameters)
    Console().print(table)
