"""Synthetic users, and what a log says of policies that were never tried."""

import math

import pytest

from pixelplum.core.bandit.policies import POLICIES
from tests.helpers import ARMS, arms_agree, fails_with, refuses, vote


@pytest.fixture
def tasteful(shop):
    """The shop, with a label set in which clusters are labels: nothing is easier to learn."""
    shop.ask(
        "INSERT INTO pix.labels (item_id, label_set, label) SELECT item_id, 'shelf', 'shelf ' || cluster "
        "FROM pix.cluster_members"
    )
    return shop


def simulate(db, policy: str, **options) -> dict:
    of_users, others = (
        "".join(f", {name} => %({name})s" for name in options if (name in ("users", "taste_groups")) == is_theirs)
        for is_theirs in (True, False)
    )
    columns = "simulation_id, prior, users, likes, likes_error"
    ((number, prior, users, likes, error),) = db.ask(
        f"SELECT {columns} FROM pix.simulate(%(policy)s, pix.users_who_like('shelf', "
        f"liked_labels => 1{of_users}){others})",
        {"policy": policy} | options,
    )
    curve = db.ask("SELECT likes, regret FROM pix.regret_curves WHERE simulation_id = %s ORDER BY vote", (number,))
    return {"id": number, "prior": prior, "users": users, "likes": likes, "error": error, "curve": curve}


def test_learning_pays(tasteful):
    users, votes = (4, 6) if tasteful.server.is_distributed else (40, 12)
    results = {policy: simulate(tasteful, policy, users=users, votes=votes) for policy in ("thompson", "random")}
    for result in results.values():
        assert len(result["curve"]) == votes
        assert result["curve"][-1][0] == result["likes"]
        likes, regrets = zip(*result["curve"], strict=True)
        assert list(likes) == sorted(likes)
        assert list(regrets) == sorted(regrets)
        # Likes are those that were possible, 9 of 10, without those that were missed, but for chance.
        assert likes[-1] + regrets[-1] == pytest.approx(0.9 * votes, abs=5 * votes**0.5 * 0.3 / users**0.5)
    if not tasteful.server.is_distributed:
        difference = results["thompson"]["likes"] - results["random"]["likes"]
        assert difference > 3 * math.hypot(results["thompson"]["error"], results["random"]["error"])


def test_nothing_stays_unless_it_is_to_be_kept(tasteful):
    vote(tasteful, "ann", "s0-00", True)
    before = tasteful.ask(ARMS)
    first = simulate(tasteful, "thompson", users=3, votes=4)
    assert tasteful.ask(ARMS) == before
    for table, rows in (("users", 1), ("impressions", 0), ("interactions", 1)):
        assert tasteful.ask(f"SELECT count(*) FROM pix.{table}") == [(rows,)]
    second = simulate(tasteful, "thompson", users=3, votes=4)
    assert first["curve"] == second["curve"]  # the seed decides
    assert simulate(tasteful, "thompson", users=3, votes=4, seed=8)["curve"] != first["curve"]
    kept = simulate(tasteful, "thompson", users=3, votes=4, keep=True)
    assert kept["curve"] == first["curve"]
    ((users, votes),) = tasteful.ask(
        "SELECT count(DISTINCT user_id), count(*) FROM pix.interactions WHERE user_id LIKE %s", (f"sim-{kept['id']}-%",)
    )
    assert (users, votes) == (3, 12)
    arms_agree(tasteful)


def test_users_who_share_tastes_make_priors_useful(tasteful):
    users = 3 if tasteful.server.is_distributed else 30
    simulate(tasteful, "random", users=users, votes=6, taste_groups=1, keep=True, seed=1)
    tasteful.ask("SELECT pix.refresh_priors()")
    pooled, flat = (
        simulate(tasteful, "thompson", users=users, votes=6, taste_groups=1, seed=2, prior=prior)
        for prior in ("pooled", "flat")
    )
    assert pooled["prior"] == "pooled"
    assert pooled["likes"] > flat["likes"]


def test_what_goes_wrong_is_not_passed_over(tasteful):
    tasteful.ask("INSERT INTO pix.settings VALUES ('half_life_days', 'long')")
    refuses(tasteful, "PX028", "SELECT pix.simulate('random', pix.users_who_like('shelf', 2, 1), 3)", "half_life_days")
    assert tasteful.ask("SELECT count(*) FROM pix.simulations") == [(0,)]


def test_users_who_run_out_of_items(tasteful):
    tasteful.ask("DELETE FROM pix.features WHERE item_id LIKE 's2-%'")
    result = simulate(tasteful, "random", users=3, votes=18)
    assert len(result["curve"]) == 18
    assert result["curve"][11] == result["curve"][17]


def test_truths(shop):
    ((likes,),) = shop.ask("SELECT likes FROM pix.simulate('random', pix.users_who_like('brand', 2, 1), 4)")
    assert 0 <= likes <= 4
    shop.ask("UPDATE pix.items SET attributes = jsonb_build_object('heel', right(item_id, 1))")
    assert shop.ask("SELECT label_set FROM pix.simulate('greedy', pix.users_who_like('heel', 2, flipped => 0), 3)") == [
        ("heel",)
    ]
    output = shop.pix("bandit", "simulate", "ucb1", "--truth", "heel", "--users", 2, "--votes", 3).stdout
    assert output.startswith("ucb1, flat prior: ")


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("'thomson', pix.users_who_like('brand')", "PX003", "not 'thomson'"),
        ("'thompson', pix.users_who_like('nothing')", "PX129", "'nothing' is not a label set"),
        ("'thompson', pix.users_who_like(NULL)", "PX129", "NULL is not a label set"),
        ("'thompson', NULL", "PX003", "users must be from 2 to 100,000, not NULL"),
        ("'thompson', pix.users_who_like('brand', users => 1)", "PX003", "users must be from 2 to 100,000, not 1"),
        ("'thompson', pix.users_who_like('brand'), votes => 0", "PX003", "votes must be from 1 to 10,000, not 0"),
        ("'thompson', pix.users_who_like('brand'), votes => NULL", "PX003", "votes must be from 1 to 10,000, not NULL"),
        ("'thompson', pix.users_who_like('brand', liked_labels => 1), votes => 19", "PX003", "more than the 18 items"),
        (
            "'thompson', pix.users_who_like('brand'), seed => -1",
            "PX003",
            "seed must be from 0 to 1,000,000,000, not -1",
        ),
        ("'thompson', pix.users_who_like('brand', flipped => 0.6)", "PX003", "flipped must be from 0 to 0.5, not 0.6"),
        (
            "'thompson', pix.users_who_like('brand', liked_labels => 2)",
            "PX003",
            "liked_labels must be from 1 to 1, not 2",
        ),
        (
            "'thompson', pix.users_who_like('brand', liked_labels => 1), clustering => 'gone'",
            "PX100",
            "'gone' is not known",
        ),
    ],
)
def test_simulations_that_cannot_be(shop, arguments, sqlstate, message):
    refuses(shop, sqlstate, f"SELECT pix.simulate({arguments})", message)
    assert shop.ask("SELECT count(*) FROM pix.simulations") == [(0,)]


class TestEvaluation:
    @pytest.fixture
    def logged(self, tasteful):
        """A log of random suggestions, until clusters run out, and votes that answer none."""
        simulate(tasteful, "random", users=4 if tasteful.server.is_distributed else 20, votes=14, keep=True)
        vote(tasteful, "ann", "s0-00", True)
        return tasteful

    def test_what_was_logged_is_worth_what_it_was(self, logged):
        rows = logged.query("SELECT estimator, value, low, high, effective_sample_size, mean_weight, events, users "
                            "FROM pix.compare_policies('{random}')", role="rita")  # fmt: skip
        ((mean, votes, users),) = logged.ask(
            "SELECT avg(greatest(value, 0)), count(*), count(DISTINCT user_id) FROM pix.interactions "
            "WHERE policy IS NOT NULL"
        )
        assert [row[0] for row in rows] == ["replay", "ips", "snips", "dr"]
        for name, value, low, high, size, weight, events, people in rows:
            assert (events, people) == (votes, users)
            assert low <= value <= high
            if name != "dr":
                assert value == pytest.approx(mean)
            assert size == pytest.approx(votes)
            assert weight == pytest.approx(1)

    def test_better_policies_are_seen_to_be_better(self, logged):
        rows = logged.ask("SELECT policy, estimator, value FROM pix.compare_policies()")
        assert len(rows) == 24
        if not logged.server.is_distributed:
            values = {policy: value for policy, estimator, value in rows if estimator == "dr"}
            assert values["greedy"] > values["random"]
        assert logged.ask("SELECT DISTINCT policy FROM pix.compare_policies('{greedy}', 'random')") == [("greedy",)]
        again = logged.ask("SELECT policy, estimator, value FROM pix.compare_policies()")
        assert again == rows
        shown = logged.pix("bandit", "evaluate", "greedy", "--from-log", "random", role="rita").stdout
        assert [line.split()[:2] for line in shown.splitlines()[1:]] == [
            ["greedy", n] for n in ("replay", "ips", "snips", "dr")
        ]
        assert logged.pix("bandit", "evaluate", role="rita").stdout.count("\n") == 25

    def test_votes_without_propensities(self, logged):
        vote(logged, "bob", "s1-00", True, policy="by hand", clustering="shelves", cluster=1)
        error = fails_with(logged, "PX127", "SELECT * FROM pix.compare_policies('{greedy}')")
        assert "have no propensity, or one near 0, such as that on item 's1-00'" in str(error)
        assert "from_log" in error.diag.message_hint
        assert len(logged.ask("SELECT * FROM pix.compare_policies('{greedy}', 'random')")) == 4
        vote(logged, "eve", "s1-00", True, policy="never", clustering="shelves", cluster=1, propensity=0)
        refuses(logged, "PX127", "SELECT * FROM pix.compare_policies('{greedy}', 'never')", "1 of 1 votes")

    def test_all_policies_are_compared_where_none_is_named(self, logged):
        assert set(logged.ask("SELECT DISTINCT policy FROM pix.compare_policies()")) == {(name,) for name in POLICIES}

    def test_questions_that_have_no_answer(self, logged):
        error = fails_with(logged, "PX127", "SELECT * FROM pix.compare_policies('{greedy}', 'ucb1')")
        assert "no votes on suggestions of policy 'ucb1'" in str(error)
        assert "It has some of: random" in error.diag.message_hint
        refuses(logged, "PX003", "SELECT * FROM pix.compare_policies('{best}')", "not 'best'")
        refuses(logged, "PX003", "SELECT * FROM pix.compare_policies('{greedy,NULL}')", "NULL")
        refuses(logged, "PX003", "SELECT * FROM pix.compare_policies('{greedy}', seed => -1)", "seed must be 0 or more")
        refuses(
            logged,
            "PX003",
            "SELECT * FROM pix.compare_policies('{greedy}', prior => 'tree')",
            "prior must be one of flat, pooled",
        )
        refuses(logged, "PX100", "SELECT * FROM pix.compare_policies('{greedy}', clustering => 'gone')", "'gone'")
        logged.ask("DELETE FROM pix.interactions")
        hint = fails_with(logged, "PX127", "SELECT * FROM pix.compare_policies('{greedy}')").diag.message_hint
        assert "pix.next_item" in hint

    def test_of_a_page_the_first_counts(self, shop):
        page = shop.ask("SELECT item_id, rank FROM pix.next_items('ann', 3, 'random') ORDER BY rank", role="adam")
        for item, rank in page:
            vote(shop, "ann", item, rank > 1)
        estimates = shop.ask("SELECT events, value FROM pix.compare_policies('{random}') WHERE estimator = 'snips'")
        assert estimates == [(1, 0)]

    def test_suggestions_from_before_a_refit_do_not_count(self, shop):
        ((item,),) = shop.ask("SELECT item_id FROM pix.next_item('ann', 'random')", role="adam")
        vote(shop, "ann", item, True)
        shop.ask("UPDATE pix.clusterings SET fitted_at = now()", role=None)
        refuses(
            shop, "PX127", "SELECT * FROM pix.compare_policies('{random}')", "no votes on suggestions from clustering"
        )

    def test_an_item_that_is_suggested_again_is_another_event(self, shop):
        for liked in (None, None, None, True):
            ((item,),) = shop.ask("SELECT item_id FROM pix.next_item('ann', 'greedy', again_after => '0')", role="adam")
            shop.ask("UPDATE pix.impressions SET propensity = 1")
            if liked:
                vote(shop, "ann", item, True)
            shop.ask("SELECT pix.count_skips('0')", role="adam")
            shop.ask("DELETE FROM pix.cluster_members WHERE item_id <> %s", (item,))
        estimates = shop.ask("SELECT events, value FROM pix.compare_policies('{random}') WHERE estimator = 'ips'")
        assert estimates == [(4, 0.25)]

    def test_several_signals_for_one_suggestion_are_one_event(self, shop):
        ((item,),) = shop.ask("SELECT item_id FROM pix.next_item('ann', 'random')", role="adam")
        for signal in ("view", "click", "cart"):
            vote(shop, "ann", item, signal=signal)
        assert shop.ask(
            "SELECT DISTINCT events, users, value FROM pix.compare_policies('{random}') WHERE estimator = 'snips'"
        ) == [(1, 1, pytest.approx(0.6))]
