"""Models of users: taken apart and put together again, and what they say."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import BernoulliNB

from pixelplum.core.users import models
from pixelplum.core.users.algorithms import SIMPLE, find
from pixelplum.core.users.algorithms.base import SEED
from pixelplum.core.users.votes import Votes, weights_of
from pixelplum.errors import UserModelBroken

RANDOM = np.random.default_rng(2)
ITEMS = RANDOM.normal(size=(300, 12)).astype(np.float32)
ITEMS /= np.linalg.norm(ITEMS, axis=1, keepdims=True)
LIKED = ITEMS[:40] @ RANDOM.normal(size=12) > 0.1
VOTES = Votes(ITEMS[:40], np.where(LIKED, 1.0, -1.0))


def trained(algorithm: str) -> models.Model:
    return find(algorithm).train(VOTES, find(algorithm).check({})).model


@pytest.mark.parametrize("algorithm", [*SIMPLE, "ensemble"])
def test_packed_and_unpacked(algorithm):
    model = trained(algorithm)
    described, content = models.pack(model)
    again = models.unpack(json.loads(models.dumps(described)), content)
    assert np.array_equal(again.scores(ITEMS), model.scores(ITEMS))
    lengths = RANDOM.uniform(0.5, 9, (len(ITEMS), 1)).astype(np.float32)
    scored = models.scorer(again)(ITEMS * lengths, lengths[:, 0])
    differing = np.abs(scored - model.scores(ITEMS)) > 1e-4  # a threshold may fall between roundings
    assert differing.sum() <= (3 if algorithm in ("naive_bayes", "random_forest", "xgboost", "ensemble") else 0)


@pytest.mark.parametrize("spoil", [
    lambda described, content: (described, content[:-4]),
    lambda described, content: (described, content + b"\0\0\0\0"),
    lambda described, content: (described | {"kind": "Oracle"}, content),
    lambda described, content: ({key: value for key, value in described.items() if key != "intercept"}, content),
    lambda described, content: (described | {"arrays": [["weights", "x", [12]]]}, content),
])  # fmt: skip
def test_damaged_models_are_refused(spoil):
    with pytest.raises(UserModelBroken):
        models.unpack(*spoil(*models.pack(trained("logistic"))))


def test_linear():
    model = models.Linear(np.array([1, -2, 0], np.float32), 0.5)
    assert model.scores(np.array([[1, 0, 0], [0, 1, 5]], np.float32)).tolist() == [1.5, -1.5]
    dimensions, weights = models.selected(model)
    assert (dimensions.tolist(), weights.tolist()) == ([2, 1], [-2, 1])
    assert not len(models.selected(trained("nearest"))[0])


def test_nearest_by_hand():
    voted = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    model = models.Nearest(voted, np.array([1, 0.5, -2.0]))
    item = np.array([0.6, 0.8])
    expected = np.log((np.exp(8 * 0.6) + 0.5 * np.exp(8 * 0.8)) / 1.5) / 8 - -0.6
    assert model.scores(item[np.newaxis].astype(np.float32)) == pytest.approx([expected], abs=1e-6)
    only = models.Nearest(voted[:1], np.array([1.0]))
    assert only.scores(voted) == pytest.approx([1, 0, -1], abs=1e-6)


def test_forests_are_those_of_scikit_learn():
    parameters = find("random_forest").check({"n_estimators": 20, "min_samples_leaf": 2})
    ours = find("random_forest").train(VOTES, parameters).model.scores(ITEMS)
    theirs = RandomForestClassifier(20, min_samples_leaf=2, random_state=SEED)
    theirs.fit(VOTES.directions, LIKED, sample_weight=weights_of(VOTES, "balanced"))
    assert ours == pytest.approx(theirs.predict_proba(ITEMS)[:, 1], abs=1e-6)


def test_trees_of_a_single_leaf():
    few = VOTES.take(np.flatnonzero(LIKED)[:1].tolist() + np.flatnonzero(~LIKED)[:1].tolist())
    ours = find("random_forest").train(few, find("random_forest").check({})).model.scores(ITEMS)
    theirs = RandomForestClassifier(100, random_state=SEED)
    theirs.fit(few.directions, few.liked, sample_weight=weights_of(few, "balanced"))
    assert ours == pytest.approx(theirs.predict_proba(ITEMS)[:, 1], abs=1e-6)


@pytest.mark.parametrize("children", [0, 9])
def test_trees_that_lead_nowhere_are_refused(children):
    """One that led back would never end."""
    described, content = models.pack(trained("random_forest"))
    model = models.unpack(described, content)
    arrays = {name: getattr(model, name).copy() for name in ("left", "right")}
    arrays["left"][arrays["left"] >= 0] = children if children < 9 else len(arrays["left"])
    with pytest.raises((ValueError, UserModelBroken)):
        models.Forest(
            model.roots, arrays["left"], arrays["right"], model.features, model.thresholds, model.shares
        ).scores(ITEMS)


def test_naive_bayes_is_that_of_scikit_learn():
    ours = trained("naive_bayes").scores(ITEMS)
    means = VOTES.directions.mean(axis=0)
    theirs = BernoulliNB().fit(VOTES.directions > means, LIKED).predict_joint_log_proba(means < ITEMS)
    assert ours == pytest.approx(theirs[:, 1] - theirs[:, 0], abs=1e-4)


def test_boosted_trees_are_kept_in_their_own_format():
    trees = json.loads(trained("xgboost").trees)
    assert trees["learner"]["objective"]["name"] == "binary:logistic"


def test_what_is_kept_is_known_by_its_content():
    cache = models.Cache()
    for intercept in (0.0, 1.0, 0.0):
        described, content = models.pack(models.Linear(np.ones(2, np.float32), intercept))
        assert cache.open(json.dumps(described), content).intercept == intercept
