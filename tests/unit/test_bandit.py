"""Policies: the talk's calculator, known regrets, propensities, trees."""

import math

import numpy as np
import pytest

from pixelplum.core.bandit import policies
from pixelplum.core.bandit.regret import regret
from pixelplum.core.bandit.trees import Tree
from pixelplum.errors import UnusableArgument

RANDOM = np.random.default_rng


def test_posterior_means_normalized():
    """The golden row of the talk's calculator."""
    alpha, beta = np.array([6, 1, 1, 3, 2.0]), np.array([2, 4, 3, 1, 1.0])
    estimates, errors = policies.probabilities("posterior_mean", alpha, beta, RANDOM(1))
    assert [round(fraction, 5) for fraction in estimates] == [0.28662, 0.07643, 0.09554, 0.28662, 0.25478]
    assert not errors.any()


@pytest.mark.parametrize(
    ("means", "at_1000", "at_10000"),
    [
        ([0.9, 0.8], (6.1, 0.2), (9.6, 0.2)),
        ([0.1] + [0.05] * 3 + [0.02] * 3 + [0.01] * 3, (40.9, 0.4), (80.9, 0.7)),
        ([n / 10 for n in range(1, 10)], (28.5, 0.5), (40.9, 0.5)),
        ([0.5] + [0.4] * 9, (68.1, 0.7), (166.9, 2.2)),
    ],
)
def test_regret_of_thompson_sampling(means, at_1000, at_10000):
    """It is that of independent measurements, within three standard errors of both together."""
    runs = 200
    missed = regret("thompson", np.array(means), 10_000, runs, RANDOM(7))
    for step, (expected, error) in ((1_000, at_1000), (10_000, at_10000)):
        own = missed[step - 1]
        assert abs(own.mean() - expected) < 3 * math.hypot(error, own.std(ddof=1) / runs**0.5)
    if means[1:] == [0.4] * 9:  # a decade costs what Lai and Robbins say, here 44.70 · ln 10 = 102.9, nearly
        decade = missed[9_999] - missed[999]
        assert abs(decade.mean() - 98.8) < 3 * math.hypot(2.3, decade.std(ddof=1) / runs**0.5)


def test_posteriors_that_are_updated_late():
    missed = regret("thompson", np.array([0.5] + [0.4] * 9), 10_000, 200, RANDOM(8), every=100)[-1]
    assert abs(missed.mean() - 173) < 3 * math.hypot(3, missed.std(ddof=1) / 200**0.5)


def test_many_arms_and_few_votes_teach_little():
    means = np.array([0.5] + [0.2] * 24)
    thompson, anything = (regret(name, means, 100, 1000, RANDOM(9))[-1] for name in ("thompson", "random"))
    assert thompson.mean() == pytest.approx(27.4, abs=0.5)
    assert anything.mean() == pytest.approx(28.8, abs=0.3)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_probabilities_are_those_of_choices(policy):
    alpha, beta = np.array([3.0, 3, 1, 5]), np.array([2.0, 2, 1, 9])
    fractions, errors = policies.probabilities(policy, alpha, beta, RANDOM(3))
    assert fractions.sum() == pytest.approx(1)
    runs = 40_000
    chosen = policies.pick(policy, np.tile(alpha, (runs, 1)), np.tile(beta, (runs, 1)), RANDOM(4))
    counted = np.bincount(chosen, minlength=4) / runs
    assert np.abs(counted - fractions).max() < 0.01 + 4 * errors.max()
    assert (errors > 0).any() == (policy == "thompson")


def test_errors_of_simulated_probabilities():
    alpha, beta = np.array([3.0, 3, 1, 5]), np.array([2.0, 2, 1, 9])
    exact, _ = policies.probabilities("thompson", alpha, beta, RANDOM(1), draws=1_000_000)
    estimates = [policies.probabilities("thompson", alpha, beta, RANDOM(seed)) for seed in range(200)]
    deviations = np.std([fractions for fractions, _ in estimates], axis=0)
    assert deviations == pytest.approx(np.mean([errors for _, errors in estimates], axis=0), rel=0.2)
    assert np.mean([fractions for fractions, _ in estimates], axis=0) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("scale", [0.003, 0.2, 1, 40])
def test_winners_are_those_of_beta_distributions(scale):
    alpha, beta = scale * np.array([1.0, 2, 3, 0.5]), scale * np.array([2.0, 2, 1, 5])
    estimates, errors = policies.probabilities("thompson", alpha, beta, RANDOM(1), draws=200_000)
    drawn = RANDOM(2).beta(alpha, beta, size=(200_000, 4))
    best = drawn == drawn.max(axis=1, keepdims=True)
    expected = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    if scale > 0.1:  # below, many draws are 0 or 1 to the last digit, and ties are taken by the first
        assert estimates == pytest.approx(expected, abs=5 * errors.max() + 1e-3)
    assert estimates[2] == estimates.max()


def test_what_each_policy_takes():
    alpha, beta = np.array([9.0, 1.0, 5.0]), np.array([1.0, 1.0, 5.0])
    assert policies.probabilities("greedy", alpha, beta, RANDOM())[0].tolist() == [1, 0, 0]
    assert policies.probabilities("epsilon_greedy", alpha, beta, RANDOM())[0] == pytest.approx(
        [0.9 + 0.1 / 3] + [0.1 / 3] * 2
    )
    assert policies.probabilities("random", alpha, beta, RANDOM())[0] == pytest.approx([1 / 3] * 3)
    # The second has a mean of .5, and two votes: √(2 ln 22 / 2) more.
    assert policies.POLICIES["ucb1"].values(alpha, beta)[1] == pytest.approx(0.5 + math.sqrt(math.log(22)))
    assert policies.probabilities("ucb1", alpha, beta, RANDOM())[0].tolist() == [0, 1, 0]
    ties = policies.probabilities("greedy", np.ones(4), np.ones(4), RANDOM())[0]
    assert ties.tolist() == [0.25] * 4


def test_a_single_arm_and_very_many():
    assert policies.probabilities("thompson", np.ones(1), np.ones(1), RANDOM())[0].tolist() == [1]
    fractions, _ = policies.probabilities("thompson", np.ones(10_000), np.ones(10_000), RANDOM(1))
    assert fractions.sum() == pytest.approx(1)


def test_names_that_are_not_known():
    with pytest.raises(UnusableArgument, match="thomson") as caught:
        policies.find("thomson")
    assert all(name in str(caught.value) for name in policies.POLICIES)
    with pytest.raises(UnusableArgument):
        policies.pick("Greedy", np.ones((1, 2)), np.ones((1, 2)), RANDOM())


class TestTree:
    """0 and 1 are leaves below 4; 2 and 3 below 5; 4 and 5 below 6."""

    tree = Tree([4, 4, 5, 5, 6, 6, None])

    def test_sums(self):
        assert self.tree.sums(np.array([1.0, 2, 3, 4, 99, 99, 99])).tolist() == [1, 2, 3, 4, 3, 7, 10]

    def test_probability_of_a_leaf_is_that_of_its_way(self):
        alpha = np.ones(7)
        alpha[[2, 5]] = 3
        counts = np.zeros(7)
        random = RANDOM(5)
        for _ in range(2000):
            leaf, probability, error = self.tree.choose("posterior_mean", alpha, np.ones(7), np.ones(7, bool), random)
            assert error == 0
            up, down = (0.6, 0.4) if leaf in (2, 3) else (0.4, 0.5)
            if leaf == 2:
                down = 0.6
            assert probability == pytest.approx(up * down)
            counts[leaf] += 1
        assert counts[2] / 2000 == pytest.approx(0.36, abs=0.04)

    def test_branches_without_free_leaves_are_left_out(self):
        free = np.array([False, False, False, True, True, True, True])
        leaf, probability, _ = self.tree.choose("thompson", np.ones(7), np.ones(7), free, RANDOM(1))
        assert (leaf, probability) == (3, 1)

    def test_errors_add_up(self):
        alpha, beta, free = np.full(7, 2.0), np.full(7, 2.0), np.ones(7, bool)
        _, probability, error = self.tree.choose("thompson", alpha, beta, free, RANDOM(1))
        assert probability == pytest.approx(0.25, abs=0.05)
        assert error == pytest.approx(0.25 * 2**0.5 * (0.25 / 1000) ** 0.5 / 0.5, rel=0.2)
