"""pix extract, pix nearest."""

from __future__ import annotations

from pathlib import Path

import click
import psycopg2
from rich.console import Console

from pixload.commands.load import EXISTING_FILE
from pixload.database import Database
from pixload.errors import PixError
from pixload.extraction import extract as run_extraction
from pixload.tables import Table

INT_MAX = 2**31 - 1
"""The largest integer that SQL takes."""


@click.command()
@click.option("--model", "model_name", help="Default: the database's default model.")
@click.option("--chunk-size", type=click.IntRange(1, INT_MAX), help="Pictures per commit; default: as SQL has it.")
@click.option("--retry-failed", is_flag=True, help="Try again the pictures that failed before.")
@click.option("--engine", help="onnxruntime (default), or tensorflow for a model imported with --keep-tensorflow.")
@click.pass_obj
def extract(
    database: Database, model_name: str | None, chunk_size: int | None, retry_failed: bool, engine: str | None
) -> None:
    """Compute the features of all pictures that have none yet, on all cores.

    Example: pix extract --model mini_inception
    """
    after = run_extraction(database, model_name, chunk_size, retry_failed, engine)
    speed = f", {after.images_per_second:.1f} images/s" if after.images_per_second else ""
    click.echo(f"{after.extracted:,} extracted, {after.failed:,} failed, {after.pending:,} pending{speed}")
    if after.pending:
        raise PixError("Pictures or the model changed meanwhile.", "Run pix extract again.")


@click.command()
@click.argument("item_ids", nargs=-1, metavar="[ITEM_ID]...")
@click.option("--image", type=EXISTING_FILE, help="A picture file, instead of items.")
@click.option("-k", type=click.IntRange(1, INT_MAX), default=10, show_default=True, help="How many.")
@click.option("--model", "model_name", help="Default: the database's default model.")
@click.option("--metric", default="cosine", show_default=True, help="cosine, euclidean, or dot.")
@click.pass_obj
def nearest(
    database: Database, item_ids: tuple[str, ...], image: Path | None, k: int, model_name: str | None, metric: str
) -> None:
    """List the look-alikes of an item, of several, or of a picture file.

    Example: pix nearest B005IYS5ZA -k 5
    """
    if bool(item_ids) == (image is not None):
        raise PixError("Items or one picture are needed.", "Give an ITEM_ID or several, or --image FILE.")
    with database.connect() as connection:
        if image is None:
            tables = look_alikes_of_items(connection, list(item_ids), k, model_name, metric)
        else:
            tables = {"": look_alikes_of_image(connection, image.read_bytes(), k, model_name, metric)}
    for item_id, rows in tables.items():
        title = f"look-alikes of {item_id}" if len(tables) > 1 else None
        Console().print(neighbor_table(rows, title))


Neighbor = tuple[int, str, float, str | None]
"""rank, item_id, distance, title"""


def look_alikes_of_items(
    connection, item_ids: list[str], k: int, model_name: str | None = None, metric: str = "cosine"
) -> dict[str, list[Neighbor]]:
    """Return the look-alikes of each item."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT n.item_id, n.rank, n.neighbor_id, n.distance, i.title
            FROM pix.nearest_many(%s, k => %s, model_name => %s, metric => %s) n
            LEFT JOIN pix.items i ON i.item_id = n.neighbor_id
            ORDER BY n.item_id, n.rank
            """,
            (item_ids, k, model_name, metric),
        )
        found = {item_id: [] for item_id in item_ids}
        for item_id, *neighbor in cursor:
            found[item_id].append(tuple(neighbor))
    return found


def look_alikes_of_image(connection, content: bytes, k: int, model_name: str | None, metric: str) -> list[Neighbor]:
    """Return the look-alikes of a picture."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT n.rank, n.item_id, n.distance, i.title
            FROM pix.nearest_to_image(%s, k => %s, model_name => %s, metric => %s) n
            LEFT JOIN pix.items i USING (item_id)
            ORDER BY n.rank
            """,
            (psycopg2.Binary(content), k, model_name, metric),
        )
        return cursor.fetchall()


def neighbor_table(rows: list[Neighbor], title: str | None = None) -> Table:
    """Lay out look-alikes."""
    table = Table("rank", "item", "distance", "title", title=title)
    for rank, item_id, distance, item_title in rows:
        table.add_row(str(rank), item_id, f"{distance:.4f}", item_title)
    return table
