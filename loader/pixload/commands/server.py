"""The private server, and psql on whichever server is meant."""

from __future__ import annotations

import os
import shutil

import click

from pixload.database import Database
from pixload.errors import PixError
from pixload.private_server import python_path


@click.group()
def server() -> None:
    """Run the private PostgreSQL server of this checkout.

    Example: pix server start
    """


@server.command()
@click.pass_obj
def start(database: Database) -> None:
    """Start it, creating it first if need be.

    Example: pix server start
    """
    database.private_server.start()
    click.echo(database.private_server.status())


@server.command()
@click.pass_obj
def stop(database: Database) -> None:
    """Stop it; sessions are ended, what they had not committed is rolled back.

    Example: pix server stop
    """
    database.private_server.stop()


@server.command()
@click.pass_obj
def status(database: Database) -> None:
    """Say whether and where it runs.

    Example: pix server status
    """
    click.echo(database.private_server.status())


@server.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def destroy(database: Database, yes: bool) -> None:
    """Stop it and delete all its data.

    Example: pix server destroy --yes
    """
    if not yes:
        click.confirm(f"Delete all data in {database.private_server.data}?", abort=True)
    database.private_server.destroy()


@server.command("python-path")
def show_python_path() -> None:
    """Print what PYTHONPATH of a server's postmaster must hold, on each of its hosts.

    Example: pix server python-path
    """
    click.echo(python_path())


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def psql(database: Database, options: tuple[str, ...]) -> None:
    """Open psql on the database, with psql's own options after --.

    Example: pix psql -- -c "SELECT * FROM pix.extraction_progress"
    """
    program = shutil.which("psql")
    if program is None:
        raise PixError("psql is not installed.", "apt-get install postgresql-client")
    os.execv(program, [program, "--dbname", database.dsn, *options])  # noqa: S606 no shell
