"""pix model: models in and out of the database."""

from __future__ import annotations

import math
from pathlib import Path

import click
import psycopg2
from rich.console import Console

from pixload.conversion import frozen_graphs, keras_models, saved_models
from pixload.conversion.converted import Wishes
from pixload.conversion.onnx_files import read_onnx
from pixload.database import Database
from pixload.errors import PixError
from pixload.models import SHIPPED, import_model
from pixload.options import EXISTING_FILE, EXISTING_FOLDER
from pixload.sources.labels import MAX_LABEL_BYTES
from pixload.sources.rows import check_text
from pixload.tables import Table

MAX_NAME_BYTES = 200
METADATA_FIELDS = ("price", "brand", "categories", "related", "title")


@click.group()
def model() -> None:
    """Manage the models that turn images into features.

    Example: pix model import mini_inception
    """


def numbers(context, parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)) or (parameter.name == "std" and 0 in values):
        raise click.BadParameter(
            "give one number, or three separated by commas (of --std, none zero)", context, parameter
        )
    return values if len(values) == 3 else values * 3


def _class_names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PixError(f"{path} is not a text file in UTF-8.", "Give a file with one class name a line.") from error
    names = [line.strip() for line in text.rstrip().split("\n")]
    for number, name in enumerate(names, 1):
        reason = check_text(name) or (None if 1 <= len(name.encode()) <= MAX_LABEL_BYTES else "is empty or too long")
        if reason:
            raise PixError(f"{path}:{number}: the class name {reason}.", "Give a file with one class name a line.")
    return names


@model.command("import")
@click.argument("name")
@click.option("--keras", help="A model of keras.applications, such as inception_v3, or a .keras file.")
@click.option("--weights", default="imagenet", show_default=True, help="For --keras: imagenet, a file, or none.")
@click.option("--seed", default=7, show_default=True, help="For --weights none: seed of the random weights.")
@click.option("--savedmodel", type=EXISTING_FOLDER, help="A TensorFlow SavedModel (folder).")
@click.option("--graphdef", type=EXISTING_FILE, help="A frozen TensorFlow graph (.pb).")
@click.option("--onnx", type=EXISTING_FILE, help="An ONNX file.")
@click.option("--input", "input_name", help="The tensor that takes the image, such as Mul:0.")
@click.option("--output", "output_name", help="The tensor or layer that gives the features, such as pool_3:0.")
@click.option("--classes", help="The tensor that gives class probabilities, such as final_result:0.")
@click.option("--labels", type=EXISTING_FILE, help="Names of the classes, one a line: makes a classifier of them.")
@click.option("--size", type=click.IntRange(1), help="Width and height of the input, if the graph does not say.")
@click.option("--mean", callback=numbers, help="Subtracted from pixels (0-255): one number, or three.")
@click.option("--std", callback=numbers, help="Divides the difference: one number, or three.")
@click.option("--keep-tensorflow", is_flag=True, help="Store the TensorFlow graph too, for engine => 'tensorflow'.")
@click.pass_obj
def import_(
    database: Database, name: str, keras: str | None, weights: str, seed: int, savedmodel: Path | None,
    graphdef: Path | None, onnx: Path | None, input_name: str | None, output_name: str | None, classes: str | None,
    labels: Path | None, size: int | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None,
    keep_tensorflow: bool,
) -> None:  # fmt: skip
    """Convert a model to ONNX, check that both engines agree, and store it under NAME.

    Input, output and scaling of pixels are read off the graph where they are not given, and shown. Without a source,
    NAME is a model that comes with Pixelplum: mini_inception.

    Example: pix model import inception_v3 --keras inception_v3
    """
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise PixError(f"{name!r} cannot name a model.", f"Use a name of 1 to {MAX_NAME_BYTES} bytes.")
    wishes = Wishes(input_name, output_name, classes, size, mean, std, _class_names(labels))
    sources = [source for source in (keras, savedmodel, graphdef, onnx) if source]
    if len(sources) > 1:
        raise PixError("Only one source can be imported.", "Give one of --keras, --savedmodel, --graphdef, --onnx.")
    if keras or savedmodel or graphdef:
        from pixload.conversion.tensorflow_graphs import convert  # TensorFlow takes seconds to import

        if keras:
            frozen = _keras_graph(keras, weights, seed, output_name)
        else:
            frozen = saved_models.load(savedmodel) if savedmodel else frozen_graphs.read_graph(graphdef)
        converted = convert(frozen, wishes)
    elif onnx:
        converted = read_onnx(onnx, wishes)
    elif name in SHIPPED:
        converted = read_onnx(SHIPPED[name], wishes)
    else:
        raise PixError(f"No model called {name!r} comes with Pixelplum.",
                       f"Give a source (see --help), or one of: {', '.join(SHIPPED)}")  # fmt: skip
    for proposal in converted.proposals:
        click.echo(f"  {proposal}")
    with database.connect() as connection:
        registered = import_model(connection, name, converted, keep_tensorflow)
    agreement = "" if registered.agreement is None else f", engines agree to {registered.agreement:.1g}"
    named = "" if converted.head is None else f"; classifier {name}: {len(converted.head.labels):,} classes"
    stale = f"; {registered.stale:,} features are stale now" if registered.stale else ""
    click.echo(f"{name}: {registered.dimensions:,} features an image{agreement}{named}{stale}")


def _keras_graph(keras: str, weights: str, seed: int, layer: str | None):
    if keras not in keras_models.APPLICATIONS and Path(keras).suffix in (".keras", ".h5"):
        if not Path(keras).is_file():
            raise PixError(f"There is no file {keras}.", "Give a .keras file, or the name of a Keras application.")
        return keras_models.load_file(Path(keras), layer)
    return keras_models.load_application(keras, None if weights == "none" else weights, seed, layer)


@model.command("layers")
@click.argument("name")
@click.pass_obj
def layers(database: Database, name: str) -> None:
    """List what the model NAME computes: each can be imported as features, with --output.

    Example: pix model layers mini_inception
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT layer, operation, array_to_string(shape, ' × ') FROM pix.model_layers(%s)", (name,))
        table = Table("layer", "operation", "shape")
        for row in cursor:
            table.add_row(*row)
    Console(width=10_000).print(table)  # names are there to be copied


@model.command("feature-maps")
@click.argument("name")
@click.argument("image", type=EXISTING_FILE)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--layer", required=True, help="A layer with maps, as pix model layers lists them.")
@click.option("-k", default=8, show_default=True, type=click.IntRange(1), help="Number of channels.")
@click.pass_obj
def feature_maps(database: Database, name: str, image: Path, folder: Path, layer: str, k: int) -> None:
    """Show where in IMAGE the channels of a layer of NAME are active: PNG files in FOLDER, the strongest first.

    Example: pix model feature-maps mini_inception boot.jpg maps/ --layer features
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT rank, channel, strength, image FROM pix.feature_maps(%s, %s, %s, k => %s) ORDER BY rank",
            (psycopg2.Binary(image.read_bytes()), name, layer, k),
        )
        rows = cursor.fetchall()
    folder.mkdir(parents=True, exist_ok=True)
    for rank, channel, strength, png in rows:
        path = folder / f"{rank:03}-channel-{channel}.png"
        path.write_bytes(png)
        click.echo(f"{path} (strength {strength:.4g})")


@model.command("quantize")
@click.argument("name")
@click.option("--as", "as_name", required=True, help="Name of the INT8 model.")
@click.option(
    "--calibrate", default=100, show_default=True, type=click.IntRange(1), help="Number of images to calibrate on."
)
@click.option("--force", is_flag=True, help="Store it even if fewer than 90 % of the nearest neighbors stay the same.")
@click.pass_obj
def quantize(database: Database, name: str, as_name: str, calibrate: int, force: bool) -> None:
    """Make a second model of NAME, in INT8, and report what it costs.

    Example: pix model quantize inception_v3 --as inception_v3_int8 --calibrate 100
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT overlap, compared_on, classifier, float_accuracy, int8_accuracy, float_ms, int8_ms, float_mb, "
            "int8_mb FROM pix.quantize_model(%s, %s, calibrate => %s, force => %s)",
            (name, as_name, calibrate, force),
        )
        overlap, compared, classifier, *numbers = cursor.fetchone()
    before, after, float_ms, int8_ms, float_mb, int8_mb = numbers
    click.echo(f"{as_name}: {overlap:.1%} of the ten nearest neighbors stay the same ({compared:,} images)")
    if classifier is not None:
        click.echo(f"  accuracy of {classifier}: {after:.3f}, with {name} {before:.3f}")
    click.echo(
        f"  {int8_ms:.2f} ms an image instead of {float_ms:.2f}, {int8_mb:.0f} MB of memory instead of {float_mb:.0f}"
    )


@model.command("fit-metadata")
@click.argument("name")
@click.option("--base", help="Model whose features metadata are appended to; default: the database's default model.")
@click.option("--field", "fields", multiple=True, default=METADATA_FIELDS, show_default=True,
              type=click.Choice(METADATA_FIELDS), help="A kind of metadata to append; may be repeated.")  # fmt: skip
@click.option(
    "--weight", default=1.0, show_default=True, help="Weight of the metadata; 1: as much as the features of the base."
)
@click.option(
    "--terms", default=256, show_default=True, help="Number of values of each field that count: the most frequent."
)
@click.pass_obj
def fit_metadata(
    database: Database, name: str, base: str | None, fields: tuple[str, ...], weight: float, terms: int
) -> None:
    """Make NAME, a model whose features are those of another with metadata appended.

    Example: pix model fit-metadata with_brand --base mini_inception --field brand --field price
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT base_model, dimensions, items, ARRAY(SELECT jsonb_array_elements_text(fitted_state -> 'empty')) "
            "FROM pix.fit_metadata(%s, %s, %s, %s, %s)",
            (name, base, list(fields), weight, terms),
        )
        base, dimensions, items, empty = cursor.fetchone()
    click.echo(f"{name}: {dimensions:,} numbers of metadata appended to the {base} features of {items:,} items")
    if empty:
        click.echo(f"  no items have anything in common in: {', '.join(empty)}")


@model.command("refresh-metadata")
@click.argument("name")
@click.pass_obj
def refresh_metadata(database: Database, name: str) -> None:
    """Bring NAME, which pix model fit-metadata made, up to date: items that are new or have changed.

    Example: pix model refresh-metadata with_brand
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.refresh_metadata(%s)", (name,))
        click.echo(f"{name}: {cursor.fetchone()[0]:,} vectors made")


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
        table = Table("model", "", "features", "size", "source")
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
    click.echo(f"{name} removed")
