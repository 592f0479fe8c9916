"""Feature vectors: their bytes in the database, and distances between them."""

from __future__ import annotations

import numpy as np

from pixelplum.errors import UnknownMetric, VectorError, ZeroVector

FLOAT32 = np.dtype("<f4")
METRICS = ("cosine", "euclidean", "dot")


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
    metric : {'cosine', 'euclidean', 'dot'}, default 'cosine'
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
    UnknownMetric
        If the metric is none of the three.
    """
    if len(a) != len(b):
        raise VectorError(
            f"The vectors have {len(a) // 4} and {len(b) // 4} dimensions",
            hint="Compare vectors of one model only.",
        )
    return float(distances(a, b, metric)[0])


def distances(vector: bytes, queries: bytes, metric: str = "cosine") -> np.ndarray:
    """Distances of one packed vector to several; see `distance`.

    Parameters
    ----------
    vector : bytes
        A packed vector.
    queries : bytes
        Packed vectors of the same dimensions, one after another.
    metric : {'cosine', 'euclidean', 'dot'}, default 'cosine'
        As for `distance`.

    Returns
    -------
    numpy.ndarray
        float64, shape (number of queries,).

    Raises
    ------
    VectorError
        If the queries are no whole number of such vectors.
    UnknownMetric
        If the metric is none of the three.
    """
    _check_metric(metric)
    x = from_bytes(vector).astype(np.float64)
    y = _matrix(queries, len(x)).astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(y - x, axis=1)
    products = y @ x
    if metric == "dot":
        return -products
    norms = np.sqrt(np.einsum("ij,ij->i", y, y) * (x @ x))
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return np.clip(1 - cosines, 0, 2)  # rounding must not make a distance negative


def check_queries(queries: bytes, number: int, metric: str) -> None:
    """Refuse queries that have no meaningful neighbours.

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
    UnknownMetric
        If the metric is not known.
    ZeroVector
        If the metric is cosine and a vector is all zeros.
    """
    _check_metric(metric)
    if metric == "cosine" and not _matrix(queries, len(queries) // 4 // number).any(axis=1).all():
        raise ZeroVector


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise UnknownMetric(f"The metric {metric!r} is not known")


def _matrix(vectors: bytes, dimensions: int) -> np.ndarray:
    """Unpack vectors that follow one another: float32, shape (vectors, dimensions), read-only, no copy."""
    if len(vectors) % (4 * dimensions):
        raise VectorError(
            f"{len(vectors) // 4} numbers are no whole number of vectors of {dimensions} dimensions",
            hint="Compare vectors of one model only.",
        )
    return from_bytes(vectors).reshape(-1, dimensions)
