"""A hierarchical navigable small world graph, by USearch."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Choice, Range
from pixelplum.core.search.indexes.base import RERANK, FittedState, Index, Pieces
from pixelplum.core.search.metrics import Metric
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.core.threads import CORES, signals_held
from pixelplum.errors import UnusableArgument

FLOAT16_MAX = 60_000
DTYPES = {"float32": "f32", "float16": "f16", "int8": "i8"}


class HnswIndex(Index):
    """A hierarchical navigable small world graph (Malkov and Yashunin 2016).

    Parameters are m, links of a vector to its neighbors in the graph; ef_construction and ef_search, candidates
    that are kept while the graph is built, and while it is searched; dtype, how precisely vectors are stored.
    """

    name = "hnsw"
    parameters: ClassVar = {
        "rerank": RERANK, "m": Range(16, 2, 256), "ef_construction": Range(128, 1, 10_000),
        "ef_search": Range(40, 1, 10_000), "dtype": Choice("float16", tuple(DTYPES)),
    }  # fmt: skip
    can_update = True

    @classmethod
    def check(cls, metric: Metric, parameters: dict) -> None:
        if parameters["dtype"] == "int8" and not metric.compares_directions:
            raise UnusableArgument(
                f"dtype must be float32 or float16 for the metric {metric.name}, not int8, which keeps directions only",
                hint="Use metric => 'cosine', or another dtype.",
            )

    @classmethod
    def is_coarse(cls, parameters: dict) -> bool:
        return parameters["dtype"] == "int8"

    @classmethod
    def build(cls, path: Path, pieces: Pieces, state: FittedState) -> None:
        graph = cls._graph(state)
        cls._add(graph, pieces, state)
        cls._save(graph, path)

    @classmethod
    def update(cls, path: Path, old: Path, state: FittedState, removed: list[int], pieces: Pieces) -> None:
        graph = cls._graph(state)
        graph.load(str(old))
        graph.remove(np.array(removed, np.uint64))
        cls._add(graph, pieces, state)
        cls._save(graph, path)

    @staticmethod
    def _save(graph, path: Path) -> None:
        try:
            graph.save(str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, str(error), str(path)) from error
        # The last bytes may be lost without a word where the disk is full.
        if path.stat().st_size < graph.serialized_length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    @staticmethod
    def _add(graph, pieces: Pieces, state: FittedState) -> None:
        for start, vectors in pieces:
            if state.parameters["dtype"] == "float16" and np.abs(vectors).max() > FLOAT16_MAX:
                raise UnusableArgument(
                    f"The features hold numbers larger than {FLOAT16_MAX:,}, which float16 cannot keep",
                    hint='Build the index with parameters => \'{"dtype": "float32"}\'.',
                )
            with signals_held():
                graph.add(np.arange(start, start + len(vectors)), np.ascontiguousarray(vectors, FLOAT32), threads=CORES)

    @staticmethod
    def _graph(state: FittedState):
        from usearch.index import Index as Graph  # slow to import

        return Graph(
            ndim=state.dimensions,
            metric="l2sq",
            dtype=DTYPES[state.parameters["dtype"]],
            connectivity=state.parameters["m"],
            expansion_add=state.parameters["ef_construction"],
            expansion_search=state.parameters["ef_search"],
        )

    def open(self, path: Path) -> None:
        self._mapped = self._graph(self.state)
        try:
            self._mapped.view(str(path))
        except RuntimeError:  # which does not tell a missing file from a damaged one
            path.stat()
            raise

    def candidates(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        self._mapped.expansion_search = max(self.state.parameters["ef_search"], count)
        return [self._search_one(query, count) for query in queries]

    def _search_one(self, query: np.ndarray, count: int) -> np.ndarray:
        if self.state.parameters["dtype"] == "float16" and np.abs(query).max() > FLOAT16_MAX:
            return np.empty(0, np.int64)  # it cannot be compared: whoever asks turns to exact search
        return self._mapped.search(query, count, threads=1).keys.astype(np.int64)
