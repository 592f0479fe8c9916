"""Blocks: about a thousand feature vectors in one matrix, with their norms and the items they belong to.

A block's file is mapped, not read: the vectors, their norms, where each item's name ends, and the names.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from pixelplum.core.search.vectors import FLOAT32, LARGEST_SQUARE
from pixelplum.errors import VectorError

ENDS = np.dtype("<u4")


class Names:
    """Names of items, in a file.

    Parameters
    ----------
    content : bytes or mmap.mmap
        The file.
    items : int
        How many there are.
    start : int
        Where they start in the file: where each ends, and the names themselves.
    """

    def __init__(self, content: bytes | mmap.mmap, items: int, start: int):
        self._ends = np.frombuffer(content, ENDS, items, offset=start)
        self._names = memoryview(content)[start + self._ends.nbytes :]

    def __getitem__(self, position: int) -> str:
        start = self._ends[position - 1] if position else 0
        return str(self._names[start : self._ends[position]], "utf-8")

    def __len__(self) -> int:
        return len(self._ends)

    @staticmethod
    def pack(names: list[str]) -> bytes:
        """Return what a file holds of names."""
        encoded = [name.encode() for name in names]
        return b"".join((np.cumsum([len(name) for name in encoded]).astype(ENDS).tobytes(), *encoded))


class Block:
    """Vectors of some items.

    Parameters
    ----------
    content : bytes or mmap.mmap
        As `pack` makes it.
    items : int
        How many vectors there are.
    dimensions : int
        Numbers in each.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape (items, dimensions), read-only.
    norms : numpy.ndarray
        float32, shape (items,): the vectors' Euclidean lengths.
    item_ids : Names
        The items.
    """

    def __init__(self, content: bytes | mmap.mmap, items: int, dimensions: int):
        self._content = content
        numbers = np.frombuffer(content, FLOAT32, items * (dimensions + 1))
        self.vectors = numbers[: items * dimensions].reshape(items, dimensions)
        self.norms = numbers[items * dimensions :]
        self.item_ids = Names(content, items, numbers.nbytes)

    def let_go(self) -> None:
        """Take the pages of a mapped file out of this process, which has read all of it; the system keeps them."""
        if isinstance(self._content, mmap.mmap):
            self._content.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path) -> mmap.mmap:
    """Map a file for reading: processes that map the same file share its memory."""
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def norms(item_ids: list[str], vectors: bytes) -> bytes:
    """Return the Euclidean lengths of packed vectors that follow one another, one for each item: float32.

    Raises
    ------
    VectorError
        If a vector holds a number that is not finite, or is so long that float32 cannot hold its square.
    """
    matrix = np.frombuffer(vectors, FLOAT32).reshape(len(item_ids), -1)
    squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    damaged = ~(squares < LARGEST_SQUARE)  # NaN too
    if damaged.any():
        item_id = item_ids[int(damaged.argmax())]
        raise VectorError(
            f"The features of item {item_id!r} hold a number that is not finite, or too large to be squared",
            hint="Extract or load them again, or delete them from pix.features.",
        )
    return np.sqrt(squares).astype(FLOAT32).tobytes()


def pack(item_ids: list[str], vectors: bytes, norms: bytes) -> bytes:
    """Return the content of a block's file, from its columns in the database."""
    return b"".join((vectors, norms, Names.pack(item_ids)))
