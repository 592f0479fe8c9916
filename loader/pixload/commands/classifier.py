"""pix classifier and pix classify: retrained final layers."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.options import EXISTING_FILE
from pixload.tables import Table


@click.group()
def classifier() -> None:
    """Train final layers on stored features, and measure them.

    Example: pix classifier train kinds --label-set kind
    """


@classifier.command("train")
@click.argument("name")
@click.option("--label-set", required=True, help="The labels to learn.")
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option("--algorithm", default="softmax", show_default=True, help="Algorithm, as pix algorithms lists it.")
@click.option("--balanced", is_flag=True, help="Weigh all classes the same, however many items they have.")
@click.option(
    "--folds", default=0, type=click.IntRange(0), help="Number of folds of a cross-validation; default: none."
)
@click.pass_obj
def train(
    database: Database, name: str, label_set: str, model_name: str | None, algorithm: str, balanced: bool, folds: int
) -> None:
    """Train the classifier NAME on the stored features of labeled items.

    Example: pix classifier train kinds --label-set kind --folds 5
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT seconds, left_out FROM pix.train_classifier(%s, %s, model_name => %s, algorithm => %s, "
            "balanced => %s, folds => %s)",
            (name, label_set, model_name, algorithm, balanced, folds),
        )
        seconds, left_out = cursor.fetchone()
        show_metrics(cursor, name)
    without = f"; {left_out:,} items without features were left out" if left_out else ""
    click.echo(f"{name}: trained in {seconds:.1f} s{without}")


@classifier.command("show")
@click.argument("name")
@click.pass_obj
def show(database: Database, name: str) -> None:
    """Show how good the classifier NAME is: metrics, each class, and the confusion matrix of the test.

    Example: pix classifier show kinds
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pix.classifiers WHERE classifier = %s", (name,))
        if cursor.fetchone() is None:
            raise PixError(f"Classifier {name!r} is not known.", "pix classifier list lists them.")
        show_metrics(cursor, name)
        cursor.execute(
            "SELECT label, items::text, precision, recall, auc FROM pix.classifier_class_metrics "
            "WHERE classifier = %s AND evaluation = 'test' ORDER BY label",
            (name,),
        )
        classes = cursor.fetchall()
        cursor.execute(
            "SELECT actual, predicted, items FROM pix.classifier_confusion "
            "WHERE classifier = %s AND evaluation = 'test'",
            (name,),
        )
        confusion = {(actual, predicted): items for actual, predicted, items in cursor}
    if not classes:
        return
    table = Table("class", "items", "precision", "recall", "AUC")
    for label, items, *metrics in classes:
        table.add_row(label, items, *map(decimals, metrics))
    Console().print(table)
    labels = [label for label, *_ in classes]
    matrix = Table("actually", "", "called", *map(str, range(1, len(labels) + 1)))
    for number, actual in enumerate(labels, 1):
        cells = (str(confusion.get((actual, predicted), "·")) for predicted in labels)
        matrix.add_row(actual, str(number), "", *cells)
    Console(width=10_000).print(matrix)


def show_metrics(cursor, name: str) -> None:
    """Print the metrics of every evaluation."""
    cursor.execute(
        "SELECT evaluation, items::text, accuracy, log_loss, auc FROM pix.classifier_metrics WHERE classifier = %s "
        "ORDER BY evaluation LIKE 'fold %%', length(evaluation), evaluation",
        (name,),
    )
    table = Table("", "items", "accuracy", "log loss", "AUC")
    for evaluation, items, *metrics in cursor:
        table.add_row(evaluation, items, *map(decimals, metrics))
    if table.row_count:
        Console().print(table)


def decimals(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


@classifier.command("list")
@click.pass_obj
def list_(database: Database) -> None:
    """List the classifiers, the best of each label set first.

    Example: pix classifier list
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT classifier, coalesce(label_set, 'came with its model'), model_name, algorithm, accuracy, "
            "CASE WHEN usable THEN '' WHEN algorithm = 'imported' THEN 'model changed: import it with --labels' "
            "ELSE 'model changed: train again' END FROM pix.classifier_ranking"
        )
        table = Table("classifier", "labels", "model", "algorithm", "test accuracy", "")
        for name, label_set, model_name, algorithm, accuracy, state in cursor:
            table.add_row(name, label_set, model_name, algorithm, decimals(accuracy), state)
    Console().print(table)


@classifier.command("drop")
@click.argument("name")
@click.pass_obj
def drop(database: Database, name: str) -> None:
    """Remove the classifier NAME and its predictions.

    Example: pix classifier drop kinds
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.drop_classifier(%s)", (name,))
    click.echo(f"{name} removed")


def last_trained(cursor) -> str:
    """Return the classifier that was trained last, or else one that came with a model."""
    cursor.execute("SELECT classifier FROM pix.classifiers ORDER BY label_set IS NULL, trained_at DESC LIMIT 1")
    row = cursor.fetchone()
    if row is None:
        raise PixError("There is no classifier.", "Train one: pix classifier train NAME --label-set LABEL_SET")
    return row[0]


@click.command()
@click.argument("image", type=EXISTING_FILE, required=False)
@click.option(
    "--classifier",
    "names",
    multiple=True,
    help="Classifier; may be repeated for their mean; default: the last trained.",
)
@click.option("--item", "item_id", help="An item of the catalogue, instead of an image.")
@click.option("--all", "everything", is_flag=True, help="Classify every item with features, into pix.predictions.")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="Number of classes.")
@click.pass_obj
def classify(
    database: Database, image: Path | None, names: tuple[str, ...], item_id: str | None, everything: bool, k: int
) -> None:
    """Say what is on the image file IMAGE, or on an item's image: the most probable classes.

    Example: pix classify boot.jpg --classifier kinds
    """
    if (image is not None) + (item_id is not None) + everything != 1:
        raise PixError("One image, one item, or all are needed.", "Give an IMAGE file, --item ITEM_ID, or --all.")
    if everything and len(names) > 1:
        raise PixError("All items are classified by one classifier at a time.", "Give --classifier once.")
    with database.connect() as connection, connection.cursor() as cursor:
        names = names or (last_trained(cursor),)
        if everything:
            cursor.execute("SELECT pix.classify_all(%s)", names)
            click.echo(f"{cursor.fetchone()[0]:,} items classified")
            return
        function, argument = ("classify_item", item_id) if image is None else ("classify", image.read_bytes())
        cursor.execute(
            f"SELECT label, score FROM pix.{function}(%s, %s, k => %s) ORDER BY rank", (argument, list(names), k)
        )
        for label, score in cursor:
            click.echo(f"{label} (score = {score:.5f})")
