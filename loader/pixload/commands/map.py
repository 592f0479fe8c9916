"""pix map, pix pca: items on a plane, and features in few numbers."""

from __future__ import annotations

import click
from rich.console import Console

from pixload.database import Database
from pixload.options import INT_MAX
from pixload.tables import Table
from pixload.watching import percent, run_watched

FIT = """
SELECT map, items, trustworthiness, seconds
FROM pix.fit_map(%(map)s, %(model_name)s, %(algorithm)s, %(clustering)s, %(cluster)s, %(perplexity)s, %(seed)s)
"""


@click.group("map")
def map_() -> None:
    """Lay items out on a plane, those near one another that look alike.

    Example: pix map fit boots
    """


@map_.command("fit")
@click.argument("name")
@click.option("--model", "model_name", help="Model; default: that of the clustering, or the database's default model.")
@click.option("--algorithm", default="tsne", show_default=True, help="Algorithm, as pix algorithms lists it.")
@click.option("--clustering", help="Map one cluster of this clustering; default: everything.")
@click.option("--cluster", type=click.IntRange(1, INT_MAX), help="Cluster, by its id; needs --clustering.")
@click.option("--perplexity", type=click.FloatRange(1), help="Number of neighbors that count; default: 30, or fewer.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0, INT_MAX), help="Random seed.")
@click.pass_obj
def fit(database: Database, name: str, **options) -> None:
    """Make the map NAME, or make it again.

    Example: pix map fit boots --algorithm tsne
    """
    ((name, items, trust, seconds),) = run_watched(database, FIT, options | {"map": name}, "mapping", 100, percent)
    click.echo(f"{name}: {items:,} items, trustworthiness {trust:.3f}, made in {seconds:.1f} s")


@map_.command("refresh")
@click.argument("name")
@click.pass_obj
def refresh(database: Database, name: str) -> None:
    """Put items that are new or have changed on the map NAME; the others stay where they are.

    Example: pix map refresh boots
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.refresh_map(%s)", (name,))
        (placed,) = cursor.fetchone()
    click.echo(f"{name}: {placed:,} items placed")


@map_.command("list")
@click.pass_obj
def list_maps(database: Database) -> None:
    """List the maps, and how many items they lack.

    Example: pix map list
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT map, model_name, algorithm, clustering, cluster, items, added, trustworthiness, usable "
            "FROM pix.map_status ORDER BY 1"
        )
        rows = cursor.fetchall()
    table = Table("map", "model", "algorithm", "shows", "items", "added", "trustworthiness", "")
    for name, model_name, algorithm, clustering, cluster, items, added, trust, usable in rows:
        table.add_row(
            name, model_name, algorithm, f"cluster {cluster} of {clustering}" if clustering else "everything",
            f"{items:,}", f"{added:,}", f"{trust:.3f}", "" if usable else "the model has changed",
        )  # fmt: skip
    Console().print(table)


@map_.command("drop")
@click.argument("name")
@click.pass_obj
def drop(database: Database, name: str) -> None:
    """Remove the map NAME.

    Example: pix map drop boots
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.drop_map(%s)", (name,))
    click.echo(f"{name}: dropped")


@click.command()
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option(
    "--components", default=50, show_default=True, type=click.IntRange(1, INT_MAX), help="Number of components."
)
@click.pass_obj
def pca(database: Database, model_name: str | None, components: int) -> None:
    """Find the principal components of a model's features, and how much of their variance these explain.

    Example: pix pca --components 20
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT model_name, components, items, explained_variance_ratio FROM pix.fit_pca(%s, %s)",
            (model_name, components),
        )
        name, dimensions, items, ratios = cursor.fetchone()
    click.echo(f"{name}: {dimensions} components of {items:,} items explain {100 * sum(ratios):.1f} % of the variance")
