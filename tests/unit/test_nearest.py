"""Exact search by blocks, against scikit-learn's brute force; ties and rounding."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from pixelplum.core.search.exact import Part, nearest, rank
from pixelplum.core.search.vectors import distances

METRICS = ["cosine", "euclidean", "dot"]


def parts(matrix: np.ndarray, size: int) -> list[Part]:
    norms = np.linalg.norm(matrix.astype(float), axis=1).astype(np.float32)
    return [Part(matrix[i : i + size], norms[i : i + size]) for i in range(0, len(matrix), size)]


@pytest.fixture
def matrix():
    return np.random.default_rng(1).normal(size=(700, 64)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("queries", [1, 5])
def test_agrees_with_scikit_learn(matrix, metric, queries):
    queried = matrix[:queries]
    if metric == "dot":
        expected = np.argsort(-(queried.astype(float) @ matrix.T.astype(float)), axis=1)[:, :10]
    else:
        oracle = NearestNeighbors(n_neighbors=10, metric=metric, algorithm="brute").fit(matrix.astype(float))
        expected = oracle.kneighbors(queried.astype(float), return_distance=False)
    neighbors = nearest(parts(matrix, 150), queried, 10, metric)
    assert [set(row.tolist()) for row in neighbors] == [set(row.tolist()) for row in expected]


@pytest.mark.parametrize("metric", METRICS)
def test_all_that_rounding_does_not_tell_apart(metric):
    """Vectors that float32 products cannot order are candidates all."""
    random = np.random.default_rng(2)
    base = random.normal(size=2048).astype(np.float32)
    matrix = np.stack([base] * 40 + [random.normal(size=2048).astype(np.float32) for _ in range(100)])
    matrix[:40, 0] += np.linspace(0, 1e-6, 40, dtype=np.float32)
    neighbors = nearest(parts(matrix, 30), base[np.newaxis], 5, metric)[0]
    true = np.argsort(distances(base, matrix, metric), kind="stable")[:5]
    assert set(true.tolist()) <= set(neighbors.tolist())


def test_more_than_there_are(matrix):
    assert nearest(parts(matrix, 150), matrix[:2], 5000, "cosine")[1].tolist() == list(range(700))
    assert nearest([], matrix[:1], 5, "cosine")[0].tolist() == []


def test_zeros_are_at_distance_one():
    matrix = np.eye(4, dtype=np.float32)
    matrix[2] = 0
    with np.errstate(all="raise"):
        neighbors = nearest(parts(matrix, 2), np.array([[1, 0.5, 0, 0]], np.float32), 2, "cosine")[0]
    assert set(neighbors.tolist()) == {0, 1}
    assert distances(matrix[0], matrix, "cosine").tolist() == [0, 1, 1, 1]


def test_ties_are_in_the_order_of_the_names():
    matrix = np.ones((4, 3), np.float32)
    assert [name for _, name in rank(matrix[0], ["d", "b", "c", "a"], matrix, 3, "cosine")] == ["a", "b", "c"]


@pytest.mark.parametrize("metric", METRICS)
def test_distances_do_not_depend_on_company(matrix, metric):
    alone = [distances(matrix[0], matrix[i : i + 1], metric)[0] for i in range(50)]
    assert distances(matrix[0], matrix[:50], metric).tolist() == alone
    many = distances(matrix[:3], np.stack([matrix[:50]] * 3), metric)
    assert many[0].tolist() == alone


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", [1e-30, 1e15])
def test_vectors_of_any_length(matrix, metric, length):
    scaled = matrix.copy()
    scaled[::10] *= np.float32(length)
    for query in (scaled[0], scaled[1]):
        neighbors = nearest(parts(scaled, 150), query[np.newaxis], 5, metric)[0]
        true = np.argsort(distances(query, scaled, metric), kind="stable")[:5]
        assert set(true.tolist()) <= set(neighbors.tolist())
