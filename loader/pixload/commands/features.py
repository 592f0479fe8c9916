"""pix extract, pix nearest."""

from __future__ import annotations

from pathlib import Path

import click
import psycopg2
from rich.console import Console
from rich.table import Table

from pixload.commands.load import EXISTING_FILE
from pixload.database import Database
from pixload.errors import PixError
from pixload.extraction import extract as run_extraction

INT_MAX = 2**31 - 1
"""The largest integer that SQL takes."""


@click.command()
@click.option("--model", "model_name", help="Default: the database's default model.")
@click.option("--chunk-size", type=click.IntRange(1, INT_MAX), help="Pictures per commit; default: as SQL has it.")
@click.option("--retry-failed", is_flag=True, help="Try again the pictures that failed before.")
@click.pass_obj
def extract(database: Database, model_name: str | None, chunk_size: int | None, retry_failed: bool) -> None:
    """Compute the features of all pictures that have none yet, on all cores.

    Example: pix extract --model mini_inception
    """
    after = run_extraction(database, model_name, chunk_size, retry_failed)
    speed = f", {after.images_per_second:.1f} images/s" if after.images_per_second else ""
    click.echo(f"{after.extracted:,} extracted, {after.failed:,} failed, {after.pending:,} pending{speed}")
    if after.pending:
        raise PixError("Pictures or the model changed meanwhile.", "Run pix extract again.")


@click.command()
@click.argument("item_id", required=False)
@click.option("--image", type=EXISTING_FILE, help="A picture file, instead of an item.")
@click.option("-k", type=click.IntRange(1, INT_MAX), default=10, show_default=True, help="How many.")
@click.option("--model", "model_name", help="Default: the database's default model.")
@click.option("--metric", default="cosine", show_default=True, help="cosine, euclidean, or dot.")
@click.pass_obj
def nearest(
    database: Database, item_id: str | None, image: Path | None, k: int, model_name: str | None, metric: str
) -> None:
    """List the look-alikes of an item, or of a picture file.

    Example: pix nearest B005IYS5ZA -k 5
    """
    if (item_id is None) == (image is None):
        raise PixError("One item or one picture is needed.", "Give an ITEM_ID, or --image FILE.")
    function, query = (
        ("nearest", item_id) if image is None else ("nearest_to_image", psycopg2.Binary(image.read_bytes()))
    )
    with database.connect() as connection:
        rows = look_alikes(connection, function, query, k, model_name, metric)
    Console().print(neighbor_table(rows))


def look_alikes(connection, function: str, query, k: int, model_name: str | None = None, metric: str = "cosine"):
    """Return rows of (rank, item_id, distance, title)."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT n.rank, n.item_id, n.distance, i.title
            FROM pix.{function}(%s, k => %s, model_name => %s, metric => %s) n LEFT JOIN pix.items i USING (item_id)
            ORDER BY n.rank
            """,
            (query, k, model_name, metric),
        )
        return cursor.fetchall()


def neighbor_table(rows) -> Table:
    """Lay out what `look_alikes` returns."""
    table = Table("rank", "item", "distance", "title", box=None)
    for rank, item_id, distance, title in rows:
        table.add_row(str(rank), item_id, f"{distance:.4f}", title)
    return table
