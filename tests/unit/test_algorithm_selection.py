"""Comparing algorithms without fooling oneself."""

import numpy as np
import pytest

from pixelplum.core.users import algorithm_selection
from pixelplum.core.users.algorithms import find
from pixelplum.core.users.left_out import auc
from pixelplum.core.users.votes import Votes
from pixelplum.errors import UnusableArgument


def noise(seed: int, votes: int = 200, likes: float = 0.2) -> Votes:
    """Votes that have nothing to do with what the items look like."""
    random = np.random.default_rng(seed)
    items = random.normal(size=(votes, 30)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    return Votes(items, np.where(random.random(votes) < likes, 1.0, -1.0))


def test_oversampling_before_the_split_deceives():
    """The same like on both sides: cross-validation promises what no test keeps. Inside the folds it does not."""
    before, inside, tests = [], [], []
    for seed in range(6):
        votes = noise(seed)
        values, held_out = votes.take(np.arange(60)), votes.take(np.arange(60, 200))
        parameters = find("svm").check({"class_weight": None})
        repeated = algorithm_selection.oversample(values, np.random.default_rng(seed))
        before.append(algorithm_selection.cross_validate(repeated, "svm", parameters, "none", seed))
        inside.append(algorithm_selection.cross_validate(values, "svm", parameters, "oversample", seed))
        model = algorithm_selection.fit(repeated, "svm", parameters)
        tests.append(auc(model.scores(held_out.directions), held_out.liked))
    assert np.mean(tests) == pytest.approx(0.5, abs=0.06)
    assert np.mean(before) > 0.9
    assert np.mean(inside) == pytest.approx(0.5, abs=0.12)


def test_oversampled_votes_are_as_many_of_each():
    votes = noise(1, 50)
    more = algorithm_selection.oversample(votes, np.random.default_rng(1))
    assert more.liked.sum() == (~more.liked).sum() == max(votes.liked.sum(), (~votes.liked).sum())
    assert {row.tobytes() for row in more.directions} == {row.tobytes() for row in votes.directions}


def test_what_is_compared():
    random = np.random.default_rng(2)
    votes = noise(2, 100, 0.4)
    votes = Votes(votes.directions, np.where(votes.directions[:, 0] + 0.05 * random.normal(size=100) > 0.1, 1.0, -1.0))
    rows = algorithm_selection.compare(
        votes, 40, ["logistic", "nearest"], list(algorithm_selection.BALANCES), "grid", 3
    )
    assert [(row["algorithm"], row["balance"]) for row in rows] == [
        (algorithm, balance) for algorithm in ("logistic", "nearest") for balance in algorithm_selection.BALANCES
    ]
    assert rows[-1]["reason"] == "nearest has no class weights"
    for row in rows[:-1]:
        assert row["test_auc"] > 0.75
        assert 0.6 < row["cv_auc"] <= 1
        assert row["likes"] == pytest.approx(40 * votes.liked.mean(), abs=1)
        assert row["fit_seconds"] > 0
    assert {row["parameters"]["class_weight"] for row in rows[:3]} == {None, "balanced"}
    again = algorithm_selection.compare(votes, 40, ["logistic"], ["none"], "grid", 3)
    assert again[0]["test_auc"] == rows[0]["test_auc"]
    assert (
        algorithm_selection.compare(votes, 40, ["logistic"], ["none"], "grid", 4)[0]["test_auc"] != rows[0]["test_auc"]
    )


def test_the_test_is_seen_by_nobody(monkeypatch):
    """Nothing is trained on a vote that is measured on."""
    votes, seen = noise(3, 80, 0.4), set()
    fit = algorithm_selection.fit

    def watched(votes, algorithm, parameters):
        seen.update(row.tobytes() for row in votes.directions)
        return fit(votes, algorithm, parameters)

    monkeypatch.setattr(algorithm_selection, "fit", watched)
    algorithm_selection.compare(votes, 50, ["logistic"], ["oversample"], "grid", 1)
    assert len(seen) == 50


@pytest.mark.parametrize(("values", "size", "message"), [
    ([1.0] * 2 + [-1.0] * 30, 20, "fewer than three likes"),
    ([1.0] * 3 + [-1.0] * 300, 20, "too few likes or dislikes to split"),
])  # fmt: skip
def test_lopsided_votes_are_told_of(values, size, message):
    items = noise(4, len(values)).directions
    (row,) = algorithm_selection.compare(Votes(items, np.array(values)), size, ["logistic"], ["none"], "grid", 1)
    assert message in row["reason"]


def test_random_search_tries_some_of_the_grid():
    random = np.random.default_rng(1)
    grid = algorithm_selection.candidates("svm", "none", "grid", random)
    some = algorithm_selection.candidates("svm", "none", "random", random)
    assert len(grid) == 6
    assert len(some) == 3
    assert all(tried in grid for tried in some)


@pytest.mark.parametrize(("arguments", "error"), [
    ((["hierarchical"], ["none"], "grid"), UnusableArgument), (([], ["none"], "grid"), UnusableArgument),
    ((["svm"], ["some"], "grid"), UnusableArgument), ((["svm"], [], "grid"), UnusableArgument),
    ((["svm"], ["none"], "wild"), UnusableArgument),
])  # fmt: skip
def test_what_cannot_be_compared(arguments, error):
    with pytest.raises(error):
        algorithm_selection.check(*arguments)
