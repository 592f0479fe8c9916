"""Training: against scikit-learn where it is the measure, and against brute force where something is left out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier

from pixelplum.core.users.algorithms import ALGORITHMS, SIMPLE, find
from pixelplum.core.users.algorithms.linear import _machine
from pixelplum.core.users.left_out import auc, calibrate
from pixelplum.core.users.models import SteppedLinear
from pixelplum.core.users.votes import Scaling, Votes, class_weights, weights_of
from pixelplum.errors import TooFewVotes, UnusableArgument


def draw(seed: int, votes: int = 40, dimensions: int = 60, flipped: float = 0.1) -> Votes:
    random = np.random.default_rng(seed)
    items = random.normal(size=(votes, dimensions)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    scores = items[:, :5].sum(axis=1)
    liked = (scores > np.quantile(scores, 0.7)) ^ (random.random(votes) < flipped)
    return Votes(items, np.where(liked, 1.0, -1.0))


def objective(votes: Votes, weights: np.ndarray, intercept: float, parameters: dict) -> float:
    scaled = Scaling.of(votes.directions)(votes.directions).astype(float)
    losses = np.logaddexp(0, -np.where(votes.liked, 1, -1) * (scaled @ weights + intercept))
    counts = weights_of(votes, parameters["class_weight"])
    ridge = (1 - parameters["l1_ratio"]) / 2 * weights @ weights
    return float(
        (counts * losses).mean() + parameters["alpha"] * (parameters["l1_ratio"] * np.abs(weights).sum() + ridge)
    )


def scaled_weights(model: SteppedLinear) -> tuple[np.ndarray, float]:
    return model.weights.astype(float) * model.scale, model.intercept + float(
        model.weights.astype(float) @ model.center
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.01, "l1_ratio": 0.15, "class_weight": "balanced"}])
def test_elastic_nets_reach_a_better_minimum_than_descent(seed, settings):
    """The objective is that of scikit-learn's SGDClassifier, which stops nearby."""
    votes, parameters = draw(seed), find("sgd_log").check(settings)
    ours = find("sgd_log").train(votes, parameters).model
    like, dislike = class_weights(votes, parameters["class_weight"])
    theirs = SGDClassifier(
        loss="log_loss", penalty="elasticnet", alpha=parameters["alpha"], l1_ratio=parameters["l1_ratio"],
        class_weight={0: dislike, 1: like}, random_state=7,
    )  # fmt: skip
    theirs.fit(Scaling.of(votes.directions)(votes.directions), votes.liked.astype(int))
    best = objective(votes, *scaled_weights(ours), parameters)
    assert best <= objective(votes, theirs.coef_[0], float(theirs.intercept_[0]), parameters) + 1e-6
    # Nowhere near is it lower.
    random = np.random.default_rng(seed)
    weights, intercept = scaled_weights(ours)
    for _ in range(20):
        assert best <= objective(votes, weights + 0.01 * random.normal(size=len(weights)), intercept, parameters) + 1e-6


def test_hinge_is_scikit_learn():
    votes = draw(1)
    model = find("sgd_hinge").train(votes, find("sgd_hinge").check({})).model
    like, dislike = class_weights(votes, "opposite")
    assert (like, dislike) == ((~votes.liked).sum(), votes.liked.sum())
    theirs = SGDClassifier(
        loss="hinge", penalty="elasticnet", alpha=0.1, l1_ratio=0.85, class_weight={0: dislike, 1: like}, random_state=7
    )
    theirs.fit(Scaling.of(votes.directions)(votes.directions).astype(float), votes.liked.astype(int))
    assert scaled_weights(model)[0] == pytest.approx(theirs.coef_[0], abs=1e-5)


@pytest.mark.parametrize("algorithm", ["sgd_log", "sgd_hinge"])
def test_one_vote_at_a_time_is_one_step_at_a_time(algorithm):
    """Votes that are folded in one by one, in one go, or by scikit-learn with a model that was never stored."""
    votes, new = draw(3), draw(4, 3)
    begun = find(algorithm).train(votes, find(algorithm).check({})).model
    together = find(algorithm).update(begun, new)
    apart = begun
    for position in (2, 1, 0):  # the latest is the first
        apart = find(algorithm).update(apart, new.take(np.array([position])))
    assert apart.weights == pytest.approx(together.weights, abs=1e-6)
    assert together.steps == begun.steps + 3
    machine = _machine(vars(begun))
    weights, intercept = scaled_weights(begun)
    machine.classes_, machine.t_ = np.array([0, 1]), begun.steps
    machine.coef_, machine.intercept_ = weights[np.newaxis], np.array([intercept])
    scaled = Scaling(begun.center, begun.scale)(new.directions).astype(float)[::-1]
    machine.partial_fit(scaled, new.liked.astype(int)[::-1])
    if algorithm == "sgd_log":  # descent shuffles; with three votes the order changes the last digits only
        assert scaled_weights(together)[0] == pytest.approx(machine.coef_[0], abs=2e-2)
    assert not np.array_equal(together.weights, begun.weights)


@pytest.mark.parametrize("algorithm", ["centroid", "naive_bayes", "nearest"])
def test_votes_that_are_folded_in_count_like_others(algorithm):
    votes = draw(5)
    old, new = votes.take(np.arange(10, 40)), votes.take(np.arange(10))
    parameters = find(algorithm).check({})
    begun = find(algorithm).train(old, parameters).model
    updated, whole = find(algorithm).update(begun, new), find(algorithm).train(votes, parameters).model
    if algorithm == "naive_bayes":  # thresholds stay those of the first training
        assert updated.counts.tolist() == whole.counts.tolist()
        assert updated.above.sum() == pytest.approx((votes.directions > begun.thresholds).sum())
    else:
        assert updated.scores(votes.directions) == pytest.approx(whole.scores(votes.directions), abs=1e-5)


def test_logistic_regression_is_that_of_the_full_space():
    votes = draw(6)
    model = find("logistic").train(votes, find("logistic").check({"C": 3.0})).model
    scaled = Scaling.of(votes.directions)(votes.directions).astype(float)
    theirs = LogisticRegression(C=3.0, class_weight="balanced", max_iter=5000, tol=1e-8).fit(scaled, votes.liked)
    assert model.scores(votes.directions) == pytest.approx(theirs.decision_function(scaled), abs=2e-2)


@pytest.mark.parametrize(("algorithm", "likeness"), [("logistic", 0.97), ("sgd_log", 0.9)])
def test_scores_without_each_vote(algorithm, likeness):
    """What is told without training again, against training again without each vote."""
    votes, parameters = draw(7, flipped=0), find(algorithm).check({"class_weight": None})
    trained = find(algorithm).train(votes, parameters)
    answer = trained.left_out
    fit = SIMPLE[algorithm].fit
    truth = [
        float(fit(votes.take(np.delete(np.arange(40), position)), parameters).scores(votes.directions[[position]])[0])
        for position in range(40)
    ]
    assert np.corrcoef(answer, truth)[0, 1] > likeness
    pairs = []
    for like in np.flatnonzero(votes.liked):
        for dislike in np.flatnonzero(~votes.liked)[::4]:
            model = fit(votes.take(np.delete(np.arange(40), [like, dislike])), parameters)
            above, below = model.scores(votes.directions[[like, dislike]])
            pairs.append((above > below) + 0.5 * (above == below))
    assert trained.auc == pytest.approx(np.mean(pairs), abs=0.1)


@pytest.mark.parametrize("algorithm", ["logistic", "svm", "nearest"])
def test_votes_at_random_have_an_auc_of_a_half(algorithm):
    aucs = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        items = random.normal(size=(30, 40)).astype(np.float32)
        items /= np.linalg.norm(items, axis=1, keepdims=True)
        votes = Votes(items, np.where(random.random(30) < 0.4, 1.0, -1.0))
        aucs.append(find(algorithm).train(votes, find(algorithm).check({})).auc)
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.06)


def test_probabilities_are_those_of_chance():
    """Scores that tell nothing give the fraction of likes; scores that tell all do not give certainty."""
    random = np.random.default_rng(8)
    liked = random.random(400) < 0.3
    nothing = calibrate(random.normal(size=400), liked)
    assert nothing.probabilities(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0.3] * 3, abs=0.06)
    backwards = calibrate(np.where(liked, -1.0, 1.0), liked)
    assert np.all(np.diff(backwards.probabilities(np.linspace(-1, 1, 5))) > 0)
    scores = np.where(liked, 2.0, 1.0) + random.normal(size=400)
    chances = calibrate(scores, liked).probabilities(scores)
    assert chances.mean() == pytest.approx(liked.mean(), abs=0.02)
    assert chances.max() < 1
    assert calibrate(scores[:19], liked[:19]) is None
    assert calibrate(scores, np.arange(400) < 4) is None


def test_auc_counts_pairs():
    assert auc(np.array([3.0, 2, 1, 2]), np.array([True, True, False, False])) == 0.875
    assert auc(np.array([1.0, 2]), np.array([True, True])) is None


@pytest.mark.parametrize(
    "algorithm", ["sgd_hinge", "sgd_log", "logistic", "svm", "naive_bayes", "random_forest", "xgboost"]
)
def test_one_kind_of_votes_is_not_enough(algorithm):
    votes = draw(9)
    with pytest.raises(TooFewVotes, match="needs likes and dislikes"):
        find(algorithm).train(votes.take(np.flatnonzero(votes.liked)), find(algorithm).check({}))


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize("algorithm", ["nearest", "centroid", "one_class"])
def test_one_kind_of_votes_that_is(algorithm, kind):
    votes = draw(10)
    own = votes.take(np.flatnonzero(votes.liked == kind))
    if algorithm == "one_class" and not kind:
        with pytest.raises(TooFewVotes, match="one_class needs a like"):
            find(algorithm).train(own, {"nu": 0.5, "gamma": 1.0})
        return
    scores = find(algorithm).train(own, find(algorithm).check({})).model.scores(votes.directions)
    seen = votes.liked == kind
    assert (scores[seen].mean() > scores[~seen].mean()) == kind


def test_a_single_vote_and_items_that_are_all_the_same():
    one = draw(11).take(np.array([0]))
    assert np.isfinite(find("nearest").train(one, {}).model.scores(one.directions)).all()
    same = Votes(np.repeat(one.directions, 6, axis=0), np.array([1.0, -1, 1, -1, 1, -1]))
    for algorithm in ALGORITHMS:
        if algorithm != "hierarchical":
            model = find(algorithm).train(same, find(algorithm).check({})).model
            assert np.isfinite(model.scores(same.directions)).all(), algorithm


def test_only_some_dimensions():
    votes = draw(12)
    parameters = find("sgd_log").check({"dimensions": [1, 2, 3], "alpha": 0.01}, 60)
    model = find("sgd_log").train(votes, parameters).model
    assert set(np.flatnonzero(model.weights)) <= {0, 1, 2}
    assert set(np.flatnonzero(find("sgd_log").update(model, draw(13, 2)).weights)) <= {0, 1, 2}


@pytest.mark.parametrize(("algorithm", "parameters", "error", "message"), [
    ("magic", {}, UnusableArgument, "not 'magic'"),
    (None, {}, UnusableArgument, "not NULL"),
    ("logistic", {"c": 1}, UnusableArgument, "no parameter 'c'"),
    ("sgd_log", {"loss": "hinge"}, UnusableArgument, "no parameter 'loss'"),
    ("logistic", {"C": 0}, UnusableArgument, "C must be a number from 1e-09 to 1,000,000,000.0, not 0"),
    ("logistic", {"C": "1"}, UnusableArgument, "not '1'"),
    ("logistic", {"C": True}, UnusableArgument, "not True"),
    ("logistic", {"C": float("inf")}, UnusableArgument, "not inf"),
    ("logistic", {"class_weight": "heavy"}, UnusableArgument, "must be one of balanced, opposite, null, not 'heavy'"),
    ("random_forest", {"n_estimators": 1.5}, UnusableArgument, "must be a whole number from 1 to 1,000, not 1.5"),
    ("sgd_log", {"dimensions": [0]}, UnusableArgument, "must be a list of dimensions"),
    ("sgd_log", {"dimensions": [61]}, UnusableArgument, "must be from 1 to 60, not 61"),
    ("sgd_log", {"dimensions": []}, UnusableArgument, "must be a list of dimensions"),
    ("nearest", {"k": 3}, UnusableArgument, "It has: none"),
    ("hierarchical", {"C": 3}, UnusableArgument, "no parameter 'C'"),
    ("ensemble", {"members": []}, UnusableArgument, "list of different algorithms"),
    ("ensemble", {"members": ["svm", "svm"]}, UnusableArgument, "list of different algorithms"),
    ("ensemble", {"members": [{"a": 1}]}, UnusableArgument, "list of different algorithms"),
    ("ensemble", {"members": ["ensemble"]}, UnusableArgument, "not 'ensemble'"),
    ("ensemble", {"members": ["svm"], "C": 1}, UnusableArgument, "no parameter 'C'"),
])  # fmt: skip
def test_parameters_that_cannot_be_used(algorithm, parameters, error, message):
    with pytest.raises(error) as raised:
        find(algorithm).check(parameters, 60)
    assert message in f"{raised.value} {raised.value.hint}"
