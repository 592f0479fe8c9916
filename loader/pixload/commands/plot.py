"""pix plot: images for slides."""

from __future__ import annotations

from pathlib import Path

import click

from pixload.database import Database
from pixload.options import INT_MAX

PNG_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def plot() -> None:
    """Draw a map or a cluster as a PNG file of 1920 × 1080 pixels.

    Example: pix plot map everything map.png
    """


@plot.command("map")
@click.argument("name")
@click.argument("file", type=PNG_FILE)
@click.option("--labels", "label_set", help="Color by this label set; default: by cluster.")
@click.option("--clustering", help="Color by this clustering; default: the latest.")
@click.pass_obj
def plot_map(database: Database, name: str, file: Path, label_set: str | None, clustering: str | None) -> None:
    """Draw the map NAME into FILE.

    Example: pix plot map everything map.png --labels heel
    """
    from pixload import plots  # Matplotlib is slow to import

    with database.connect() as connection:
        plots.plot_map(connection, name, file, label_set, clustering)
    click.echo(str(file))


@plot.command("cluster")
@click.argument("clustering")
@click.argument("cluster", type=click.IntRange(1, INT_MAX))
@click.argument("file", type=PNG_FILE)
@click.pass_obj
def plot_cluster(database: Database, clustering: str, cluster: int, file: Path) -> None:
    """Draw the cluster of this number into FILE, its medoid first.

    Example: pix plot cluster boots 3 cluster-3.png
    """
    from pixload import plots  # Matplotlib is slow to import

    with database.connect() as connection:
        plots.plot_cluster(connection, clustering, cluster, file)
    click.echo(str(file))
