"""pix index: approximate nearest neighbors."""

from __future__ import annotations

import json

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.options import INT_MAX
from pixload.tables import Table
from pixload.watching import percent, run_watched


@click.group()
def index() -> None:
    """Build indexes that find look-alikes faster, and measure what they miss.

    Example: pix index build boots
    """


@index.command("build")
@click.argument("name")
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option("--algorithm", default="hnsw", show_default=True, help="Algorithm, as pix algorithms lists it.")
@click.option("--metric", default="cosine", show_default=True, help="Metric, as pix algorithms lists it.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the algorithm, such as ef_search=100.",
)
@click.option("--project-to", type=click.IntRange(1, INT_MAX), help="Principal components to keep; default: all.")
@click.pass_obj
def build(
    database: Database, name: str, model_name: str | None, algorithm: str, metric: str, settings: tuple[str, ...],
    project_to: int | None,
) -> None:  # fmt: skip
    """Build the index NAME, or build it again; queries use the one before until it is done.

    Example: pix index build boots --set ef_search=100
    """
    parameters = json.dumps(dict(map(_setting, settings)))
    run_and_report(
        database,
        "pix.build_index(%s, %s, %s, %s, %s, %s)",
        (name, model_name, algorithm, metric, parameters, project_to),
    )


@index.command("refresh")
@click.argument("name")
@click.pass_obj
def refresh(database: Database, name: str) -> None:
    """Bring the index NAME up to date with the features.

    Example: pix index refresh boots
    """
    run_and_report(database, "pix.refresh_index(%s)", (name,))


@index.command("drop")
@click.argument("name")
@click.pass_obj
def drop(database: Database, name: str) -> None:
    """Remove the index NAME; the features stay.

    Example: pix index drop boots
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.drop_index(%s)", (name,))
    click.echo(f"{name}: dropped")


@index.command("list")
@click.pass_obj
def list_indexes(database: Database) -> None:
    """List the indexes, their recall, and how many items they lack.

    Example: pix index list
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT index_name, model_name, algorithm, metric, items, added, removed, recall, size_bytes, usable "
            "FROM pix.index_status ORDER BY index_name"
        )
        rows = cursor.fetchall()
    table = Table("index", "model", "algorithm", "metric", "items", "added", "removed", "recall", "MB", "")
    for name, model_name, algorithm, metric, items, added, removed, recall, size, usable in rows:
        table.add_row(
            name, model_name, algorithm, metric, f"{items:,}", f"{added:,}", f"{removed:,}", f"{recall:.3f}",
            f"{size / 1e6:,.1f}", "" if usable else "the model has changed",
        )  # fmt: skip
    Console().print(table)


@index.command("check")
@click.argument("name")
@click.option(
    "--queries", type=click.IntRange(1, INT_MAX), default=100, show_default=True, help="Number of items to ask about."
)
@click.option("-k", type=click.IntRange(1, INT_MAX), default=10, show_default=True, help="Number of neighbors.")
@click.pass_obj
def check(database: Database, name: str, queries: int, k: int) -> None:
    """Measure what the index NAME finds and how fast, against exact search.

    Example: pix index check boots --queries 200
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM pix.recall_check(%s, %s, %s)", (name, k, queries))
        count, k, recall, *times = cursor.fetchone()
    click.echo(f"{name}: recall@{k} {recall:.3f}, of {count:,} queries")
    table = Table("milliseconds", "median", "95 %")
    for title, (median, most) in zip(("with the index", "exact"), (times[:2], times[2:]), strict=True):
        table.add_row(title, f"{median:.2f}", f"{most:.2f}")
    Console().print(table)


def run_and_report(database: Database, call: str, parameters: tuple) -> None:
    """Call what writes an index, and tell what came of it."""
    sql = f"SELECT index_name, items, recall, build_seconds, size_bytes FROM {call}"
    ((name, items, recall, seconds, size),) = run_watched(database, sql, parameters, "building", 100, percent)
    click.echo(f"{name}: {items:,} items, recall@10 {recall:.3f}, built in {seconds:.1f} s, {size / 1e6:,.1f} MB")


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise PixError(f"--set must be NAME=VALUE, not {text!r}.", "Write it like this: --set ef_search=100")
    return name, int(value) if value.isascii() and value.isdigit() else value
