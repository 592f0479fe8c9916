"""Metrics of recommendations, by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from pixelplum.core.users import evaluation, recommendations

DIRECTIONS = np.eye(6, dtype=np.float32)


def judge(scores, liked, k):
    scores = np.array(scores, np.float32)
    first = recommendations.best(scores, k)
    return evaluation.judge(scores, np.array(liked), first, DIRECTIONS[first], k)


def test_by_hand():
    results = judge([5, 4, 3, 2, -np.inf, 1], [1, 5], 3)
    assert results.auc == pytest.approx((2 / 3 + 0) / 2)
    assert results.precision == pytest.approx(1 / 3)
    assert results.ndcg == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert results.diversity == pytest.approx(1)
    assert results.first.tolist() == [0, 1, 2]


def test_as_scikit_learn_has_it():
    random = np.random.default_rng(1)
    scores = random.normal(size=6)
    truth = np.array([1, 0, 0, 1, 0, 1])
    results = judge(scores, np.flatnonzero(truth), 4)
    assert results.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert results.ndcg == pytest.approx(ndcg_score([truth], [scores], k=4), abs=1e-6)


def test_ties_are_worth_half():
    assert judge([1, 1, 1, 1, 1, 1], [2], 1).auc == 0.5
    assert judge([1, 2], [0, 1], 2).auc == 0.5  # nothing to compare with


def test_a_single_one_is_not_diverse():
    assert judge([1, 2, 3], [2], 1).diversity is None


def test_summary():
    rows = evaluation.summary([judge([3, 2, 1], [0], 2), judge([3, 1, 2], [1], 2)], 6)
    by_name = {row.pop("metric"): row for row in rows}
    assert by_name["precision"]["value"] == pytest.approx(0.25)
    assert by_name["precision"]["high"] - 0.25 == pytest.approx(1.96 * np.std([0.5, 0], ddof=1) / math.sqrt(2))
    assert by_name["coverage"] == {"value": 0.5, "low": None, "high": None, "users": 2}
    empty = {row["metric"]: row for row in evaluation.summary([], 6)}
    assert empty["auc"] == {"metric": "auc", "value": None, "low": None, "high": None, "users": 0}
