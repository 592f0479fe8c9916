"""Indexes: built from blocks, stored in the database in parts, mapped from the cache of this host."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

import numpy as np

from pixelplum.core.search import indexes, vectors
from pixelplum.core.search.blocks import Names, mapped
from pixelplum.errors import CacheUnusable, IndexBroken, UnusableArgument
from pixelplum.server import cache as files
from pixelplum.server.blocks import Packed, keep, kept
from pixelplum.server.parameters import read
from pixelplum.server.progress import reporter

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


def check_index_parameters(
    plpy, cache: dict, algorithm: str | None, metric: str | None, parameters: str, project_to: int | None
) -> None:
    """Refuse what no index can be built with."""
    vectors.check_metric(metric)
    indexes.read_parameters(algorithm, metric, read(parameters, UnusableArgument), project_to is not None)


def write_index(
    plpy, cache: dict, title: str, key: str, algorithm: str, metric: str, parameters: str, project_to: int | None,
    mean: bytes | None, axes: bytes | None,
) -> dict:  # fmt: skip
    """Build an index of opened blocks into the cache of this host, and return what to store of it."""
    packed: Packed = kept(cache, key)
    projection = None
    if mean is not None:
        projection = indexes.Projection(vectors.from_bytes(mean), vectors.matrix(axes, len(mean) // 4))
    state = indexes.fit(algorithm, metric, json.loads(parameters), project_to, packed.blocks, projection)
    with files.unfinished(secrets.token_hex(32)) as file:
        indexes.build(file, state, packed.blocks, reporter(plpy, title))
        size = file.stat().st_size
        checksum = files.identify(file)
    item_ids = [block.item_ids[position] for block in packed.blocks for position in range(len(block.norms))]
    return _stored(state, item_ids, checksum, size)


def rewrite_index(
    plpy, cache: dict, title: str, checksum: str, state_checksum: str, key: str,
    kept_ids: list[str], added_ids: list[str],
) -> dict:  # fmt: skip
    """Write a changed index into the cache of this host, and return what to store of it."""
    packed: Packed = kept(cache, key)
    state, names = indexes.read_state(mapped(files.path(state_checksum, "state")), checksum)
    stay = set(kept_ids)
    item_ids = [names[number] for number in range(len(names))]
    removed = [number for number, item_id in enumerate(item_ids) if item_id and item_id not in stay]
    added = _picked(packed, set(added_ids))
    for number in removed:
        item_ids[number] = ""
    with files.unfinished(secrets.token_hex(32)) as file:
        indexes.update(file, files.path(checksum, "index"), state, len(names), removed, added, reporter(plpy, title))
        size = file.stat().st_size
        new_checksum = files.identify(file)
    item_ids += [item_id for block in added for item_id in block.item_ids]
    return _stored(state, item_ids, new_checksum, size)


def read_index_part(plpy, cache: dict, checksum: str, part: int) -> bytes | None:
    """Return a part of a file that was written here, from 0; None behind its end."""
    return files.read_part(checksum, part, PART_BYTES) or None


def index_file_is_there(plpy, cache: dict, checksum: str, kind: str) -> bool:
    """Tell whether a file is in the cache of this host, as it should be."""
    return files.is_sound(checksum, kind)


def write_index_part(plpy, cache: dict, checksum: str, part: int, content: bytes) -> None:
    """Write one part of a file into the cache of this host."""
    files.write_part(checksum, part, content)


def finish_index_file(plpy, cache: dict, checksum: str, kind: str) -> None:
    """Give a restored file its name, if it is whole."""
    files.finish(checksum, kind)


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


def index_names(plpy, cache: dict, state_checksum: str) -> list[str]:
    """Return the items of an index that was opened, without those that were taken out."""
    item_ids: Names = kept(cache, state_checksum).item_ids
    return [name for number in range(len(item_ids)) if (name := item_ids[number])]


@dataclass(frozen=True)
class Picked:
    """Some vectors of a block, and their items."""

    vectors: np.ndarray
    norms: np.ndarray
    item_ids: list[str]


def _picked(packed: Packed, wanted: set[str]) -> list[Picked]:
    picked = []
    for block in packed.blocks:
        named = [(row, block.item_ids[row]) for row in range(len(block.norms))]
        rows = [row for row, item_id in named if item_id in wanted]
        if rows:
            item_ids = [item_id for _, item_id in named if item_id in wanted]
            picked.append(Picked(block.vectors[rows], block.norms[rows], item_ids))
    return picked


def _stored(state: indexes.FittedState, item_ids: list[str], checksum: str, size: int) -> dict:
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
        "used_parameters": json.dumps(state.parameters),
    }
