"""Feature vectors: their bytes in the database, and distances between them."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search.metrics import METRICS
from pixelplum.errors import UnusableArgument, VectorError, ZeroVector, shown

FLOAT32 = np.dtype("<f4")
LARGEST_SQUARE = np.finfo(FLOAT32).max / 4
"""Of the length of vectors that can be compared in float32."""


def to_bytes(vector) -> bytes:
    """Pack numbers as a `pix.feature_vector`.

    Parameters
    ----------
    vector : array_like
        Shape (dimensions,), finite numbers.

    Returns
    -------
    bytes
        Little-endian float32, four bytes a dimension.

    Raises
    ------
    VectorError
        If there are no numbers, or one is missing or not finite.
    """
    packed = np.asarray(vector, dtype=FLOAT32)
    if packed.ndim != 1 or packed.size == 0:
        raise VectorError("A feature vector needs one dimension and at least one number")
    if not np.isfinite(packed).all():
        raise VectorError("A feature vector holds a number that is missing or not finite")
    return packed.tobytes()


def from_bytes(vector: bytes) -> np.ndarray:
    """Unpack a `pix.feature_vector`: float32, shape (dimensions,), read-only, no copy."""
    return np.frombuffer(vector, dtype=FLOAT32)


def distance(a: bytes, b: bytes, metric: str = "cosine") -> float:
    """Distance between two packed vectors; the smaller, the more alike.

    Parameters
    ----------
    a, b : bytes
        Packed vectors of the same dimensions.
    metric : str, default 'cosine'; a key of `METRICS`
        1 - cosine of the angle (a vector of zeros is at distance 1 from
        every other), the length of the difference, or the negative inner
        product.

    Returns
    -------
    float

    Raises
    ------
    VectorError
        If the dimensions differ.
    UnusableArgument
        If the metric is none of the three.
    """
    check_dimensions(len(a) // 4, len(b) // 4)
    return float(distances(from_bytes(a), from_bytes(b)[np.newaxis], metric)[0])


def distances(query: np.ndarray, vectors: np.ndarray, metric: str = "cosine") -> np.ndarray:
    """Distances of one vector to several; see `distance`.

    Parameters
    ----------
    query : numpy.ndarray
        float32, shape (dimensions,), or (queries, dimensions).
    vectors : numpy.ndarray
        float32, shape (vectors, dimensions), or for each query its own: (queries, vectors, dimensions).
    metric : str, default 'cosine'; a key of `METRICS`
        As for `distance`.

    Returns
    -------
    numpy.ndarray
        float64, shape (vectors,), or (queries, vectors).

    Raises
    ------
    VectorError
        If a vector holds a number that is not finite.
    UnusableArgument
        If the metric is none of the three.
    """
    check_metric(metric)
    x = query.astype(np.float64)
    y = vectors.astype(np.float64)
    distances = METRICS[metric].distances(x, y)
    if not np.isfinite(distances).all():
        raise VectorError("A feature vector holds a number that is not finite")
    return distances


def check_queries(queries: bytes, number: int, metric: str) -> None:
    """Refuse queries that have no meaningful neighbors.

    Parameters
    ----------
    queries : bytes
        Packed vectors of the same dimensions, one after another.
    number : int
        How many vectors there are.
    metric : str
        As for `distance`.

    Raises
    ------
    UnusableArgument
        If the metric is not known.
    ZeroVector
        If the metric is cosine and a vector is all zeros.
    VectorError
        If a vector holds a number that is not finite, or is too long to be compared in float32.
    """
    check_metric(metric)
    rows = matrix(queries, len(queries) // 4 // number)
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    if not (squares < LARGEST_SQUARE).all():
        raise VectorError("A vector to search with holds a number that is not finite, or too large to be squared")
    if METRICS[metric].compares_directions and not squares.all() and not rows.any(axis=1).all():
        raise ZeroVector


def check_dimensions(a: int, b: int) -> None:
    """Refuse vectors that have different dimensions."""
    if a != b:
        raise VectorError(f"The vectors have {a} and {b} dimensions", hint="Compare vectors of one model only.")


def check_metric(metric: str | None) -> None:
    """Refuse a metric that is not known."""
    if metric not in METRICS:
        raise UnusableArgument(
            f"metric must be one of {', '.join(METRICS)}, not {shown(metric)}",
            hint="pix.algorithms('metric') lists the metrics.",
        )


def matrix(vectors: bytes, dimensions: int) -> np.ndarray:
    """Unpack vectors that follow one another: float32, shape (vectors, dimensions), read-only, no copy."""
    if len(vectors) % (4 * dimensions):
        raise VectorError(
            f"{len(vectors) // 4} numbers are not a whole number of vectors of {dimensions} dimensions",
            hint="Compare vectors of one model only.",
        )
    return from_bytes(vectors).reshape(-1, dimensions)
