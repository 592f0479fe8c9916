"""Off-policy estimates: the formulas of the field, and intervals that hold what they promise."""

from dataclasses import replace

import numpy as np
import pytest

from pixelplum.core.bandit import off_policy, policies

ARMS, USERS, VOTES, RUNS = 5, 60, 10, 200


def logged(policy: str, target: str, random: np.random.Generator):
    """Let a policy serve users of two tastes; return the log, and the true value of another at each choice."""
    columns = {name: [] for name in ("users", "arms", "values", "propensities")}
    truth = []
    for user in range(USERS):
        tastes = np.array([0.8, 0.5, 0.2, 0.2, 0.2]) if user % 2 else np.array([0.1, 0.3, 0.3, 0.6, 0.2])
        alpha, beta = np.ones(ARMS), np.ones(ARMS)
        for _ in range(VOTES):
            fractions, _ = policies.probabilities(policy, alpha, beta, random)
            arm = int((np.cumsum(fractions[:-1]) < random.random()).sum())  # as random.choice does, but much faster
            truth.append(policies.probabilities(target, alpha, beta, random)[0] @ tastes)
            value = 1 if random.random() < tastes[arm] else -1
            for name, entry in zip(columns, (user, arm, value, fractions[arm]), strict=True):
                columns[name].append(entry)
            (alpha if value > 0 else beta)[arm] += 1
    return {name: np.array(entries) for name, entries in columns.items()}, float(np.mean(truth))


def events_of(log: dict, target: str, random: np.random.Generator) -> off_policy.Events:
    is_event = np.ones(len(log["users"]), bool)
    return off_policy.replayed(
        target, log["users"], log["arms"], log["values"].astype(float), is_event, log["propensities"],
        [[]] * len(is_event), np.ones(ARMS), np.ones(ARMS), random,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "target"),
    [
        ("random", "epsilon_greedy"),
        pytest.param("epsilon_greedy", "posterior_mean", marks=pytest.mark.exhaustive),
    ],
)
def test_intervals_cover_the_true_value(policy, target):
    """95 % of 200 intervals do, give or take 3 %."""
    random = np.random.default_rng(11)
    truths, by_estimator = [], {name: [] for name in off_policy.ESTIMATORS}
    for _ in range(RUNS):
        log, truth = logged(policy, target, random)
        events = events_of(log, target, random)
        truths.append(truth)
        for name in off_policy.ESTIMATORS:
            by_estimator[name].append(off_policy.ESTIMATORS[name].estimate(events, random))
    truth = np.mean(truths)
    for name, estimates in by_estimator.items():
        covered = np.mean([low <= truth <= high for low, high in (one.interval for one in estimates)])
        assert 0.92 <= covered <= 0.98, name
        error = np.mean([one.standard_error for one in estimates])
        assert abs(np.mean([one.value for one in estimates]) - truth) < 3 * error / RUNS**0.5, name


def test_formulas():
    """As papers have them: means over all choices."""
    random = np.random.default_rng(1)
    events = off_policy.Events(
        users=np.arange(50), rewards=random.integers(0, 2, 50).astype(float), propensities=random.uniform(0.2, 0.9, 50),
        targets=random.uniform(0, 1, 50), predicted=random.uniform(0, 1, 50), expected=random.uniform(0, 1, 50),
    )  # fmt: skip
    w = events.targets / events.propensities
    value = {name: off_policy.ESTIMATORS[name].estimate(events, random).value for name in off_policy.ESTIMATORS}
    assert value["ips"] == pytest.approx(np.mean(w * events.rewards))
    assert value["snips"] == pytest.approx(np.mean(w * events.rewards) / np.mean(w))
    assert value["dr"] == pytest.approx(np.mean(events.expected + w * (events.rewards - events.predicted)))
    plain = off_policy.ESTIMATORS["ips"].estimate(events, random)
    assert plain.standard_error == pytest.approx(np.std(w * events.rewards, ddof=1) / 50**0.5)
    assert plain.effective_sample_size == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert plain.interval == pytest.approx(
        [plain.value - 1.96 * plain.standard_error, plain.value + 1.96 * plain.standard_error], abs=1e-4
    )


def test_open_bandit_pipeline_agrees():
    obp = pytest.importorskip("obp.ope")
    random = np.random.default_rng(2)
    n = 400
    fractions = random.dirichlet(np.ones(ARMS), n)
    q = random.uniform(0, 1, (n, ARMS))
    actions, rewards, propensities = random.integers(0, ARMS, n), random.integers(0, 2, n), random.uniform(0.1, 1, n)
    rows = np.arange(n)
    events = off_policy.Events(
        np.zeros(n, int),
        rewards.astype(float),
        propensities,
        fractions[rows, actions],
        q[rows, actions],
        (fractions * q).sum(axis=1),
    )
    values = {
        "reward": rewards, "action": actions, "pscore": propensities, "action_dist": fractions[:, :, None],
        "position": np.zeros(n, int),
    }  # fmt: skip
    peers = {
        "ips": obp.InverseProbabilityWeighting().estimate_policy_value(**values),
        "snips": obp.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**values),
        "dr": obp.DoublyRobust().estimate_policy_value(**values, estimated_rewards_by_reg_model=q[:, :, None]),
    }
    for name, value in peers.items():
        assert off_policy.ESTIMATORS[name].estimate(events, random).value == pytest.approx(value)


def test_replay_of_what_was_logged_keeps_it_all():
    log, _ = logged("random", "random", np.random.default_rng(3))
    events = events_of(log, "random", np.random.default_rng(3))
    estimates = off_policy.ESTIMATORS["replay"].estimate(events, np.random.default_rng(4))
    assert estimates.value == events.rewards.mean()
    assert estimates.effective_sample_size == len(events.rewards)


def test_votes_that_answer_no_choice_count_for_what_is_known():
    users, arms, values = np.zeros(3, int), np.array([1, 1, 0]), np.array([1.0, 1.0, -1.0])
    events = off_policy.replayed(
        "greedy", users, arms, values, np.array([False, False, True]), np.array([0, 0, 0.5]), [[]] * 3,
        np.ones(2), np.ones(2), np.random.default_rng(1),
    )  # fmt: skip
    assert (events.targets.tolist(), events.predicted.tolist(), events.rewards.tolist()) == ([0], [0.5], [0])
    assert events.expected.tolist() == [0.75]


def test_arms_that_could_not_be_chosen():
    events = off_policy.replayed(
        "posterior_mean", np.zeros(1, int), np.array([1]), np.array([1.0]), np.ones(1, bool), np.array([0.5]), [[0]],
        np.array([2.0, 1, 1]), np.array([1.0, 1, 1]), np.random.default_rng(1),
    )  # fmt: skip
    assert (events.targets.tolist(), events.expected.tolist()) == ([0.5], [0.5])


def test_a_policy_that_the_log_knows_nothing_of():
    log, _ = logged("random", "random", np.random.default_rng(5))
    events = replace(events_of(log, "random", np.random.default_rng(5)), targets=np.zeros(USERS * VOTES))
    for name in ("replay", "snips"):
        assert np.isnan(off_policy.ESTIMATORS[name].estimate(events, np.random.default_rng(1)).value)
    assert off_policy.ESTIMATORS["ips"].estimate(events, np.random.default_rng(1)).value == 0
