"""Prepare a database, and find out what it lacks."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from pixload.database import Database


@click.command()
@click.option("--to", "revision", default="head", help="An alembic revision, or 'base' to remove everything.")
@click.option("--yes", is_flag=True, help="Do not ask before --to base removes everything.")
@click.pass_obj
def migrate(database: Database, revision: str, yes: bool) -> None:
    """Create or upgrade tables, types, roles and functions; all or nothing.

    Example: pix migrate
    """
    # Alembic takes a third of a second to import, which every other command would wait for.
    from pixload.migration import VERSION, heal
    from pixload.migration import migrate as migrate_database

    if revision == "base" and not yes:
        click.confirm("Delete everything: all images, features, models and votes?", abort=True)
    before, after = migrate_database(database.dsn, revision)
    click.echo(f"revision {before or 'none'} -> {after or 'none'}, functions of version {VERSION}")
    if revision == "head":
        for model_name in heal(database.dsn):
            click.echo(
                f"Blocks of model {model_name} had vectors in the wrong rows: they were packed again, and models of "
                f"users learn again. What users have in common: SELECT * FROM pix.fit_common_taste('{model_name}')"
            )


@click.command()
@click.option(
    "--deep", is_flag=True, help="Also compare blocks, indexes, clusterings and arms with what they are made of."
)
@click.pass_obj
def doctor(database: Database, deep: bool) -> None:
    """Check the server, on Greenplum every host; exit status 1 if something is wrong.

    Example: pix doctor
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM pix.doctor()")
        checks = cursor.fetchall()
        if deep:
            cursor.execute("SELECT '', NULL, c.* FROM pix.check_derived() c")
            checks += cursor.fetchall()
    table = Table("host", "segment", "check", "", "found", "remedy", box=None)
    for host, segment, check, ok, value, remedy in checks:
        where = "" if segment is None else str(segment)
        table.add_row(host, where, check, "[green]ok[/]" if ok else "[red]wrong[/]", value, remedy)
    Console().print(table)
    sys.exit(0 if all(ok for _, _, _, ok, *_ in checks) else 1)
