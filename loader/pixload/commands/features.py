"""pix extract."""

from __future__ import annotations

import click

from pixload.database import Database
from pixload.errors import PixError
from pixload.extraction import extract as run_extraction
from pixload.options import INT_MAX

"""The largest integer that SQL takes."""


@click.command()
@click.option("--model", "model_name", help="Model; default: the database's default model.")
@click.option(
    "--chunk-size", type=click.IntRange(1, INT_MAX), help="Images per commit; default: that of pix.extract_features."
)
@click.option("--retry-failed", is_flag=True, help="Try again the images that failed before.")
@click.option("--engine", help="onnxruntime (default), or tensorflow for a model imported with --keep-tensorflow.")
@click.pass_obj
def extract(
    database: Database, model_name: str | None, chunk_size: int | None, retry_failed: bool, engine: str | None
) -> None:
    """Compute the features of all images that have none yet, on all cores.

    Example: pix extract --model mini_inception
    """
    after = run_extraction(database, model_name, chunk_size, retry_failed, engine)
    speed = f", {after.images_per_second:.1f} images/s" if after.images_per_second else ""
    click.echo(f"{after.extracted:,} extracted, {after.failed:,} failed, {after.pending:,} pending{speed}")
    if after.pending:
        raise PixError("Images or the model changed during the extraction.", "Run pix extract again.")
