"""pix model: networks in and out of the database."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pixload.commands.load import EXISTING_FILE
from pixload.database import Database
from pixload.errors import PixError
from pixload.models import SHIPPED, import_model


@click.group()
def model() -> None:
    """Manage the networks that turn pictures into features.

    Example: pix model import mini_inception
    """


def numbers(context, parameter, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise click.BadParameter("give one number, or three separated by commas", context, parameter)
    return values if len(values) == 3 else values * 3


def _class_names(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PixError(f"{path} is not a text file in UTF-8.", "Give a file with one class name a line.") from error


@model.command("import")
@click.argument("name")
@click.option("--keras", help="A network of keras.applications, such as inception_v3.")
@click.option("--weights", default="imagenet", show_default=True, help="For --keras: imagenet, a file, or none.")
@click.option("--seed", default=7, show_default=True, help="For --weights none: seed of the random weights.")
@click.option("--graphdef", type=EXISTING_FILE, help="A frozen TensorFlow graph (.pb).")
@click.option("--onnx", type=EXISTING_FILE, help="An ONNX file.")
@click.option("--input", "input_name", help="The tensor that takes the picture, such as input:0.")
@click.option("--output", "output_name", help="The tensor that gives the features, such as pool_3:0.")
@click.option("--labels", type=EXISTING_FILE, help="Names of the graph's classes, one a line.")
@click.option("--size", type=click.IntRange(1), help="Width and height of the input, if the graph does not say.")
@click.option("--mean", default="127.5", callback=numbers, show_default=True, help="Subtracted from pixels (0-255).")
@click.option("--std", default="127.5", callback=numbers, show_default=True, help="Divides the difference.")
@click.pass_obj
def import_(
    database: Database, name: str, keras: str | None, weights: str, seed: int, graphdef: Path | None,
    onnx: Path | None, input_name: str | None, output_name: str | None, labels: Path | None, size: int | None,
    mean: tuple[float, ...], std: tuple[float, ...],
) -> None:  # fmt: skip
    """Convert a network to ONNX, check that both engines agree, and store it under NAME.

    Without a source, NAME is a network that comes with Pixelplum: mini_inception.

    Example: pix model import inception_v3 --keras inception_v3
    """
    from pixload import conversion

    sources = [source for source in (keras, graphdef, onnx) if source]
    if len(sources) > 1:
        raise PixError("Only one source can be imported.", "Give one of --keras, --graphdef, --onnx.")
    if keras:
        converted = conversion.convert_application(keras, None if weights == "none" else weights, seed)
    elif graphdef:
        if not input_name or not output_name:
            raise PixError("A GraphDef needs its tensors named.", "Give --input and --output, such as input:0.")
        names = _class_names(labels) if labels else None
        converted = conversion.convert_graphdef(graphdef, input_name, output_name, size, mean, std, names)
    elif onnx:
        preprocessing = conversion.preprocessing(size, size, mean, std) if size else None
        converted = conversion.read_onnx(onnx, input_name, output_name, preprocessing)
    elif name in SHIPPED:
        converted = conversion.read_onnx(SHIPPED[name])
    else:
        raise PixError(f"No network called {name!r} comes with Pixelplum.",
                       f"Give --keras, --graphdef or --onnx, or one of: {', '.join(SHIPPED)}")  # fmt: skip
    with database.connect() as connection:
        registered = import_model(connection, name, converted)
    agreement = "" if registered.agreement is None else f", engines agree to {registered.agreement:.1g}"
    stale = f"; {registered.stale:,} features are stale now" if registered.stale else ""
    click.echo(f"{name}: {registered.dimensions:,} features a picture{agreement}{stale}")


@model.command("list")
@click.pass_obj
def list_(database: Database) -> None:
    """List the models.

    Example: pix model list
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT m.model_name, CASE WHEN s.value IS NOT NULL THEN 'default' END, m.dimensions::text,
                round(m.size_bytes / 1e6, 1) || ' MB', m.source
            FROM pix.models m
            LEFT JOIN pix.settings s ON s.key = 'default_model' AND s.value = m.model_name
            ORDER BY m.model_name
            """
        )
        table = Table("model", "", "features", "size", "source", box=None)
        for row in cursor:
            table.add_row(*row)
    Console().print(table)


@model.command("default")
@click.argument("name")
@click.pass_obj
def default(database: Database, name: str) -> None:
    """Make NAME the model that is used where none is named.

    Example: pix model default inception_v3
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.set_default_model(%s)", (name,))


@model.command("drop")
@click.argument("name")
@click.pass_obj
def drop(database: Database, name: str) -> None:
    """Remove NAME and all its features.

    Example: pix model drop inception_v3
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.drop_model(%s)", (name,))
        click.echo(f"{cursor.fetchone()[0]:,} features removed")
