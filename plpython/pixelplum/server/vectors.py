"""Feature vectors in SQL."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.errors import VectorError


def to_array(plpy, cache: dict, vector: bytes) -> list[float]:
    """Unpack a feature vector into numbers."""
    return vectors.from_bytes(vector).tolist()


def from_array(plpy, cache: dict, numbers: list[float]) -> bytes:
    """Pack numbers as a feature vector."""
    return vectors.to_bytes(numbers)


def distance(plpy, cache: dict, a: bytes, b: bytes, metric: str) -> float:
    """Distance between two feature vectors."""
    return vectors.distance(a, b, metric)


def distances(plpy, cache: dict, vector: bytes, queries: bytes, number: int, metric: str) -> list[float]:
    """Distances of a feature vector to several, packed one after another."""
    query, several = vectors.from_bytes(vector), vectors.matrix(queries, len(queries) // 4 // number)
    vectors.check_dimensions(len(query), several.shape[1])
    return vectors.distances(query, several, metric).tolist()


def check_queries(plpy, cache: dict, queries: bytes, number: int, metric: str) -> None:
    """Refuse query vectors or a metric that have no meaningful neighbors."""
    vectors.check_queries(queries, number, metric)


def matrix_of(several: bytes, count: int) -> np.ndarray:
    """Return vectors that follow one another: float32, shape (count, dimensions).

    Raises
    ------
    VectorError
        If a number is not finite.
    """
    rows = vectors.from_bytes(several).reshape(count, -1)
    if not np.isfinite(rows).all():
        raise VectorError("A feature vector holds a number that is not finite", hint="Extract the features again.")
    return rows


def places_of(dimensions: list[int] | None) -> np.ndarray | None:
    """Return positions, from 0, of numbered dimensions; None: all."""
    return None if dimensions is None else np.array(dimensions) - 1
