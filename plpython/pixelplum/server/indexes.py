"""Indexes: built from blocks, stored in the database in parts, mapped from the cache of this host."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pixelplum.core.search import indexes, vectors
from pixelplum.core.search.blocks import Names, mapped
from pixelplum.core.search.metrics import METRICS
from pixelplum.errors import CacheUnusable, IndexBroken, IndexBusy, UnusableArgument, literal
from pixelplum.server import cache as files
from pixelplum.server import packing
from pixelplum.server.blocks import Packed, keep, open_index
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver
from pixelplum.server.model_blocks import ModelBlocks
from pixelplum.server.parameters import read

PART_BYTES = 8 << 20


class OpenIndex:
    """An index, and the names of its items."""

    def __init__(self, index: indexes.Index, item_ids: Names):
        self.index = index
        self.item_ids = item_ids
        self.item_id = item_ids.__getitem__

    def search(self, queries: np.ndarray, count: int, metric: str) -> list[np.ndarray]:
        """Find candidates; see `indexes.Index.search`. The metric is the index's own."""
        return self.index.search(queries, count)


PROJECTION = """
SELECT p.mean, substr(p.axes, 1, 4 * $dimensions::int * $project_to::int) AS axes FROM pix_internal.projections p
WHERE p.model_name = $model_name::text AND p.model_checksum IS NOT DISTINCT FROM $checksum::text
    AND p.components >= $project_to
"""
MEMBERS = """
SELECT coalesce(array_agg(f.item_id) FILTER (WHERE f.packed_in <= $packed_in::int), '{}') AS kept,
    coalesce(array_agg(f.item_id) FILTER (WHERE f.packed_in > $packed_in), '{}') AS added
FROM pix.current_features f WHERE f.model_name = $model_name::text
"""
FORGET = "DELETE FROM pix.indexes i WHERE i.index_name = $index_name::text"
STORE = """
INSERT INTO pix.indexes (index_name, model_name, model_checksum, algorithm, metric, parameters, project_to, checksum,
    state_checksum, size_bytes, packed_in, items, recall, recall_queries, build_seconds)
VALUES ($index_name::text, $model_name::text, $model_checksum::text, $algorithm::text, $metric::text,
    $parameters::jsonb, $project_to::int, $checksum::text, $state_checksum::text, $size_bytes::int8, $packed_in::int,
    $items::int8, 0, 0, $build_seconds::float8)
"""
RECALL = """
SELECT (f.measured).recall, (f.measured).queries FROM (SELECT pix_internal.measure_recall(
    pix_internal.find_index($index_name::text), pix.find_model($model_name::text), 100, 10
) AS measured OFFSET 0) f
"""
STORE_RECALL = """
UPDATE pix.indexes i SET recall = $recall::float8, recall_queries = $queries::int WHERE i.index_name = $index_name::text
"""
FORGET_PART = "DELETE FROM pix_internal.index_parts p WHERE p.checksum = $checksum::text"
STORE_PART = """
INSERT INTO pix_internal.index_parts (checksum, part, content) VALUES ($checksum::text, $part::int, $content::bytea)
"""
FORGET_PARTS = """
DELETE FROM pix_internal.index_parts p WHERE p.checksum NOT IN (
    SELECT i.checksum FROM pix.indexes i UNION ALL SELECT i.state_checksum FROM pix.indexes i
)
"""


@driver
def build_index(
    database: Database, index_name: str, model_name: str | None, algorithm: str, metric: str, parameters: str,
    project_to: int | None,
) -> None:  # fmt: skip
    """Build an index of all features of a model, and store it: the body of ``pix.build_index``."""
    take_turn(database, index_name)
    vectors.check_metric(metric)
    chosen = read(parameters, UnusableArgument)
    indexes.read_parameters(algorithm, metric, chosen, project_to is not None)
    build(database, index_name, database.model(model_name), algorithm, metric, chosen, project_to)


@driver
def refresh_index(database: Database, index_name: str) -> None:
    """Bring an index up to date: the body of ``pix.refresh_index``."""
    take_turn(database, index_name)
    index = database.row("SELECT i.* FROM pix_internal.find_index($index_name::text) i", index_name=index_name)
    model = database.model(index["model_name"])
    packing.bring_up_to_date(database, model)
    members = database.row(MEMBERS, packed_in=index["packed_in"], model_name=model.model_name)
    lost, gained = index["items"] - len(members["kept"]), len(members["added"])
    if index["model_checksum"] == model.checksum:
        if lost == gained == 0:
            return
        # A graph that has lost or gained much is better made again; and inner products depend on the longest vector.
        can_update = indexes.INDEXES[index["algorithm"]].can_update and not METRICS[index["metric"]].added_dimensions
        if can_update and 3 * (lost + gained) < index["items"]:
            update(database, index, ModelBlocks(database, model), **members)
            return
    build(
        database, index_name, model, index["algorithm"], index["metric"], json.loads(index["parameters"]),
        index["project_to"],
    )  # fmt: skip


@driver
def drop_index(database: Database, index_name: str) -> None:
    """Remove an index: the body of ``pix.drop_index``."""
    take_turn(database, index_name)
    database.row("SELECT pix_internal.find_index($index_name::text)", index_name=index_name)
    database.run(FORGET, index_name=index_name)
    forget_parts(database)


@driver
def forget_parts(database: Database) -> None:
    """Remove the parts of files that no index has any more, and their files from the cache of this host.

    Two indexes of the same vectors that were built alike share a file.
    """
    database.run(FORGET_PARTS)
    packing.sweep_cache(database)


def take_turn(database: Database, index_name: str) -> None:
    """Be the only one to write an index, until the end of the transaction.

    Raises
    ------
    IndexBusy
        If somebody else does.
    """
    database.row("SELECT pix_internal.check_name('index_name', $index_name::text)", index_name=index_name)
    if not database.value("SELECT pix_internal.try_lock('indexes', $index_name::text)", index_name=index_name):
        raise IndexBusy(f"Index {literal(index_name)} is being built, refreshed or dropped by another session")


def build(
    database: Database, index_name: str, model: Model, algorithm: str, metric: str, parameters: dict,
    project_to: int | None,
) -> None:  # fmt: skip
    """Build an index, and put it in the place of the one before."""
    begun = time.monotonic()
    with database.progress(f"index {index_name}") as progress:
        blocks = ModelBlocks(database, model)
        parts = blocks.mapped.blocks
        projection = stored_projection(database, model, metric, project_to)

        def work(on_progress: Callable[[float], None]) -> dict:
            state = indexes.fit(algorithm, metric, parameters, project_to, parts, projection)
            with files.unfinished(secrets.token_hex(32)) as file:
                indexes.build(file, state, parts, on_progress)
                size, checksum = file.stat().st_size, files.identify(file)
            item_ids = [part.item_ids[row] for part in parts for row in range(len(part.norms))]
            return described(state, item_ids, checksum, size)

        replace(
            database, blocks, begun, index_name=index_name, algorithm=algorithm, metric=metric, project_to=project_to,
            **database.work(work, progress),
        )  # fmt: skip


def update(database: Database, index: dict, blocks: ModelBlocks, kept: list[str], added: list[str]) -> None:
    """Change an index that has lost or gained a few items."""
    begun = time.monotonic()
    name, checksum = index["index_name"], index["checksum"]
    with database.progress(f"index {name}") as progress:
        open_index(database, name, index["state_checksum"])
        state, names = indexes.read_state(mapped(files.path(index["state_checksum"], "state")), checksum)
        new = picked(blocks.mapped, set(added))

        def work(on_progress: Callable[[float], None]) -> dict:
            item_ids, stay = [names[number] for number in range(len(names))], set(kept)
            removed = [number for number, item_id in enumerate(item_ids) if item_id and item_id not in stay]
            for number in removed:
                item_ids[number] = ""
            with files.unfinished(secrets.token_hex(32)) as file:
                old = files.path(checksum, "index")
                indexes.update(file, old, state, len(names), removed, new, on_progress)
                size, new_checksum = file.stat().st_size, files.identify(file)
            return described(state, item_ids + [each for part in new for each in part.item_ids], new_checksum, size)

        same = {key: index[key] for key in ("index_name", "algorithm", "metric", "project_to")}
        replace(database, blocks, begun, **same, **database.work(work, progress) | {"parameters": index["parameters"]})


def replace(database: Database, blocks: ModelBlocks, begun: float, **index) -> None:
    """Put a finished index in the place of the one before, and measure it.

    Readers see the one before until this transaction is committed, and its files can be restored as long.
    """
    store_file(database, index["checksum"], "index")
    store_file(database, index["state_checksum"], "state")
    name = {"index_name": index["index_name"]}
    is_first = not database.run(FORGET, **name)
    model, pack = blocks.model, blocks.pack
    database.run(
        STORE, **index, model_name=model.model_name, model_checksum=model.checksum, packed_in=pack.packed_in,
        items=pack.items, build_seconds=time.monotonic() - begun,
    )  # fmt: skip
    if not is_first:
        forget_parts(database)
    database.run(STORE_RECALL, **database.row(RECALL, **name, model_name=model.model_name), **name)


def store_file(database: Database, checksum: str, kind: str) -> None:
    """Store a file that this backend has written in parts, and give it its name in the cache."""
    database.run(FORGET_PART, checksum=checksum)
    for part in itertools.count():
        content = files.read_part(checksum, part, PART_BYTES)
        if not content:
            break
        database.run(STORE_PART, checksum=checksum, part=part, content=content)
    files.finish(checksum, kind)


def stored_projection(
    database: Database, model: Model, metric: str, project_to: int | None
) -> indexes.Projection | None:
    """Return the principal components of `pix.fit_pca`, if an index can use them.

    Those of vectors as they are suit the Euclidean distance; other metrics compare other vectors.
    """
    if metric != "euclidean" or not project_to or project_to < 0:
        return None
    stored = database.row(
        PROJECTION, dimensions=model.dimensions, project_to=project_to, model_name=model.model_name,
        checksum=model.checksum,
    )  # fmt: skip
    if stored is None:
        return None
    mean = vectors.from_bytes(stored["mean"])
    return indexes.Projection(mean, vectors.matrix(stored["axes"], len(mean)))


def open_index_files(plpy, cache: dict, checksum: str, state_checksum: str) -> bool:
    """Map an index, to be searched under the checksum of its state; tell whether its file was there."""
    try:
        state, item_ids = indexes.read_state(mapped(files.path(state_checksum, "state")), checksum)
        index = indexes.open_index(files.path(checksum, "index"), state, len(item_ids))
    except FileNotFoundError:
        return False
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
    ) as error:  # what libraries and parsers say of damaged files
        raise IndexBroken(f"The stored parts of an index cannot be opened: {error}") from error
    keep(cache, state_checksum, OpenIndex(index, item_ids))
    return True


@dataclass(frozen=True)
class Picked:
    """Some vectors of a block, and their items."""

    vectors: np.ndarray
    norms: np.ndarray
    item_ids: list[str]


def picked(packed: Packed, wanted: set[str]) -> list[Picked]:
    """Return those vectors of blocks that belong to some items."""
    some = []
    for block in packed.blocks:
        named = [(row, block.item_ids[row]) for row in range(len(block.norms))]
        rows = [row for row, item_id in named if item_id in wanted]
        if rows:
            item_ids = [item_id for _, item_id in named if item_id in wanted]
            some.append(Picked(block.vectors[rows], block.norms[rows], item_ids))
    return some


def described(state: indexes.FittedState, item_ids: list[str], checksum: str, size: int) -> dict:
    """Write what describes an index that was written here, and return what is stored of both."""
    content = state.pack(item_ids, checksum)
    state_checksum = hashlib.sha256(content).hexdigest()
    try:
        files.write_part(state_checksum, 0, content)
    except CacheUnusable:
        files.discard(checksum)  # it would keep a full disk full
        raise
    return {
        "checksum": checksum,
        "state_checksum": state_checksum,
        "size_bytes": size + len(content),
        "parameters": json.dumps(state.parameters),
    }
