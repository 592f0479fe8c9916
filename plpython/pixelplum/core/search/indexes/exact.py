"""All vectors, compared one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelplum.core.search.blocks import mapped
from pixelplum.core.search.exact import Part, nearest
from pixelplum.core.search.indexes.base import FittedState, Index, Pieces
from pixelplum.core.search.vectors import FLOAT32

PIECE = 1 << 20
"""Numbers that are worth a turn of a core."""


class ExactIndex(Index):
    """All vectors, compared one by one: for projections of them."""

    name = "exact"

    @classmethod
    def build(cls, path: Path, pieces: Pieces, state: FittedState) -> None:
        norms = []
        with path.open("wb") as stream:
            for _, vectors in pieces:
                stream.write(vectors.astype(FLOAT32).tobytes())
                norms.append(np.linalg.norm(vectors, axis=1).astype(FLOAT32))
            for piece in norms:
                stream.write(piece.tobytes())

    def open(self, path: Path) -> None:
        numbers = np.frombuffer(mapped(path), FLOAT32)
        self.vectors = numbers[: -self.items].reshape(self.items, -1)
        norms = numbers[-self.items :]
        step = max(1, PIECE // self.vectors.shape[1])
        self._blocks = [Part(self.vectors[i : i + step], norms[i : i + step]) for i in range(0, self.items, step)]

    def candidates(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        return nearest(self._blocks, queries, count, "euclidean")
