"""Loading images, metadata, labels, foreign features and votes into their tables."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from importlib import metadata
from pathlib import Path

from pixload.errors import PixError
from pixload.merge import Merge, Rejects, Summary, Target
from pixload.sources.downloads import Downloader
from pixload.sources.features import read_features
from pixload.sources.images import read_images
from pixload.sources.interactions import read_interactions
from pixload.sources.labels import read_labels
from pixload.sources.metadata import read_metadata
from pixload.sources.rows import Known, Reject, printable

# The catalogue lists whatever has an image or features, with or without metadata.
ADD_TO_CATALOGUE = b"""
INSERT INTO pix.items (item_id) SELECT item_id FROM pg_temp.pix_staging ORDER BY item_id ON CONFLICT DO NOTHING
"""

ITEM_COLUMNS = (
    "title", "brand", "price", "image_url", "categories", "sales_rank", "related", "description", "attributes",
)  # fmt: skip
ITEMS = Target("pix.items", ("item_id",), ITEM_COLUMNS, compared=ITEM_COLUMNS, moment="loaded_at")

VOTES_AT_ONCE = 20_000

STORE_LABELS = """
INSERT INTO pix.labels AS l (item_id, label_set, label)
SELECT item_id, %s, label FROM pg_temp.pix_staging WHERE label IS NOT NULL ORDER BY item_id
ON CONFLICT (item_id, label_set) DO UPDATE SET label = excluded.label WHERE l.label <> excluded.label
"""


def load_images(
    connection, paths: Iterable[Path], rejects: Rejects, label_set: str | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Summary:  # fmt: skip
    """Load images from folders, archives, manifests and files.

    Parameters
    ----------
    connection : psycopg2 connection
        Committed batch by batch.
    paths : iterable of Path
        What to read.
    rejects : Rejects
        Takes what cannot be loaded.
    label_set : str, optional
        Store each image's folder as its label in this label set.
    advance : callable
        Told the number of images since the last call.

    Returns
    -------
    Summary
    """
    also = [ADD_TO_CATALOGUE]
    if label_set is not None:
        also.append(connection.cursor().mogrify(STORE_LABELS, (label_set,)))
    values = ("content", "format", "width", "height", "source")
    target = Target("pix.images", ("item_id",), values, ("sha256",), "loaded_at", ("label",), tuple(also))
    with Merge(connection, target, rejects) as merge:
        downloader = Downloader(user_agent=f"pixelplum/{metadata.version('pixelplum')}")
        already_loaded = partial(_loaded_from, connection, merge)
        for row in read_images(paths, already_loaded=already_loaded, downloader=downloader):
            if isinstance(row, Reject):
                merge.reject(row)
            elif isinstance(row, Known):
                merge.summary.unchanged += 1
            else:
                sha256 = hashlib.sha256(row.content).hexdigest()
                values = (row.content, row.format, row.width, row.height, row.source, sha256, row.label)
                merge.add(row.source, row.item_id, *values)
            advance(1)
    return merge.summary


def _loaded_from(connection, merge: Merge, urls: list[tuple[str, str]]) -> set[str]:
    """Return the items whose image was already loaded from this very URL."""
    merge.wait()  # it works on the same connection
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_id FROM pix.images JOIN unnest(%s, %s) AS wanted (item_id, source) USING (item_id, source)",
            ([item_id for item_id, _ in urls], [url for _, url in urls]),
        )
        loaded = {item_id for (item_id,) in cursor}
    connection.commit()  # no transaction waits for downloads
    return loaded


def load_metadata(
    connection, path: Path, rejects: Rejects, title_word: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Summary:  # fmt: skip
    """Load metadata from a file of dict lines, JSON lines or CSV; see `read_metadata`.

    Returns
    -------
    Summary
    """
    with Merge(connection, ITEMS, rejects) as merge:
        for number, row in enumerate(read_metadata(path, title_word, on_bytes), 1):
            if isinstance(row, Reject):
                merge.reject(row)
            else:
                values = (getattr(row, column) for column in ITEM_COLUMNS)
                merge.add(f"{printable(path.name)}, item {number}", row.item_id, *values)
    return merge.summary


def load_labels(
    connection, path: Path, rejects: Rejects, label_set: str | None = None,
    advance: Callable[[int], None] = lambda labels: None,
) -> Summary:  # fmt: skip
    """Load labels from a CSV file or JSON lines; see `read_labels`.

    Returns
    -------
    Summary
    """
    target = Target("pix.labels", ("item_id", "label_set"), ("label",), ("label",))
    with Merge(connection, target, rejects) as merge:
        for row in read_labels(path, label_set):
            if isinstance(row, Reject):
                merge.reject(row)
            else:
                merge.add(row.source, row.item_id, row.label_set, row.label)
            advance(1)
    return merge.summary


def load_features(
    connection, path: Path, model_name: str, rejects: Rejects, dimensions: int = 4096,
    advance: Callable[[int], None] = lambda vectors: None,
) -> Summary:  # fmt: skip
    """Load ready-made features from a file in the Amazon binary format, under a model name of their own.

    Returns
    -------
    Summary

    Raises
    ------
    PixError
        If the model name belongs to an imported model, or to features of other dimensions.
    """
    _name_foreign_model(connection, model_name, dimensions, path)
    target = Target(
        "pix.features",
        ("item_id", "model_name"),
        ("vector",),
        ("vector",),
        "extracted_at",
        also=(ADD_TO_CATALOGUE,),
    )
    with Merge(connection, target, rejects) as merge:
        for number, row in enumerate(read_features(path, dimensions)):
            if isinstance(row, Reject):
                merge.reject(row)
            else:
                merge.add(f"{printable(path.name)}:{number}", row.item_id, model_name, row.vector)
            advance(1)
    return merge.summary


def _name_foreign_model(connection, model_name: str, dimensions: int, path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pix.models (model_name, dimensions, source) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (model_name, dimensions, f"features file {printable(path.name)}"),
        )
        cursor.execute("SELECT checksum, dimensions FROM pix.models WHERE model_name = %s", (model_name,))
        checksum, known_dimensions = cursor.fetchone()
    if checksum is not None:
        raise PixError(
            f"Model {model_name!r} was imported, or made by pix.fit_metadata.",
            "Load the features under another --model name.",
        )
    if known_dimensions != dimensions:
        raise PixError(
            f"Model {model_name!r} has {known_dimensions} dimensions, the file {dimensions}.",
            "Load the features under another --model name.",
        )
    connection.commit()


def load_interactions(
    connection, path: Path, rejects: Rejects, user_id: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Summary:  # fmt: skip
    """Load votes and other signals from a file; see `read_interactions`.

    A row without an idempotency key gets one, made of what it says and the file's name: loading the file again
    changes nothing, and after a crash it goes on.

    Returns
    -------
    Summary
        A vote that was logged before is unchanged.
    """
    summary, notes, batch = Summary(), Counter(), []
    with rejects:
        for row in read_interactions(path, user_id, on_bytes):
            if isinstance(row, Reject):
                summary.rejected += 1
                rejects.write(row)
                continue
            if "idempotency_key" not in row.vote:
                content = json.dumps([path.name, row.vote], sort_keys=True)
                digest = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:40]
                notes[digest] += 1
                row.vote["idempotency_key"] = f"{digest}:{notes[digest]}"
            batch.append(row)
            if len(batch) == VOTES_AT_ONCE:
                _log_votes(connection, batch, rejects, summary)
                batch = []
        if batch:
            _log_votes(connection, batch, rejects, summary)
    return summary


def _log_votes(connection, rows: list, rejects: Rejects, summary: Summary) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ordinal, status, reason FROM pix.vote_batch(%s::jsonb) ORDER BY ordinal",
            (json.dumps([row.vote for row in rows]),),
        )
        for ordinal, status, reason in cursor:
            if status == "logged":
                summary.new += 1
            elif status == "unchanged":
                summary.unchanged += 1
            else:
                summary.rejected += 1
                rejects.write(Reject(rows[ordinal - 1].source, rows[ordinal - 1].item_id, reason))
    connection.commit()
