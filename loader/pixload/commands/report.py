"""pix report: a page to look at, or to send."""

from __future__ import annotations

from pathlib import Path

import click

from pixload.database import Database


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model", "model_name", help="Model; default: that of the map or clustering, or the database's default model."
)
@click.option("--map", "map_name", help="Map; default: the latest of everything.")
@click.option("--clustering", help="Clustering; default: the latest.")
@click.option("--feature-maps", "seen_item", metavar="ITEM_ID", help="Show what the network sees in this item's image.")
@click.pass_obj
def report(database: Database, file: Path, **options: str | None) -> None:
    """Write a page of the catalogue to FILE: map, clusters, look-alikes, charts. It needs no internet connection.

    Example: pix report boots.html
    """
    from pixload.report import write_report  # Bokeh is slow to import

    size = write_report(database, file, **options)
    click.echo(f"{file}: {size / 1e6:.1f} MB")
