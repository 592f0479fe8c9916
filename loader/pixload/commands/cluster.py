"""pix cluster: groups of items that look alike."""

from __future__ import annotations

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.tables import Table
from pixload.watching import percent, run_watched

FIT = """
SELECT clustering, items, k, seconds, moved
FROM pix.fit_clusters(
    %(clustering)s, %(model_name)s, %(algorithm)s, %(k)s, %(n_init)s, %(seed)s, %(dimensions)s, %(max_k)s
)
"""
CLUSTERS = """
SELECT c.cluster, c.parent, c.items, c.medoid, i.title, c.words, c.mean_price
FROM pix.clusters c LEFT JOIN pix.items i ON i.item_id = c.medoid
WHERE c.clustering = (pix.find_clustering(%s)).clustering
ORDER BY c.height IS NULL, c.height DESC, c.cluster
"""


@click.group()
def cluster() -> None:
    """Group items by how they look.

    Example: pix cluster fit boots -k 25
    """


@cluster.command("fit")
@click.argument("name")
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option(
    "--algorithm", default="kmeans", show_default=True,
    help="Algorithm, as pix algorithms lists it.",
)  # fmt: skip
@click.option(
    "-k", default="25", show_default=True, metavar="NUMBER", help="Number of clusters; auto: chosen by silhouette."
)
@click.option(
    "--max-k", default=40, show_default=True, type=click.IntRange(2, 200), help="Largest number of clusters for auto."
)
@click.option(
    "--n-init",
    default=10,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Number of starts, of which the best is kept.",
)
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0, 10**9), help="Random seed.")
@click.option("--dimensions", metavar="NUMBERS", help="Only these features, such as 1,5,17; default: all.")
@click.pass_obj
def fit(database: Database, name: str, k: str, dimensions: str | None, **options) -> None:
    """Fit the clustering NAME, or fit it again; clusters keep their numbers.

    Example: pix cluster fit boots -k 25
    """
    parameters = options | {"clustering": name, "k": _cluster_count(k), "dimensions": _numbers(dimensions)}
    ((name, items, clusters, seconds, moved),) = run_watched(database, FIT, parameters, "clustering", 100, percent)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT k, silhouette FROM pix.cluster_curves WHERE clustering = %s ORDER BY k", (name,))
        curve = cursor.fetchall()
    if curve:
        table = Table("clusters", "silhouette")
        for tried, silhouette in curve:
            table.add_row(f"{tried:,}", f"{silhouette:.3f}" + (" <- chosen" if tried == clusters else ""))
        Console().print(table)
    change = "" if moved is None else f", {moved:,} items moved"
    click.echo(f"{name}: {items:,} items in {clusters:,} clusters, fitted in {seconds:.1f} s{change}")


@cluster.command("refresh")
@click.argument("name")
@click.pass_obj
def assign(database: Database, name: str) -> None:
    """Put items that are new or have changed into the clusters of NAME, without fitting it again.

    Example: pix cluster refresh boots
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.refresh_clusters(%s)", (name,))
        (assigned,) = cursor.fetchone()
    click.echo(f"{name}: {assigned:,} items assigned")


@cluster.command("list")
@click.pass_obj
def list_clusterings(database: Database) -> None:
    """List the clusterings, and how many items they lack.

    Example: pix cluster list
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT clustering, model_name, algorithm, k, items, added, usable FROM pix.clustering_status ORDER BY 1"
        )
        rows = cursor.fetchall()
    table = Table("clustering", "model", "algorithm", "clusters", "items", "added", "")
    for name, model_name, algorithm, k, items, added, usable in rows:
        table.add_row(
            name, model_name, algorithm, f"{k:,}", f"{items:,}", f"{added:,}", "" if usable else "the model has changed"
        )
    Console().print(table)


@cluster.command("show")
@click.argument("name")
@click.option("--labels", "label_set", help="Label set to compare with.")
@click.pass_obj
def show(database: Database, name: str, label_set: str | None) -> None:
    """List the clusters of NAME, and how good they are.

    Example: pix cluster show boots --labels heel
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(CLUSTERS, (name,))
        rows = cursor.fetchall()
        cursor.execute("SELECT * FROM pix.clustering_quality(%s, %s)", (name, label_set))
        names = ("silhouette", "Davies–Bouldin", "adjusted Rand index", "purity")
        measures = dict(zip(names, cursor.fetchone(), strict=True))
    table = Table("cluster", "in", "items", "medoid", "its title", "words", "mean price")
    for number, parent, items, medoid, title, words, price in rows:
        table.add_row(
            str(number), parent and str(parent), f"{items:,}", medoid, title, " ".join(words), price and f"{price:.2f}"
        )
    Console().print(table)
    measured = [f"{title} {value:.3f}" for title, value in measures.items() if value is not None]
    click.echo(", ".join(measured))


@cluster.command("drop")
@click.argument("name")
@click.pass_obj
def drop(database: Database, name: str) -> None:
    """Remove the clustering NAME; the features stay.

    Example: pix cluster drop boots
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.drop_clustering(%s)", (name,))
    click.echo(f"{name}: dropped")


def _cluster_count(text: str) -> int | None:
    if text == "auto":
        return None
    if not _is_whole(text):
        raise PixError(f"-k must be a number of clusters or auto, not {text!r}.", "Write a number, or auto: -k 25")
    return int(text)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = [number.strip() for number in text.split(",")]
    if not all(map(_is_whole, numbers)):
        raise PixError(
            f"--dimensions must be numbers of features, not {text!r}.", "Write them with commas: --dimensions 1,5,17"
        )
    return [int(number) for number in numbers]


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
