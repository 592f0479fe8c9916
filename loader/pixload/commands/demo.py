"""pix sample and pix demo: a catalogue to try things on, and the whole story in one command."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import click
import psycopg2
from rich.console import Console

from pixload import load as loading
from pixload.conversion.onnx_files import read_onnx
from pixload.database import Database
from pixload.extraction import extract
from pixload.merge import Rejects
from pixload.models import SHIPPED, import_model
from pixload.neighbors import look_alikes_of_items, neighbor_table
from pixload.progress import progress_bar
from pixload.sample import draw_catalogue

IMAGENET_MODEL = "inception_v3"
IMAGENET_SECONDS = 120
DEMO_ITEMS, DEMO_SEED = 600, 7
QUERIES = 100
INDEX = "look_alikes"
CLUSTERS, MAP = "looks", "everything"
MOST_CLUSTERS = 24
SIMULATED, VOTES, TASTES = 12, 25, 3
UNFIT_LABELS = ("PX072", "PX073", "PX003")
"""What labels of people's own images can be: too few, of other items, or a name that is taken."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--items", default=DEMO_ITEMS, show_default=True, type=click.IntRange(1), help="Number of boots.")
@click.option("--seed", default=DEMO_SEED, show_default=True, type=click.IntRange(0), help="Random seed: which boots.")
def sample(folder: Path, items: int, seed: int) -> None:
    """Draw a catalogue of boots into FOLDER: images, metadata, labels; the same for the same seed.

    Example: pix sample boots --items 600 --seed 7
    """
    draw(folder, items, seed)
    click.echo(f"{items} boots in {folder}: images/, metadata.json.gz, labels.csv")


def draw(folder: Path, items: int, seed: int) -> None:
    with progress_bar("drawing boots", items) as advance:
        for _ in draw_catalogue(folder, items, seed):
            advance()


@click.command()
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Your own images, in a folder per label; default: drawn boots.",
)  # fmt: skip
@click.pass_obj
def demo(database: Database, images: Path | None) -> None:
    """Load a catalogue, extract features, and show look-alikes; done again, it goes on where it was.

    Example: pix demo
    """
    from pixload.migration import migrate  # slow to import

    say = Console(highlight=False, soft_wrap=True)
    if not database.is_remote:
        database.private_server.start()
    migrate(database.dsn)
    label_set = load_catalogue(database, images)
    model_name = choose_model(database, say)
    after = extract(database, model_name)
    with database.connect() as connection:
        tell_story(say, connection, after, label_set)
    show_groups(say, database, after, label_set)
    say.print(f"\nGo on in SQL:  [bold]{Path(sys.executable).parent / 'pix'} psql[/]")
    say.print("  SELECT * FROM pix.extraction_progress;", markup=False)


def load_catalogue(database: Database, images: Path | None) -> str:
    """Load the given or the drawn catalogue, and return the label set of its truth."""
    home = database.private_server.home
    home.mkdir(parents=True, exist_ok=True)

    def rejects(kind: str) -> Rejects:
        return Rejects(home / f"demo-rejects-{kind}.csv")

    if images is not None:
        with database.connect() as connection, progress_bar("loading images", None) as advance:
            loading.load_images(connection, [images], rejects("images"), "folder", advance)
        return "folder"
    folder = home / "sample"
    if not (folder / "labels.csv").exists():
        draw(folder, DEMO_ITEMS, DEMO_SEED)
    with database.connect() as connection, progress_bar("loading images", DEMO_ITEMS) as advance:
        loading.load_images(connection, [folder / "images"], rejects("images"), advance=advance)
        loading.load_metadata(connection, folder / "metadata.json.gz", rejects("metadata"))
        loading.load_labels(connection, folder / "labels.csv", rejects("labels"))
    return "style"


def choose_model(database: Database, say: Console) -> str:
    """Import Inception v3 with its ImageNet weights, or else the model that comes along; return its name."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT model_name FROM pix.models WHERE model_name = ANY(%s) AND size_bytes IS NOT NULL ORDER BY 1",
            ([IMAGENET_MODEL, *SHIPPED],),
        )
        existing = cursor.fetchone()
    if existing:
        return existing[0]
    say.print("Trying to import Inception v3 with ImageNet weights from Keras …")
    why = import_imagenet_model(database)
    if why is None:
        return IMAGENET_MODEL
    (name,) = SHIPPED
    say.print(f"Inception v3 with ImageNet weights cannot be had ({why}): using {name}, which comes with Pixelplum.")
    with database.connect() as connection:
        import_model(connection, name, read_onnx(SHIPPED[name]))
    return name


def import_imagenet_model(database: Database) -> str | None:
    """Import Keras's Inception v3 in a process that can be ended; return why it did not work."""
    if os.environ.get("PIX_OFFLINE", "0") not in ("", "0"):
        return "PIX_OFFLINE is set"
    command = [
        sys.executable,
        "-m",
        "pixload.cli",
        "model",
        "import",
        IMAGENET_MODEL,
        "--keras",
        "inception_v3",
    ]
    weights = database.private_server.home / "keras"
    environment = {"KERAS_HOME": str(weights)} | os.environ | {"PIX_DSN": database.dsn}
    try:
        subprocess.run(
            command, env=environment, timeout=IMAGENET_SECONDS, check=True, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not downloaded within {IMAGENET_SECONDS} seconds"
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if line.startswith("Error: ")]
        return errors[-1].removeprefix("Error: ") if errors else error.stderr[-300:].strip()
    return None


def tell_story(say: Console, connection, after, label_set: str) -> None:
    """Print what is in the database now, and what looks like what."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(price) FROM pix.items")
        items, priced = cursor.fetchone()
        cursor.execute(
            """
            SELECT l.item_id, l.label FROM pix.labels l JOIN pix.features f USING (item_id)
            WHERE l.label_set = %s AND f.model_name = %s ORDER BY l.item_id
            """,
            (label_set, after.model_name),
        )
        truth = dict(cursor.fetchall())
    speed = f" at {after.images_per_second:.1f} images/s" if after.images_per_second else ""
    say.rule("Pixelplum")
    say.print(
        f"{items:,} items ({priced:,} with a price), {after.images:,} images: "
        f"{after.extracted:,} with features of {after.model_name}{speed}, {after.failed:,} unreadable."
    )
    if not truth:
        return
    shown = random.Random(DEMO_SEED).choice(list(truth))  # noqa: S311 not for secrets
    say.print(f"\nWhat looks like {shown} ({label_set}: {truth[shown]})?  SELECT * FROM pix.nearest('{shown}');\n")
    say.print(neighbor_table(look_alikes_of_items(connection, [shown], {"model_name": after.model_name})[shown]))
    precision, chance = precision_at_10(connection, truth, after.model_name)
    say.print(
        f"\nprecision@10 by {label_set}: {precision:.2f} (chance {chance:.2f}), "
        f"over {min(QUERIES, len(truth))} items and their ten look-alikes"
    )
    show_index(say, connection, after.model_name)
    show_retraining(say, connection, label_set, shown, after.model_name)


def show_index(say: Console, connection, model_name: str) -> None:
    """Build an index, and print what it finds and how fast."""
    say.print(f"\nFaster, with an index?  SELECT * FROM pix.build_index('{INDEX}');\n")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pix.build_index(%s, %s)", (INDEX, model_name))
        cursor.execute("SELECT recall, index_p50_ms, exact_p50_ms FROM pix.recall_check(%s)", (INDEX,))
        recall, with_index, exact = cursor.fetchone()
    connection.commit()
    say.print(f"recall@10 {recall:.3f}, {with_index:.2f} ms a query (exact: {exact:.2f} ms)")


def show_groups(say: Console, database: Database, after, label_set: str) -> None:
    """Group the items, lay them out on a map, and make a page of both."""
    k = min(MOST_CLUSTERS, after.extracted // 2)
    if k < 2:
        return
    say.print(f"\nWhich groups are there?  SELECT * FROM pix.fit_clusters('{CLUSTERS}', k => {k});\n")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.fit_clusters(%s, %s, k => %s)", (CLUSTERS, after.model_name, k))
        cursor.execute("SELECT adjusted_rand_index, purity FROM pix.clustering_quality(%s, %s)", (CLUSTERS, label_set))
        rand, purity = cursor.fetchone()
        cursor.execute("SELECT trustworthiness FROM pix.fit_map(%s, %s)", (MAP, after.model_name))
        (trust,) = cursor.fetchone()
    if rand is not None:
        say.print(f"{k} clusters against {label_set}: adjusted Rand index {rand:.2f}, purity {purity:.2f}")
    show_bandit(say, database, label_set)
    from pixload.report import write_report  # Bokeh is slow to import

    page = database.private_server.home / "report.html"
    write_report(database, page, model_name=after.model_name)
    say.print(
        f"A map of everything (trustworthiness {trust:.2f}), a gallery of each cluster, and more, to open in a browser:"
    )
    say.print(f"  {page}", markup=False)


def show_bandit(say: Console, database: Database, label_set: str) -> None:
    """Let synthetic users vote on what a bandit shows them, and keep them; once."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pix.simulations WHERE clustering = %s", (CLUSTERS,))
        (count,) = cursor.fetchone()
        cursor.execute("SELECT count(DISTINCT label) FROM pix.labels WHERE label_set = %s", (label_set,))
        (labels,) = cursor.fetchone()
        if count or labels < 2:
            return
        liked = 1 if labels < 4 else 2
        say.print(
            f"\nWhat to show next?  SELECT * FROM pix.next_item('ann');  Simulated users of {TASTES} tastes, "
            f"who like {liked} of {labels} {label_set}s, say what it is worth:\n"
        )
        for policy, title, seed in (
            ("random", "at random", DEMO_SEED),
            ("thompson", "by Thompson sampling", DEMO_SEED),
            ("thompson", "the same, for others later, who gain from what these liked", DEMO_SEED + 1),
        ):
            cursor.execute(
                "SELECT likes, likes_error FROM pix.simulate(%s, pix.users_who_like(%s, %s, %s, %s), %s, %s, "
                "seed => %s, keep => %s)",
                (policy, label_set, SIMULATED, liked, TASTES, VOTES, CLUSTERS, seed, policy == "thompson"),
            )
            likes, error = cursor.fetchone()
            say.print(f"{likes:.1f} ± {error:.1f} of {VOTES} suggestions liked: {title}")
            if policy == "thompson":
                cursor.execute("SELECT pix.refresh_priors(%s)", (CLUSTERS,))


def show_retraining(say: Console, connection, label_set: str, shown: str, model_name: str) -> None:
    """Retrain the last layer on the labels, if they will do, and print what it says of an item."""
    say.print(
        f"\nAnd with the last layer retrained?  SELECT * FROM pix.train_classifier('{label_set}', '{label_set}');\n"
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT pix.train_classifier(%s, %s, %s)", (label_set, label_set, model_name))
        except psycopg2.Error as error:
            connection.rollback()
            if error.pgcode not in UNFIT_LABELS:
                raise
            say.print(f"No classifier was trained: {error.diag.message_primary}", markup=False)
            return
        cursor.execute("SELECT label, score FROM pix.classify_item(%s, %s, k => 3)", (shown, [label_set]))
        for label, score in cursor:
            say.print(f"{label} (score = {score:.5f})", markup=False)
        cursor.execute(
            "SELECT items, accuracy FROM pix.classifier_metrics WHERE classifier = %s AND evaluation = 'test'",
            (label_set,),
        )
        for items, accuracy in cursor:
            say.print(f"accuracy {accuracy:.2f}, over {items} items that were not trained on")


def precision_at_10(connection, truth: dict[str, str], model_name: str) -> tuple[float, float]:
    """Return the fraction of look-alikes with the item's own label, and what chance would give."""
    queries = random.Random(DEMO_SEED).sample(list(truth), min(QUERIES, len(truth)))  # noqa: S311 not for secrets
    same = [
        truth.get(neighbor) == truth[query]
        for query, neighbors in look_alikes_of_items(connection, queries, {"model_name": model_name}).items()
        for _, neighbor, *_ in neighbors
    ]
    labels = list(truth.values())
    chance = sum((labels.count(label) / len(labels)) ** 2 for label in set(labels))
    return sum(same) / max(len(same), 1), chance
