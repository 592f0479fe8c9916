"""Packing of vectors, and distances against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from pixelplum.core.search import vectors
from pixelplum.errors import UnusableArgument, VectorError, ZeroVector

RANDOM = np.random.default_rng(7)


def test_round_trip():
    numbers = RANDOM.normal(size=300).astype(np.float32)
    packed = vectors.to_bytes(numbers)
    assert len(packed) == 1200
    assert packed[:4] == numbers[0].astype("<f4").tobytes()
    np.testing.assert_array_equal(vectors.from_bytes(packed), numbers)


@pytest.mark.parametrize("numbers", [[], [[1.0, 2.0]], [1.0, float("nan")], [float("inf")], [None, 1.0]])
def test_what_is_no_vector(numbers):
    with pytest.raises(VectorError):
        vectors.to_bytes(numbers)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_agree_with_scikit_learn(metric):
    x = RANDOM.normal(size=(8, 64)).astype(np.float32)
    expected = pairwise_distances(x.astype(np.float64), metric=metric)
    packed = [vectors.to_bytes(row) for row in x]
    got = [[vectors.distance(a, b, metric) for b in packed] for a in packed]
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_dot_is_the_negative_inner_product():
    assert vectors.distance(vectors.to_bytes([1, 2]), vectors.to_bytes([3, 4]), "dot") == -11


def test_zero_vector_is_unlike_everything():
    zero, one = vectors.to_bytes([0, 0]), vectors.to_bytes([1, 0])
    assert vectors.distance(zero, one) == 1
    with pytest.raises(ZeroVector):
        vectors.check_queries(one + zero, 2, "cosine")
    vectors.check_queries(one + zero, 2, "euclidean")


def test_errors_name_the_remedy():
    a, b = vectors.to_bytes([1]), vectors.to_bytes([1, 2])
    with pytest.raises(VectorError, match="1 and 2 dimensions") as caught:
        vectors.distance(a, b)
    assert "one model" in caught.value.hint
    with pytest.raises(UnusableArgument, match="manhattan"):
        vectors.distance(a, a, "manhattan")
    with pytest.raises(UnusableArgument, match="manhattan"):
        vectors.check_queries(a, 1, "manhattan")
