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
    if metric not in METRICS:
        raise UnknownMetric(f"The metric {metric!r} is not known")
    if len(a) != len(b):
        raise VectorError(
            f"The vectors have {len(a) // 4} and {len(b) // 4} dimensions",
            hint="Compare vectors of one model only.",
        )
    x, y = from_bytes(a).astype(np.float64), from_bytes(b).astype(np.float64)
    if metric == "euclidean":
        difference = x - y
        return float(np.sqrt(difference @ difference))
    if metric == "dot":
        return float(-(x @ y))
    norms = np.sqrt((x @ x) * (y @ y))
    return float(1 - (x @ y) / norms) if norms > 0 else 1.0


def check_query(vector: bytes, metric: str) -> None:
    """Refuse a query that has no meaningful neighbours.

    Raises
    ------
    UnknownMetric
        If the metric is not known.
    ZeroVector
        If the metric is cosine and the vector is all zeros.
    """
    if metric not in METRICS:
        raise UnknownMetric(f"The metric {metric!r} is not known")
    if metric == "cosine" and not from_bytes(vector).any():
        raise ZeroVector
