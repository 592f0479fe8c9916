"""What all indexes for approximate nearest neighbors have in common.

What an index finds is a candidate: whoever asks compares it with the query by its full vector. So an index may hold
vectors of lower precision, or of fewer dimensions.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Choice, Range
from pixelplum.core.search.blocks import Block, Names
from pixelplum.core.search.indexes.projection import Projection, longest_of
from pixelplum.core.search.metrics import Metric
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.errors import IndexBroken

Progress = Callable[[float], None]
"""Takes the fraction that is done, from 0 to 1; what it raises ends the build."""

Pieces = Iterable[tuple[int, np.ndarray]]
"""Vectors as an index stores them, float32, some at a time, and the ordinal of the first."""

ROWS_AT_ONCE = 64
"""Vectors that are put into an index without looking whether that is still wanted."""

RERANK = Range(None, 1, 10_000, may_be_null=True)
"""How many candidates are at least compared by full vectors: 50 where the index is coarse, else 1."""


@dataclass(frozen=True)
class FittedState:
    """What an index file is: everything but the vectors.

    Attributes
    ----------
    algorithm : str
        A key of `pixelplum.core.search.indexes.INDEXES`.
    metric : Metric
        What is searched by.
    parameters : dict
        Of the algorithm, all of them.
    dimensions : int
        Numbers in a vector as the index stores it.
    projection : Projection or None
        What the vectors went through.
    """

    algorithm: str
    metric: Metric
    parameters: dict
    dimensions: int
    projection: Projection | None

    def prepared(self, vectors: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
        """Return vectors as the index stores them: float32, shape (vectors, dimensions)."""
        euclidean = self.metric.euclidean(vectors, norms, longest)
        return self.projection.apply(euclidean) if self.projection else euclidean

    def pieces(self, blocks: list[Block], start: int, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the vectors of blocks as the index stores them; the first has the ordinal `start`."""
        longest = longest_of(blocks)
        for number, block in enumerate(blocks):
            stored = self.prepared(block.vectors, block.norms, longest)
            for row in range(0, len(stored), ROWS_AT_ONCE):
                progress((number + row / len(stored)) / len(blocks))
                yield start + row, stored[row : row + ROWS_AT_ONCE]
            start += len(stored)
        progress(1)

    def pack(self, item_ids: list[str], index: str) -> bytes:
        """Return the content of a file that describes an index: the checksum of its own, this state, the items.

        A line of JSON, padded so that the numbers of the projection start at a multiple of four; mean and components;
        the items by ordinal.
        """
        header = {
            "index": index,
            "algorithm": self.algorithm, "metric": self.metric.name, "parameters": self.parameters,
            "dimensions": self.dimensions, "items": len(item_ids),
            "projected_from": len(self.projection.mean) if self.projection else None,
        }  # fmt: skip
        line = json.dumps(header).encode()
        numbers = (self.projection.mean, self.projection.components) if self.projection else ()
        return b"".join(
            (line, b" " * (-(len(line) + 1) % 4), b"\n", *(n.tobytes() for n in numbers), Names.pack(item_ids))
        )

    @classmethod
    def unpack(cls, content: bytes | mmap, index: str, metrics: Mapping[str, Metric]) -> tuple[FittedState, Names]:
        """Read what `pack` made, without copying the names.

        Raises
        ------
        IndexBroken
            If it describes another index.
        """
        end = content.find(b"\n") + 1
        header = json.loads(content[:end])
        if header["index"] != index:
            raise IndexBroken("An index and what describes it do not belong together")
        projection, projected_from, dimensions = None, header["projected_from"], header["dimensions"]
        if projected_from:
            numbers = np.frombuffer(content, FLOAT32, projected_from * (1 + dimensions), offset=end)
            projection = Projection(numbers[:projected_from], numbers[projected_from:].reshape(dimensions, -1))
            end += numbers.nbytes
        algorithm = header["algorithm"] if "algorithm" in header else header["method"]  # until version 0.7
        state = cls(algorithm, metrics[header["metric"]], header["parameters"], dimensions, projection)
        return state, Names(content, header["items"], end)


class Index(ABC):
    """An index file, mapped. An algorithm is a class that says how to build, open and search one.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    state : FittedState
        How it was made.
    items : int
        How many vectors it holds.

    Attributes
    ----------
    name : str
        What the algorithm is called in SQL.
    parameters : dict of Range or Choice
        What can be chosen.
    can_update : bool
        Whether vectors can be added and removed; else it is built again.
    """

    name: ClassVar[str]
    parameters: ClassVar[dict[str, Range | Choice]] = {"rerank": RERANK}
    can_update: ClassVar[bool] = False

    def __init__(self, path: Path, state: FittedState, items: int):
        self.state = state
        self.items = items
        self.open(path)

    @classmethod  # noqa: B027 most have nothing to refuse
    def check(cls, metric: Metric, parameters: dict) -> None:
        """Refuse parameters that do not go with the metric."""

    @classmethod
    def is_coarse(cls, parameters: dict) -> bool:
        """Tell whether vectors are stored so that many candidates have to be compared by full vectors."""
        return False

    @classmethod
    @abstractmethod
    def build(cls, path: Path, pieces: Pieces, state: FittedState) -> None:
        """Write an index of vectors to a file."""

    @classmethod
    def update(cls, path: Path, old: Path, state: FittedState, removed: list[int], pieces: Pieces) -> None:
        """Write an index to a file that has lost some vectors of an old one, and gained others."""
        raise NotImplementedError

    @abstractmethod
    def open(self, path: Path) -> None:
        """Map the file."""

    @abstractmethod
    def candidates(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        """Find candidates; queries are float32, as the index stores vectors."""

    def search(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        """Find candidates for the `count` nearest to each query.

        Parameters
        ----------
        queries : numpy.ndarray
            float32, shape (queries, dimensions of the catalogue's vectors).
        count : int
            How many.

        Returns
        -------
        list of numpy.ndarray
            For each query, ordinals of vectors, unordered, each at most once; there may be fewer.
        """
        prepared = self.state.prepared(queries, np.linalg.norm(queries, axis=1), 0)
        return self.candidates(np.ascontiguousarray(prepared, FLOAT32), max(1, min(count, self.items)))
