"""pix load: images, metadata, labels, features, votes."""

from __future__ import annotations

from pathlib import Path

import click

from pixload import load as loading
from pixload.database import Database
from pixload.merge import Rejects, Summary
from pixload.options import EXISTING_FILE
from pixload.progress import progress_bar
from pixload.sources.images import count_candidates

EXISTING_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def load() -> None:
    """Load files into tables; what is there already and has not changed is left alone.

    Example: pix load images images/ --label-set kind
    """


def rejects_option(command):
    return click.option(
        "--rejects",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("pix-rejects.csv"),
        show_default=True,
        help="CSV file for rejected rows and their reasons; made only if there are any.",
    )(command)


def report(summary: Summary, rejects: Path) -> None:
    click.echo(f"{summary}{f' (reasons in {rejects})' if summary.rejected else ''}")


@load.command()
@click.argument("paths", nargs=-1, required=True, type=EXISTING_PATH)
@click.option("--label-set", help="Store each image's folder as its label in this label set.")
@rejects_option
@click.pass_obj
def images(database: Database, paths: tuple[Path, ...], label_set: str | None, rejects: Path) -> None:
    """Load images from folders, tar and zip archives, or manifests (CSV or JSON lines with paths or URLs).

    Example: pix load images images/ more.zip manifest.csv
    """
    with (
        database.connect() as connection,
        progress_bar("loading images", count_candidates(paths)) as advance,
    ):
        summary = loading.load_images(connection, paths, Rejects(rejects), label_set, advance)
    report(summary, rejects)


@load.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--where-title", "title_word", help="Load only items whose title contains this, in any case.")
@rejects_option
@click.pass_obj
def metadata(database: Database, file: Path, title_word: str | None, rejects: Path) -> None:
    """Load metadata: Amazon's Python-dict lines, JSON lines, or CSV; gzipped or not.

    Example: pix load metadata meta_Clothing.json.gz --where-title boots
    """
    with (
        database.connect() as connection,
        progress_bar("loading metadata", file.stat().st_size, in_bytes=True) as advance,
    ):
        summary = loading.load_metadata(connection, file, Rejects(rejects), title_word, advance)
    report(summary, rejects)


@load.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--label-set", help="Label set of rows that name none, and of JSON lines {item_id: label}.")
@rejects_option
@click.pass_obj
def labels(database: Database, file: Path, label_set: str | None, rejects: Path) -> None:
    """Load labels from a CSV file with the header item_id,label_set,label, or from JSON lines.

    Example: pix load labels colors.jsonl --label-set color
    """
    with database.connect() as connection, progress_bar("loading labels", None) as advance:
        summary = loading.load_labels(connection, file, Rejects(rejects), label_set, advance)
    report(summary, rejects)


@load.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--model", "model_name", required=True, help="Name for the source of these features.")
@click.option("--dimensions", default=4096, show_default=True, type=click.IntRange(1), help="Numbers per vector.")
@rejects_option
@click.pass_obj
def features(database: Database, file: Path, model_name: str, dimensions: int, rejects: Path) -> None:
    """Load ready-made features: 10-byte ids, each followed by float32 numbers.

    Example: pix load features image_features_Clothing.b --model amazon_2015
    """
    total = file.stat().st_size // (10 + 4 * dimensions)
    with database.connect() as connection, progress_bar("loading features", total) as advance:
        summary = loading.load_features(connection, file, model_name, Rejects(rejects), dimensions, advance)
        connection.cursor().execute("SELECT pix.pack_features(%s)", (model_name,))
    report(summary, rejects)


@load.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--user", "user_id", help="User of rows that name none.")
@rejects_option
@click.pass_obj
def interactions(database: Database, file: Path, user_id: str | None, rejects: Path) -> None:
    """Load votes: CSV or JSON lines with user_id, item_id, and liked or signal; or lines of item,1 and item,0.

    Example: pix load interactions votes.csv
    """
    with (
        database.connect() as connection,
        progress_bar("loading votes", file.stat().st_size, in_bytes=True) as advance,
    ):
        summary = loading.load_interactions(connection, file, Rejects(rejects), user_id, advance)
    report(summary, rejects)
