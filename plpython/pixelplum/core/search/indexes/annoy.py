"""A forest of random projection trees, by Annoy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Range
from pixelplum.core.processes import in_child
from pixelplum.core.search.indexes.base import RERANK, FittedState, Index, Pieces
from pixelplum.core.threads import CORES, signals_held

SEED = 7


class AnnoyIndex(Index):
    """A forest of random projection trees (https://github.com/spotify/annoy).

    Parameters are trees, how many, and search_k, nodes of the trees that are looked at.
    """

    name = "annoy"
    parameters: ClassVar = {"rerank": RERANK, "trees": Range(20, 1, 1000), "search_k": Range(10_000, 1, 10**7)}

    @classmethod
    def build(cls, path: Path, pieces: Pieces, state: FittedState) -> None:
        from annoy import AnnoyIndex as Forest

        forest = None
        for start, vectors in pieces:
            forest = forest or Forest(vectors.shape[1], "euclidean")
            for number, vector in enumerate(vectors, start):
                forest.add_item(number, vector)
        forest.set_seed(SEED)

        def grow() -> None:
            forest.build(state.parameters["trees"], n_jobs=CORES)
            forest.save(str(path))

        with signals_held():
            in_child(grow)  # trees are grown in one call, which nothing interrupts

    def open(self, path: Path) -> None:
        from annoy import AnnoyIndex as Forest

        self._forest = Forest(self.state.dimensions, "euclidean")
        self._forest.load(str(path))

    def candidates(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        nodes = max(self.state.parameters["search_k"], count)
        return [np.array(self._forest.get_nns_by_vector(query, count, nodes), np.int64) for query in queries]
