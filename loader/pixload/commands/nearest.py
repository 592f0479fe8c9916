"""pix nearest, pix graph, pix duplicates: look-alikes."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.neighbors import look_alikes_of_image, look_alikes_of_items, neighbor_table
from pixload.options import EXISTING_FILE, INT_MAX, filter_options
from pixload.tables import Table
from pixload.watching import percent, run_watched


@click.command()
@click.argument("item_ids", nargs=-1, metavar="[ITEM_ID]...")
@click.option("--image", type=EXISTING_FILE, help="An image file, instead of items.")
@click.option("-k", type=click.IntRange(1, INT_MAX), default=10, show_default=True, help="Number of results.")
@click.option("--model", "model_name", help="Model; default: that of the index, or the database's default model.")
@click.option("--metric", help="Metric, as pix algorithms lists it; default: that of the index, or cosine.")
@click.option("--index", "index_name", help="Index of pix index build; default: exact search.")
@filter_options
@click.pass_obj
def nearest(database: Database, item_ids: tuple[str, ...], image: Path | None, **options) -> None:
    """List the look-alikes of an item, of several, or of an image file.

    Example: pix nearest B005IYS5ZA -k 5 --max-price 100
    """
    if bool(item_ids) == (image is not None):
        raise PixError("Items or one image are needed.", "Give an ITEM_ID or several, or --image FILE.")
    with database.connect() as connection:
        if image is None:
            tables = look_alikes_of_items(connection, list(item_ids), options)
        else:
            tables = {"": look_alikes_of_image(connection, image.read_bytes(), options)}
    for item_id, rows in tables.items():
        title = f"look-alikes of {item_id}" if len(tables) > 1 else None
        Console().print(neighbor_table(rows, title))


@click.command()
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option("-k", type=click.IntRange(1, INT_MAX), default=10, show_default=True, help="Number of neighbors.")
@click.option("--metric", default="cosine", show_default=True, help="Metric, as pix algorithms lists it.")
@click.pass_obj
def graph(database: Database, model_name: str | None, k: int, metric: str) -> None:
    """Store the neighbors of all items in pix.neighbors; stopped, it goes on where it was.

    Example: pix graph -k 10
    """
    run_watched(
        database, "CALL pix.build_neighbor_graph(%s, %s, %s)", (model_name, k, metric), "neighbor graph", 100, percent
    )
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT items, seconds FROM pix.neighbor_graphs WHERE model_name = (pix.find_model(%s)).model_name",
            (model_name,),
        )
        items, seconds = cursor.fetchone()
    click.echo(f"{items:,} items have their neighbors in pix.neighbors, after {seconds:.1f} s")


@click.command()
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option(
    "--max-distance", type=click.FloatRange(0, 2), default=0.01, show_default=True, help="Cosine distance of a pair."
)
@click.pass_obj
def duplicates(database: Database, model_name: str | None, max_distance: float) -> None:
    """List pairs of items that look the same.

    Example: pix duplicates --max-distance 0.001
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_id, duplicate_id, distance FROM pix.duplicates(%s, %s) ORDER BY 3, 1, 2",
            (model_name, max_distance),
        )
        rows = cursor.fetchall()
    table = Table("item", "duplicate", "distance")
    for item_id, duplicate_id, distance in rows:
        table.add_row(item_id, duplicate_id, f"{distance:.4f}")
    Console().print(table)
    click.echo(f"{len(rows):,} pair{'' if len(rows) == 1 else 's'}")
