"""Candidates in a cluster: the best by what a user likes, compared with numpy over everything."""

from dataclasses import dataclass

import numpy as np
import pytest

from pixelplum.core.users import candidates
from pixelplum.core.users.models import Linear, Nearest


@dataclass
class Stored:
    vectors: np.ndarray
    norms: np.ndarray


@pytest.fixture
def blocks():
    random = np.random.default_rng(3)
    matrices = {number: random.normal(size=(50, 16)).astype(np.float32) for number in (1, 2, 5)}
    return {number: Stored(matrix, np.linalg.norm(matrix, axis=1)) for number, matrix in matrices.items()}


@pytest.fixture
def positions(blocks):
    """Clusters 0, 3 and 7, an item in ten in none."""
    all_places = [(block, row) for block in blocks for row in range(1, 51)]
    clusters = np.random.default_rng(4).choice([0, 3, 7, -1], len(all_places), p=[0.3, 0.3, 0.3, 0.1])
    return [
        (cluster, *position) for cluster, position in zip(clusters.tolist(), all_places, strict=True) if cluster >= 0
    ]


@pytest.mark.parametrize("cluster", [0, 3, 7])
@pytest.mark.parametrize("count", [1, 5, 1000])
def test_best_of_a_cluster(blocks, positions, cluster, count):
    members = candidates.Members(*map(np.array, zip(*positions, strict=True)))
    wanted = np.random.default_rng(5).normal(size=16).astype(np.float32)
    neighbors = candidates.best(*members.positions(cluster), blocks, Linear(wanted, 0.0), count)
    own = [(block, row - 1) for c, block, row in positions if c == cluster]
    scores = {position: float(candidates.unit(blocks[position[0]].vectors[position[1]]) @ wanted) for position in own}
    expected = sorted(own, key=lambda position: -scores[position])[:count]
    assert list(zip(neighbors[0].tolist(), neighbors[1].tolist(), strict=True)) == expected
    assert neighbors[2] == pytest.approx([scores[position] for position in expected], abs=1e-5)


@pytest.mark.parametrize("cluster", [0, 3, 7])
def test_a_sketch_finds_the_same(blocks, positions, cluster, monkeypatch):
    """Sixteen components of sixteen tell everything; eight are enough for the few that matter."""
    monkeypatch.setattr(candidates, "CLOSELY", 12)
    members = candidates.Members(*map(np.array, zip(*positions, strict=True)))
    directions = candidates.unit(np.concatenate([blocks[number].vectors for number in sorted(blocks)]))
    mean = directions.mean(axis=0)
    axes = np.linalg.svd(directions - mean)[2]
    random = np.random.default_rng(6)
    liked = candidates.unit(random.normal(size=(4, 16)).astype(np.float32))
    for model in (Linear(liked[0], 0.5), Nearest(liked, np.array([1, 1, -1, 0.5]))):
        exact = candidates.best(*members.positions(cluster), blocks, model, 3)
        for kept in (16, 8):
            near = (directions - mean) @ axes[:kept].T
            sketch = candidates.Sketch(near, mean, axes[:kept], np.array([0, 0, 50, 0, 0, 100]))
            results = candidates.best(*members.positions(cluster), blocks, model, 3, sketch)
            assert [column.tolist() for column in results[:2]] == [column.tolist() for column in exact[:2]]
            assert results[2] == pytest.approx(exact[2], abs=1e-5)


def test_a_cluster_without_items(blocks, positions):
    members = candidates.Members(*map(np.array, zip(*positions, strict=True)))
    assert [
        len(part) for part in candidates.best(*members.positions(9), blocks, Linear(np.ones(16, np.float32), 0.0), 3)
    ] == [0, 0, 0]


def test_taste():
    typical = np.array([0, 0, 5], np.float32)
    liked, disliked = [1.0, 0, 0], [0, 1.0, 0]
    assert candidates.taste(np.empty((0, 3)), np.empty(0), typical).weights.tolist() == [0, 0, 1]
    assert candidates.taste(np.array([liked, disliked]), np.array([1, -1.0]), typical).weights.tolist() == [1, -0.5, 0]
    assert candidates.taste(np.array([disliked]), np.array([-1.0]), typical).weights.tolist() == [0, -0.5, 1]
    both = candidates.taste(np.array([liked, disliked]), np.array([1, 0.5]), typical)
    assert both.weights == pytest.approx([2 / 3, 1 / 3, 0])


def test_vectors_of_zeros_have_no_direction():
    assert candidates.unit(np.zeros((2, 3))).tolist() == [[0, 0, 0]] * 2
