"""Blocks of vectors: packed in the database, mapped from the cache of this host."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from pixelplum.core.search import blocks, exact
from pixelplum.errors import FilesVanish
from pixelplum.server import cache as files

if TYPE_CHECKING:
    from pixelplum.server.database import Database

ATTEMPTS = 10
"""Packings that may follow one another while somebody opens their blocks."""
OPEN_BLOCKS = "SELECT pix_internal.open_blocks($model_name::text)"
KEPT = 8
"""Models and indexes that a backend keeps open."""


class Packed:
    """All blocks of a model, mapped; `starts` has for each number of a block how many vectors are before it."""

    def __init__(self, parts: dict[int, blocks.Block]):
        self.by_number = parts
        self.blocks = list(parts.values())
        self._ends = np.cumsum([len(part.norms) for part in self.blocks])
        self.starts = np.zeros(max(parts, default=0) + 1, int)
        self.starts[list(parts)] = [0, *self._ends[:-1]] if parts else []

    def search(self, queries: np.ndarray, count: int, metric: str) -> list[np.ndarray]:
        """Find the nearest; see `exact.nearest`."""
        return exact.nearest(self.blocks, queries, count, metric)

    def vectors(self, positions: list[tuple[int, int]]) -> np.ndarray:
        """Return the vectors at positions: ids of blocks, and rows in them from 1."""
        return np.stack([self.by_number[block].vectors[row - 1] for block, row in positions])

    def vector(self, position: int) -> np.ndarray:
        """Return the vector at a position, counted through the blocks."""
        number = int(np.searchsorted(self._ends, position, side="right"))
        part = self.blocks[number]
        return part.vectors[position - int(self._ends[number]) + len(part.norms)]

    def block(self, number: int) -> blocks.Block:
        """Return the block of a number."""
        return self.by_number[number]

    def item_at(self, position: tuple[int, int]) -> str:
        """Return the item at a position."""
        return self.by_number[position[0]].item_ids[position[1] - 1]

    def item_id(self, position: int) -> str:
        """Return the item at a position, counted through the blocks."""
        number = int(np.searchsorted(self._ends, position, side="right"))
        part = self.blocks[number]
        return part.item_ids[position - int(self._ends[number]) + len(part.norms)]


def open_blocks(database: Database, model_name: str, key: str) -> Packed:
    """Return the blocks of a model, mapped by this backend, and restored in the cache of this host if need be.

    Parameters
    ----------
    key : str
        The checksum of their packing.

    Raises
    ------
    FilesVanish
        If they are of another packing by now, or their files do not stay.
    """
    return _opened(database, key, OPEN_BLOCKS, model_name=model_name)


def restore_blocks(database: Database, model_name: str) -> None:
    """Restore the blocks of a model in the cache of this host, once for all workers that are going to map them."""
    database.run(OPEN_BLOCKS, model_name=model_name)


def open_index(database: Database, index_name: str, state_checksum: str):
    """Return an index, mapped by this backend, and restored in the cache of this host if need be."""
    statement = "SELECT pix_internal.open_index($index_name::text)"
    return _opened(database, state_checksum, statement, index_name=index_name)


def _opened(database: Database, key: str, statement: str, **names):
    if kept(database.cache, key) is None:
        database.run(statement, **names)
    opened = kept(database.cache, key)
    if opened is None:
        raise FilesVanish
    return opened


def read_with_blocks(database: Database, statement: str, **values) -> tuple[dict, Packed]:
    """Run a statement that tells where vectors are, and return its row, and the blocks that these are in.

    Blocks that are mapped stay as they are, and the statement sees votes, positions and packing as of one moment.

    Parameters
    ----------
    database : Database
    statement : str
        It returns as ``blocks_key`` the checksum of the packing of ``$model_name``.
    **values
        As for `Database.rows`.

    Raises
    ------
    FilesVanish
        If features are packed again and again, between the statement and the opening of blocks.
    """
    for _ in range(ATTEMPTS):
        row = database.row(statement, **values)
        with suppress(FilesVanish):
            return row, open_blocks(database, values["model_name"], row["blocks_key"])
    raise FilesVanish


def describe_block(plpy, cache: dict, item_ids: list[str], vectors: bytes) -> dict:
    """Check a block, and return its norms and the checksum of its file."""
    norms = blocks.norms(item_ids, vectors)
    return {"norms": norms, "checksum": hashlib.sha256(blocks.pack(item_ids, vectors, norms)).hexdigest()}


def restore_block(plpy, cache: dict, checksum: str, item_ids: list[str], vectors: bytes, norms: bytes) -> None:
    """Write a block's file into the cache of this host."""
    files.write(checksum, "block", blocks.pack(item_ids, vectors, norms))


def open_block_files(
    plpy, cache: dict, key: str, numbers: list[int], checksums: list[str], items: list[int], dimensions: int
) -> bool:
    """Map a model's blocks, to be searched under a key; tell whether all files were there."""
    try:
        parts = {
            number: blocks.Block(blocks.mapped(files.path(checksum, "block")), rows, dimensions)
            for number, checksum, rows in zip(numbers, checksums, items, strict=True)
        }
    except FileNotFoundError:
        return False
    keep(cache, key, Packed(parts))
    return True


def keep(cache: dict, key: str, searchable) -> None:
    """Keep something that can be searched under a key, and let go what was not used for longest."""
    kept: OrderedDict = cache.setdefault("searchable", OrderedDict())
    kept[key] = searchable
    while len(kept) > KEPT:
        kept.popitem(last=False)


def kept(cache: dict, key: str):
    """Return what is kept under a key, or None."""
    searchables: OrderedDict = cache.setdefault("searchable", OrderedDict())
    if key in searchables:
        searchables.move_to_end(key)
    return searchables.get(key)


def locations(located: dict) -> list[tuple[int, int]]:
    """Return where the vectors of located items are: block, and position in it from 1, of each."""
    return list(zip(located["blocks"] or (), located["positions"] or (), strict=True))
