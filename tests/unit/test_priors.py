"""Beta priors from many users: parameters that users were drawn from are found again."""

import numpy as np
import pytest

from pixelplum.core.bandit import priors


def drawn(alpha: float, beta: float, users: int, seed: int):
    """Return likes and votes of users whose like rates are Beta(alpha, beta)."""
    random = np.random.default_rng(seed)
    votes = random.integers(1, 30, users)
    likes = random.binomial(votes, random.beta(alpha, beta, users))
    return likes.astype(float), votes.astype(float), np.ones(users)


@pytest.mark.parametrize("fit", priors.FITS.values(), ids=priors.FITS)
@pytest.mark.parametrize(("alpha", "beta"), [(2, 6), (1, 1), (0.5, 2), (8, 4)])
def test_parameters_are_found_again(fit, alpha, beta):
    mean, strength = fit(*drawn(alpha, beta, 20_000, 1))
    assert mean == pytest.approx(alpha / (alpha + beta), abs=0.01)
    assert strength == pytest.approx(alpha + beta, rel=0.06)


def test_users_of_one_kind_count_as_many():
    likes, votes, users = drawn(2, 6, 500, 2)
    kinds, counts = np.unique(np.stack([likes, votes]), axis=1, return_counts=True)
    for fit in priors.FITS.values():
        assert fit(kinds[0], kinds[1], counts.astype(float)) == pytest.approx(fit(likes, votes, users), rel=1e-4)


@pytest.mark.parametrize("fit", priors.FITS.values(), ids=priors.FITS)
def test_users_who_do_not_differ(fit):
    votes = np.full(100, 10.0)
    _, strength = fit(np.full(100, 5.0), votes, np.ones(100))
    assert strength == np.inf or strength > 100
    assert fit(np.zeros(5), np.ones(5), np.ones(5))[0] == 0
    assert fit(np.array([1.0]), np.array([2.0]), np.ones(1)) == (0.5, np.inf)


def test_priors_of_arms():
    likes, votes, users = (
        np.concatenate(parts) for parts in zip(drawn(2, 6, 3000, 3), drawn(6, 2, 3000, 4), strict=True)
    )
    arms = np.repeat([0, 1], 3000)
    alpha, beta = priors.pooled_priors(arms, likes, votes, users, 3, "moments", 20)
    assert alpha[:2] / (alpha + beta)[:2] == pytest.approx([0.25, 0.75], abs=0.01)
    assert (alpha + beta)[:2] == pytest.approx([8, 8], rel=0.15)
    assert alpha[2] / (alpha[2] + beta[2]) == pytest.approx(
        0.5, abs=0.01
    )  # nobody has voted there: as all arms together
    capped = sum(priors.pooled_priors(arms, likes, votes, users, 3, "likelihood", 3))
    assert capped.max() == pytest.approx(3)


def test_without_votes_priors_are_flat():
    empty = np.empty(0)
    alpha, beta = priors.pooled_priors(empty.astype(int), empty, empty, empty, 4, "moments", 20)
    assert alpha.tolist() == beta.tolist() == [1] * 4
