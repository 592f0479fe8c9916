"""Running pix.extract_features while watching its progress."""

from __future__ import annotations

from dataclasses import dataclass

from pixload.database import Database
from pixload.watching import run_watched


@dataclass(frozen=True)
class Progress:
    """A row of pix.extraction_progress."""

    model_name: str
    images: int
    extracted: int
    failed: int
    stale: int
    pending: int
    images_per_second: float | None


def read_progress(connection, model_name: str | None) -> Progress:
    """Return the progress of a model; None: of the default model."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT model_name, images, extracted, failed, stale, pending, images_per_second "
            "FROM pix.extraction_progress WHERE model_name = (pix.find_model(%s)).model_name",
            (model_name,),
        )
        row = cursor.fetchone()
    return Progress(*row) if row else Progress(model_name, 0, 0, 0, 0, 0, None)


def extract(
    database: Database,
    model_name: str | None = None,
    chunk_size: int | None = None,
    retry_failed: bool = False,
    engine: str | None = None,
) -> Progress:
    """Call pix.extract_features and show a bar until it is done.

    Parameters
    ----------
    database : Database
        Where; its role must be a member of pix_admin.
    model_name : str, optional
        None: the default model.
    chunk_size : int, optional
        Images per commit. None: as SQL has it.
    retry_failed : bool, default False
        Try again what failed before.
    engine : str, optional
        None: as SQL has it.

    Returns
    -------
    Progress
        When all is done.
    """
    arguments = {"model_name": model_name, "retry_failed": retry_failed}
    options = {"chunk_size": chunk_size, "engine": engine}
    arguments |= {name: value for name, value in options.items() if value is not None}
    call = f"CALL pix.extract_features({', '.join(f'{name} => %({name})s' for name in arguments)})"
    with database.connect() as connection:
        images = read_progress(connection, model_name).images

    def look(watching, _: str) -> int:
        now = read_progress(watching, model_name)
        return now.extracted + now.failed

    run_watched(database, call, arguments, "extracting features", images, look)
    with database.connect() as connection:
        return read_progress(connection, model_name)
