"""Choosing what to recommend."""

from dataclasses import dataclass

import numpy as np
import pytest

from pixelplum.core.users import recommendations
from pixelplum.core.users.models import Centroid, Forest, Kernel, Linear, Nearest


@dataclass
class Stored:
    vectors: np.ndarray
    norms: np.ndarray


RANDOM = np.random.default_rng(3)
ITEMS = RANDOM.normal(size=(120, 8)).astype(np.float32)
DIRECTIONS = ITEMS / np.linalg.norm(ITEMS, axis=1, keepdims=True)
BLOCKS = [Stored(part, np.linalg.norm(part, axis=1)) for part in np.split(ITEMS, [50, 110])]
STUMP = Forest(
    np.array([0], np.int32), np.array([1, -1, -1], np.int32), np.array([2, -1, -1], np.int32),
    np.array([3, 0, 0], np.int32),
    np.array([0.1, 0, 0]), np.array([0.5, 0.2, 0.9], np.float32),
)  # fmt: skip


def test_scores_of_several_models_at_once():
    models = [
        Linear(DIRECTIONS[0], 0.5), STUMP, Nearest(DIRECTIONS[:3], np.array([1.0, -1, 0.5])),
        Kernel(DIRECTIONS[:2], np.array([1.0, -1.0]), 2.0, 0.1), Linear(DIRECTIONS[9], 0.0),
    ]  # fmt: skip
    recommended = recommendations.scores(BLOCKS, models)
    assert recommended.shape == (5, 120)
    for own, model in zip(recommended, models, strict=True):
        assert own == pytest.approx(model.scores(DIRECTIONS), abs=1e-5)


def test_vectors_of_zeros_are_scored_too():
    zeros = [Stored(np.zeros((2, 8), np.float32), np.zeros(2, np.float32))]
    assert recommendations.scores(zeros, [Linear(DIRECTIONS[0], 0.5), STUMP]).tolist() == [
        [0.5] * 2,
        [np.float32(0.2)] * 2,
    ]


def test_best_leaves_out_what_is_known():
    scores = np.array([1, 3, -np.inf, 3, 2], np.float32)
    assert recommendations.best(scores, 3).tolist() == [1, 3, 4]
    assert recommendations.best(scores, 9).tolist() == [1, 3, 4, 0]
    assert not len(recommendations.best(np.full(3, -np.inf, np.float32), 2))


@pytest.mark.parametrize("k", [1, 4, 200])
def test_without_diversity_scores_decide(k):
    scores = RANDOM.normal(size=120)
    assert recommendations.diverse(DIRECTIONS, scores, k, 0).tolist() == np.argsort(-scores)[:k].tolist()


def test_maximal_marginal_relevance_by_hand():
    directions = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    scores = np.array([1.0, 0.9, 0.0])
    assert recommendations.diverse(directions, scores, 3, 0.4).tolist() == [0, 1, 2]
    assert recommendations.diverse(directions, scores, 3, 0.6).tolist() == [0, 2, 1]


def test_more_diversity_means_less_likeness():
    scores = DIRECTIONS @ DIRECTIONS[0]

    def likeness(diversity: float) -> float:
        chosen = DIRECTIONS[recommendations.diverse(DIRECTIONS, scores, 10, diversity)]
        return float((chosen @ chosen.T).mean())

    assert likeness(0) > likeness(0.5) > likeness(0.9)
    assert recommendations.diverse(DIRECTIONS, scores, 10, 0.9)[0] == scores.argmax()
    assert len(recommendations.diverse(DIRECTIONS, np.zeros(120), 5, 0.5)) == 5


def test_likes_that_an_item_is_close_to():
    likes = np.array([[1, 0], [0.99, 0.141], [0, 1], [-1, 0]], np.float32)
    items = np.array([[1, 0], [0, 1], [-0.9, -0.436]], np.float32)
    assert recommendations.close_likes(items, likes) == [[0, 1], [2], [3]]
    assert recommendations.close_likes(items, likes[:0]) == [[], [], []]
    assert recommendations.close_likes(items[:1], likes[3:]) == [[]]


def test_where_the_best_items_of_a_model_are():
    assert recommendations.queries(Linear(DIRECTIONS[0], 0.0)).tolist() == [DIRECTIONS[0].tolist()]
    assert recommendations.queries(Linear(np.zeros(8, np.float32), 0.0)) is None
    assert recommendations.queries(STUMP) is None
    near = recommendations.queries(Nearest(DIRECTIONS[:3], np.array([0.5, -1.0, 1])))
    assert near[1:].tolist() == DIRECTIONS[[2, 0]].tolist()
    assert near[0] == pytest.approx(0.5 * DIRECTIONS[0] - DIRECTIONS[1] + DIRECTIONS[2], abs=1e-6)
    away = recommendations.queries(Nearest(DIRECTIONS[:1], np.array([-1.0])))
    assert away.tolist() == (-DIRECTIONS[:1]).tolist()
    centroid = recommendations.queries(Centroid(2 * DIRECTIONS[0], DIRECTIONS[1], 2.0, 1.0))
    assert centroid[0] == pytest.approx(DIRECTIONS[0] - DIRECTIONS[1], abs=1e-6)
