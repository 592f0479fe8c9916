"""Feature vectors in SQL."""

from __future__ import annotations

from pixelplum.core import vectors


def to_array(plpy, cache: dict, vector: bytes) -> list[float]:
    """Unpack a feature vector into numbers."""
    return vectors.from_bytes(vector).tolist()


def from_array(plpy, cache: dict, numbers: list[float]) -> bytes:
    """Pack numbers as a feature vector."""
    return vectors.to_bytes(numbers)


def distance(plpy, cache: dict, a: bytes, b: bytes, metric: str) -> float:
    """Distance between two feature vectors."""
    return vectors.distance(a, b, metric)


def check_query(plpy, cache: dict, vector: bytes, metric: str) -> None:
    """Refuse a query vector or metric that has no meaningful neighbours."""
    vectors.check_query(vector, metric)
