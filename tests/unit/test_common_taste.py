"""What users have in common: posteriors against scikit-learn, and what a prior is good for."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pixelplum.core.users import common_taste
from pixelplum.core.users.algorithms import find
from pixelplum.core.users.left_out import auc
from pixelplum.core.users.models import sigmoid
from pixelplum.core.users.votes import Votes

RANDOM = np.random.default_rng(4)
ITEMS = RANDOM.normal(size=(800, 24)).astype(np.float32)
ITEMS /= np.linalg.norm(ITEMS, axis=1, keepdims=True)
BASIS = common_taste.basis(ITEMS, 16, 7)


HALVES = np.arange(100) % 2


def linear(weights: np.ndarray):
    nothing = np.empty(0)
    return common_taste.CommonTaste(*BASIS, nothing, nothing, nothing, nothing).linear(weights)


def test_coordinates_have_a_mean_square_of_one():
    coordinates = common_taste.basis(ITEMS, 24, 7).coordinates(ITEMS)
    assert coordinates[:, :-1].mean(axis=0) == pytest.approx(np.zeros(24), abs=1e-5)
    assert np.square(coordinates[:, :-1]).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)
    assert np.all(coordinates[:, -1] == 1)


def test_a_flat_prior_is_a_ridge():
    """With mean 0 and covariance C · 1 the most probable weights are those of logistic regression."""
    coordinates = BASIS.coordinates(ITEMS[:50])
    liked = RANDOM.random(50) < sigmoid(3 * coordinates[:, 0])
    strengths = RANDOM.uniform(0.2, 1, 50)
    results = common_taste.posterior(coordinates, liked, strengths, np.zeros(17), 2 * np.eye(17))
    theirs = LogisticRegression(C=2, fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs.fit(coordinates, liked, sample_weight=strengths)
    assert results.mean == pytest.approx(theirs.coef_[0], abs=1e-3)
    chances = sigmoid(coordinates @ results.mean)
    hessian = (coordinates * (strengths * chances * (1 - chances))[:, np.newaxis]).T @ coordinates + np.eye(17) / 2
    assert results.covariance == pytest.approx(np.linalg.inv(hessian), abs=1e-3)
    assert results.spread == pytest.approx(coordinates @ results.covariance @ coordinates.T, abs=1e-6)
    assert results.scores == pytest.approx(coordinates @ results.mean, abs=1e-6)


def test_no_votes_leave_the_prior():
    answer = common_taste.posterior(np.empty((0, 17)), np.empty(0, bool), np.empty(0), np.ones(17), np.eye(17))
    assert answer.mean.tolist() == [1] * 17
    assert answer.covariance.tolist() == np.eye(17).tolist()


def test_votes_that_contradict_each_other_are_weighed():
    coordinates = np.repeat(BASIS.coordinates(ITEMS[:1]), 400, axis=0)
    liked = np.arange(400) < 200
    answer = common_taste.posterior(coordinates, liked, np.ones(400), np.zeros(17), 1e6 * np.eye(17))
    assert coordinates[0] @ answer.mean == pytest.approx(0, abs=1e-2)
    same = common_taste.posterior(coordinates, liked | True, np.ones(400), np.zeros(17), 1e6 * np.eye(17))
    assert np.isfinite(same.mean).all()


def users(number: int, votes: int, kinds: int, seed: int) -> tuple[list, list]:
    """Users of a few kinds of taste: what they voted, and what they think of everything."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(kinds, 24))
    values, truths = [], []
    for user in range(number):
        scores = ITEMS @ directions[user % kinds]
        truth = scores > np.quantile(scores, 0.75)
        chosen = random.choice(len(ITEMS), votes, replace=False)
        values.append((chosen, truth[chosen] ^ (random.random(votes) < 0.1)))
        truths.append(truth)
    return values, truths


@pytest.mark.parametrize("votes", [3, 10, 40])
def test_shared_tastes_are_learned_sooner(votes):
    users_data, truths = users(60, votes, 3, 5)
    taste = common_taste.learn(
        BASIS,
        [(BASIS.coordinates(ITEMS[own]), liked, np.ones(votes)) for own, liked in users_data],
        HALVES[: len(users_data)],
    )
    shared, alone = [], []
    for (own, liked), truth in zip(users_data, truths, strict=True):
        answer = Votes(ITEMS[own], np.where(liked, 1.0, -1.0))
        shared.append(auc(find("hierarchical").train(answer, {}, taste).model.scores(ITEMS), truth))
        flat = common_taste.posterior(
            BASIS.coordinates(ITEMS[own]), liked, np.ones(votes), np.zeros(17), 2 * np.eye(17)
        )
        alone.append(auc(linear(flat.mean).scores(ITEMS), truth))
    assert np.mean(shared) > np.mean(alone) + 0.03


def test_of_a_user_without_votes_the_mean_is_expected():
    users_data, truths = users(40, 20, 1, 6)
    taste = common_taste.learn(
        BASIS,
        [(BASIS.coordinates(ITEMS[own]), liked, np.ones(20)) for own, liked in users_data],
        HALVES[: len(users_data)],
    )
    assert auc(taste.pooled().scores(ITEMS), truths[0]) > 0.9
    assert np.array_equal(taste.scores(ITEMS), taste.pooled().scores(ITEMS))


def test_the_same_votes_teach_the_same():
    users_data, _ = users(10, 8, 2, 7)
    votes = [(BASIS.coordinates(ITEMS[own]), liked, np.ones(8)) for own, liked in users_data]
    first, second = (common_taste.learn(BASIS, votes, HALVES[:10]) for _ in range(2))
    assert np.array_equal(first.covariance, second.covariance)


@pytest.mark.parametrize(("number", "votes"), [(6, 20), (40, 20), (20, 60)])
def test_votes_at_random_are_not_foretold(number, votes):
    """What users have in common is learned from their votes: how well it does is measured on other users."""
    random = np.random.default_rng(9)
    aucs, chances = [], []
    for _ in range(4):
        user_votes = [
            (ITEMS[random.choice(800, votes, replace=False)], np.where(random.random(votes) < 0.4, 1.0, -1.0))
            for _ in range(number)
        ]
        users = [(BASIS.coordinates(items), values > 0, np.abs(values)) for items, values in user_votes]
        taste = common_taste.learn(BASIS, users, HALVES[:number])
        for user, (items, values) in enumerate(user_votes):
            trained = find("hierarchical").train(Votes(items, values), {}, taste, user % 2)
            aucs.append(trained.auc)
            if trained.calibration is not None:
                best = np.sort(trained.calibration.probabilities(trained.model.scores(ITEMS)))[-5:]
                chances.append(best.mean())
    assert np.mean([auc for auc in aucs if auc is not None]) == pytest.approx(0.5, abs=0.1)
    assert np.mean(chances) < 0.65
