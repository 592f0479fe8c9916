"""What is shown next: which cluster, which item of it, how probable that was, and never the same again."""

from collections import Counter

import numpy as np
import pytest

from pixelplum.core.bandit.policies import POLICIES
from tests.fixtures.shelves import shelves
from tests.helpers import fails_with, refuses, vote

NEXT = "SELECT item_id, cluster, propensity, score, reason FROM pix.next_item(%s, %s, seed => %s)"


def suggested(db, user="ann", policy=None, seed=None) -> tuple | None:
    rows = db.ask(NEXT, (user, policy, seed), role="adam")
    return rows[0] if rows else None


def test_a_newcomer_sees_what_is_typical(shop):
    item, cluster, propensity, score, reason = suggested(shop, policy="greedy", seed=1)
    assert item == f"s{cluster}-00"  # the nearest to the center
    assert propensity == pytest.approx(1 / 3)
    assert score == pytest.approx(1, abs=1e-6)
    assert reason == f"typical of cluster {cluster}, chosen by greedy at 33 %"
    assert shop.ask("SELECT user_id FROM pix.users") == [("ann",)]


def test_items_like_those_that_were_liked_come_first(shop):
    vote(shop, "ann", "s1-05", True)
    vote(shop, "ann", "s1-04", True)
    vote(shop, "ann", "s1-00", False)
    for expected, like in (("s1-03", "s1-04"), ("s1-02", "s1-03"), ("s1-01", "s1-02")):
        item, cluster, _, _, reason = suggested(shop, policy="greedy")
        assert (item, cluster) == (expected, 1)
        assert reason == f"looks like {like}, which ann liked; from cluster 1, chosen by greedy at 100 %"
        vote(shop, "ann", item, True)


def test_scores(shop):
    def direction(cluster: int, number: int) -> np.ndarray:
        return np.array([cluster + 1, number, 1, 0]) / np.linalg.norm([cluster + 1, number, 1, 0])

    vote(shop, "ann", "s1-05", True)
    vote(shop, "ann", "s2-05", signal="cart")
    vote(shop, "ann", "s1-00", False)

    def expected(item: np.ndarray) -> float:
        """What `nearest` says, which is the model of somebody with so few votes."""
        near = [np.exp(8 * item @ other) for other in (direction(1, 5), direction(2, 5))]
        return np.log((near[0] + 0.6 * near[1]) / 1.6) / 8 - item @ direction(1, 0)

    page = shop.ask("SELECT item_id, cluster, score FROM pix.next_items('ann', 18, 'random')", role="adam")
    for item, cluster, score in page:
        assert score == pytest.approx(expected(direction(cluster, int(item[3:]))), abs=1e-6)
    for cluster in range(3):
        scores = [score for _, own, score in page if own == cluster]
        assert scores == sorted(scores, reverse=True)


def test_nothing_is_shown_twice_and_clusters_run_out(shop):
    seen = []
    for turn in range(18):
        item, cluster, propensity, *_ = suggested(shop, policy="random")
        left = 3 - sum(count == 6 for count in Counter(name[:2] for name in seen).values())
        assert propensity == pytest.approx(1 / left)
        assert item.startswith(f"s{cluster}-")
        if turn % 2:
            vote(shop, "ann", item, turn % 4 == 1)  # every other one is only shown
        seen.append(item)
    assert len(set(seen)) == 18
    assert suggested(shop) is None
    assert "nothing left" in shop.pix("next", "ann", role="adam").stdout
    again = shop.ask("SELECT item_id FROM pix.next_items('ann', 20, again_after => '0')", role="adam")
    assert sorted(item for (item,) in again) == sorted(seen[::2])  # those without a vote
    shop.ask("SELECT pix.undo_vote('ann', %s)", (seen[1],), role="adam")
    again = shop.ask("SELECT item_id FROM pix.next_items('ann', 20, again_after => '0')", role="adam")
    assert seen[1] in [item for (item,) in again]


def test_cluster_zero_is_a_cluster(shop):
    for number in range(4):
        vote(shop, "ann", f"s0-{number:02}", True)
    assert suggested(shop, policy="greedy")[:2] == ("s0-04", 0)
    vote(shop, "bob", "s0-04", True, policy="by hand", clustering="shelves", cluster=0, propensity=0.5)
    assert shop.ask("SELECT cluster FROM pix.interactions WHERE user_id = 'bob'") == [(0,)]


def test_what_was_suggested_is_logged_with_its_vote(shop):
    item, cluster, propensity, score, _ = suggested(shop, policy="posterior_mean", seed=3)
    assert shop.ask(
        "SELECT user_id, item_id, policy, prior, clustering, cluster, propensity, score FROM pix.impressions"
    ) == [("ann", item, "posterior_mean", "flat", "shelves", cluster, propensity, score)]
    vote(shop, "ann", item, True)
    vote(shop, "ann", "s0-03" if item != "s0-03" else "s0-02", True)
    logged = "SELECT policy, cluster, propensity FROM pix.interactions ORDER BY vote_id"
    assert shop.ask(logged) == [("posterior_mean", cluster, propensity), (None, None, None)]
    vote(shop, "bob", item, True, policy="by hand", clustering="shelves", cluster=cluster, propensity=0.5)
    assert shop.ask(logged)[2] == ("by hand", cluster, 0.5)


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_choose_as_often_as_they_say(shop, policy):
    for number, liked in enumerate([True, True, False, True]):
        vote(shop, "ann", f"s2-{number:02}", liked)
    vote(shop, "ann", "s0-00", False)
    answer, chosen = {}, Counter()
    shown = 30 if shop.server.is_distributed else 150
    for seed in range(shown):
        ((cluster, propensity, error),) = shop.ask(
            "SELECT cluster, propensity, propensity_error "
            "FROM pix.next_item('ann', %s, again_after => '0', seed => %s)",
            (policy, seed),
            role="adam",
        )
        answer.setdefault(cluster, []).append(propensity)
        chosen[cluster] += 1
        assert (error > 0) == (policy == "thompson")
    for cluster, propensities in answer.items():
        fraction = np.mean(propensities)
        assert abs(chosen[cluster] / shown - fraction) < 4 * (fraction * (1 - fraction) / shown) ** 0.5 + 1e-9
    assert sum(np.mean(propensities) for propensities in answer.values()) == pytest.approx(1, abs=0.05)


def test_the_same_seed_shows_the_same(shop):
    question = "SELECT item_id, cluster, propensity FROM pix.next_items('ann', 5, again_after => '0', seed => 11)"
    pages = [shop.ask(question, role="adam") for _ in range(2)]
    assert pages[0] == pages[1]
    others = {suggested(shop, f"user {number}")[1] for number in range(25)}
    assert len(others) > 1


def test_a_page_is_spread_over_clusters(shop):
    for number in range(3):
        vote(shop, "ann", f"s2-{number:02}", True)
    page = shop.ask(
        "SELECT rank, item_id, cluster, propensity FROM pix.next_items('ann', 7, 'greedy') ORDER BY rank", role="adam"
    )
    assert [rank for rank, *_ in page] == list(range(1, 8))
    assert len({item for _, item, *_ in page}) == 7
    clusters = [cluster for *_, cluster, _ in page]
    assert clusters[0] == clusters[3] == clusters[6] == 2
    assert sorted(clusters[:3]) == sorted(clusters[3:6]) == [0, 1, 2]
    assert [propensity for *_, propensity in page][:3] == pytest.approx([1, 0.5, 1])
    everything = shop.ask("SELECT count(*) FROM pix.next_items('bob', 100, 'random')", role="adam")
    assert everything == [(18,)]


def test_items_that_lost_their_features_are_not_shown(shop):
    suggested(shop, "eve")  # what is mapped stays in the session
    shop.ask("DELETE FROM pix.features WHERE item_id LIKE 's1-%' AND item_id <> 's1-03'")
    shop.ask("DELETE FROM pix.cluster_members WHERE item_id = 's2-00'")
    page = shop.ask("SELECT item_id, cluster FROM pix.next_items('ann', 100, 'random')", role="adam")
    assert len(page) == 6 + 1 + 5
    assert [item for item, cluster in page if cluster == 1] == ["s1-03"]


def test_many_stale_items_do_not_hide_the_others(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 2)")
    gone = [item for (item,) in db.ask("SELECT item_id FROM pix.next_items('eve', 600, 'random')", role="adam")]
    db.ask("DELETE FROM pix.features WHERE item_id = ANY(%s)", (gone[:300],))
    db.ask("DELETE FROM pix.items WHERE item_id = ANY(%s)", (gone[300:],))
    rows = db.ask("SELECT item_id, cluster, propensity FROM pix.next_items('ann', 100, 'random')", role="adam")
    assert len(rows) == 100
    assert not {item for item, *_ in rows} & set(gone)
    assert Counter(cluster for _, cluster, _ in rows) == {1: 50, 2: 50}
    assert rows[0][2] == 0.5


def test_skips_do_not_hide_what_was_liked(shop):
    vote(shop, "ann", "s1-05", True, voted_at="2026-01-01T00:00:00Z")
    shop.ask("INSERT INTO pix.items (item_id) SELECT 'x' || n FROM generate_series(1, 210) n")
    shop.ask(
        "INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at) "
        "SELECT 'ann', 'x' || n, 'skip', -0.1, '2026-02-01Z'::timestamptz FROM generate_series(1, 210) n"
    )
    assert suggested(shop)[4].startswith("looks like s1-05, which ann liked")


def test_an_item_moved_or_loaded_since(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 4)")
    first = db.ask("SELECT item_id FROM pix.next_items('ann', 4, 'random')", role="adam")
    assert len(first) == 4
    added = catalogue.add(range(2000, 2200))
    db.ask("SELECT pix.refresh_clusters('groups')")
    page = db.ask("SELECT item_id, cluster FROM pix.next_items('ann', 1000, 'random')", role="adam")
    members = dict(db.ask("SELECT item_id, cluster FROM pix.cluster_members"))
    assert all(members[item] == cluster for item, cluster in page)
    assert {item for item, _ in page} & set(added)
    assert not {item for item, _ in page} & {item for (item,) in first}


def test_an_index_of_principal_components_shows_the_same(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 3)")
    for number in range(8):
        vote(db, "ann", f"c{number:04}", number % 2 == 0)
    page = "SELECT item_id, score FROM pix.next_items('ann', 12, 'random', again_after => '0', seed => 5)"
    before = db.ask(page, role="adam")
    db.ask("SELECT pix.build_index('sketch', 'clouds', 'exact', project_to => 24)")
    after = db.ask(page, role="adam")
    assert [item for item, _ in after] == [item for item, _ in before]
    assert [score for _, score in after] == pytest.approx([score for _, score in before], abs=1e-6)
    db.forget_sessions()
    assert db.ask(page, role="adam") == after
    # It is not used when it is out of date: what came since is shown nevertheless.
    catalogue.vectors["c0100"] = catalogue.vectors["c0000"].copy()
    catalogue.store(["c0100"])
    db.ask("SELECT pix.refresh_clusters('groups')")
    assert "c0100" in [item for item, _ in db.ask(page, role="adam")]


def test_which_clustering(shop):
    shelves(shop, {5: 3, 7: 6}, "others")
    hint = fails_with(shop, "PX126", "SELECT * FROM pix.next_item('ann')").diag.message_hint
    assert "others, shelves" in hint
    assert "SELECT pix.set_default_clustering('others');" in hint
    shop.ask("SELECT pix.set_default_clustering('others')")
    assert suggested(shop)[1] in (5, 7)
    ((cluster,),) = shop.ask("SELECT cluster FROM pix.next_item('ann', clustering => 'shelves')", role="adam")
    assert cluster in (0, 1, 2)
    shop.ask("SELECT pix.drop_clustering('others')")
    assert suggested(shop)[1] in (0, 1, 2)
    refuses(shop, "PX100", "SELECT * FROM pix.next_item('ann', clustering => 'others')", "'others' is not known")
    refuses(shop, "PX100", "SELECT pix.set_default_clustering('others')", "'others' is not known")
    shop.ask("UPDATE pix.models SET checksum = 'of another network' WHERE model_name = 'shelf'", role=None)
    refuses(shop, "PX103", "SELECT * FROM pix.next_item('ann')", "earlier version of model 'shelf'")
    shop.ask("SELECT pix.drop_clustering('shelves')")
    refuses(shop, "PX100", "SELECT * FROM pix.next_item('ann')", "There are no clusters")


@pytest.mark.parametrize(
    ("call", "sqlstate", "message", "hint"),
    [
        ("next_item(NULL)", "PX003", "user_id must be a name", "user_id =>"),
        ("next_item('ann', 'thomson')", "PX003", "policy must be one of", "pix.algorithms('policy')"),
        ("next_item('ann', 'Greedy')", "PX003", "not 'Greedy'", "pix.algorithms('policy')"),
        ("next_item('ann', prior => 'strong')", "PX003", "prior must be one of flat, pooled, tree", "flat"),
        ("next_item('ann', prior => 'pooled')", "PX003", "has no pooled priors", "refresh_priors('shelves')"),
        ("next_item('ann', prior => 'tree')", "PX003", "'shelves' is flat", "ward"),
        ("next_item('ann', again_after => '-1 day')", "PX003", "1,000 years, not -1 days", "1 day"),
        ("next_item('ann', again_after => '100000 years')", "PX003", "1,000 years, not 100000 years", "1 day"),
        ("next_item('ann', again_after => NULL)", "PX003", "1,000 years, not NULL", "1 day"),
        ("next_items('ann', 0)", "PX003", "k must be from 1 to 1,000, not 0", "k => 1"),
        ("next_items('ann', NULL)", "PX003", "k must be from 1 to 1,000, not NULL", "k => 1"),
        ("next_items('ann', 1001)", "PX003", "k must be from 1 to 1,000, not 1001", "k => 1"),
        ("next_item('ann', seed => -1)", "PX003", "seed must be 0 or more, not -1", "seed => 0"),
        ("refresh_priors(algorithm => 'guess')", "PX003", "not 'guess'", "moments"),
        ("refresh_priors(strength_cap => 0)", "PX003", "strength_cap must be", "strength_cap => "),
        ("refresh_priors('nothing')", "PX100", "'nothing' is not known", "fit_clusters"),
    ],
)
def test_bad_questions(shop, call, sqlstate, message, hint):
    error = fails_with(shop, sqlstate, f"SELECT * FROM pix.{call}")
    assert message in str(error)
    assert hint in error.diag.message_hint
    assert shop.ask("SELECT count(*) FROM pix.impressions") == [(0,)]


def test_ten_thousand_arms(shop):
    shelves(shop, dict.fromkeys(range(10_000, 20_000), 1), "many")
    for policy in POLICIES:
        ((cluster, propensity),) = shop.ask(
            "SELECT cluster, propensity FROM pix.next_item('ann', %s, 'many')", (policy,), role="adam"
        )
        assert 10_000 <= cluster < 20_000
        assert 0 < propensity < 0.01
    vote(shop, "ann", "s12345-00", True)
    ((mean,),) = shop.ask("SELECT mean FROM pix.arm_posteriors WHERE clustering = 'many'")
    assert mean == pytest.approx(2 / 3)


def test_pooled_priors_are_what_newcomers_are_served_by(shop):
    for number in range(12):
        for item, liked in (("s0-00", True), ("s0-01", number % 4 > 0), ("s1-00", False), ("s1-01", number % 6 == 0)):
            vote(shop, f"user {number}", item, liked)
    rows = shop.ask("SELECT cluster, alpha, beta, likes, dislikes, users FROM pix.refresh_priors()")
    assert [(cluster, *rest) for cluster, _, _, *rest in rows] == [(0, 21, 3, 12), (1, 2, 22, 12), (2, 0, 0, 0)]
    means = {cluster: alpha / (alpha + beta) for cluster, alpha, beta, *_ in rows}
    assert means[0] > 0.8 > means[2] > 0.3 > means[1]
    assert all(alpha + beta <= 20 + 1e-9 for _, alpha, beta, *_ in rows)
    assert suggested(shop, "newcomer", "greedy")[:3] == ("s0-00", 0, 1)
    assert shop.ask("SELECT prior FROM pix.impressions") == [("pooled",)]
    fractions = dict(
        shop.ask(
            "SELECT cluster, propensity FROM pix.next_items('another', 1, 'posterior_mean', prior => 'pooled')",
            role="adam",
        )
    )
    ((cluster, fraction),) = fractions.items()
    assert fraction == pytest.approx(means[cluster] / sum(means.values()))
    flat = shop.ask("SELECT propensity FROM pix.next_item('another', 'posterior_mean', prior => 'flat')", role="adam")
    assert flat == [(pytest.approx(1 / 3),)]
    # Which clusters had nothing to show is logged.
    assert shop.ask("SELECT DISTINCT exhausted FROM pix.impressions") == [(None,)]
    for number in range(6):
        vote(shop, "full", f"s1-{number:02}", False)
    suggested(shop, "full")
    assert shop.ask("SELECT exhausted FROM pix.impressions WHERE user_id = 'full'") == [([1],)]
    # The posterior of BI tools is that of the bandit.
    ((alpha, beta),) = shop.ask("SELECT alpha, beta FROM pix.arm_priors WHERE cluster = 0")
    ((mean, low, high),) = shop.ask(
        "SELECT mean, low, high FROM pix.arm_posteriors WHERE user_id = 'user 1' AND cluster = 0"
    )
    assert mean == pytest.approx((alpha + 2) / (alpha + beta + 2))
    assert low < mean < high


def test_a_refit_refreshes_pooled_priors(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 8)")
    for user in ("ann", "bob"):
        for number in range(20):
            vote(db, user, f"c{number:04}", number % 3 > 0)
    db.ask("SELECT pix.refresh_priors('groups', 'likelihood', 5)")
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 3)")
    rows = db.ask("SELECT cluster, algorithm, strength_cap, alpha + beta <= 5.001 FROM pix.arm_priors ORDER BY cluster")
    assert [rest for _, *rest in rows] == [["likelihood", 5, True]] * 3
    assert [cluster for cluster, *_ in rows] == [c for (c,) in db.ask("SELECT cluster FROM pix.clusters ORDER BY 1")]


def test_branches_before_leaves(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('tree', 'clouds', 'ward', k => 6)")
    tree = dict(db.ask("SELECT cluster, parent FROM pix.clusters"))
    rows = db.ask("SELECT cluster, propensity FROM pix.next_items('ann', 1, 'random', prior => 'tree')", role="adam")
    ((leaf, propensity),) = rows
    depth, above = 0, tree[leaf]
    while above is not None:
        depth, above = depth + 1, tree[above]
    assert propensity == pytest.approx(0.5**depth)
    page = db.ask("SELECT cluster FROM pix.next_items('ann', 6, prior => 'tree')", role="adam")
    assert {cluster for (cluster,) in page} == {cluster for cluster in tree if cluster not in tree.values()}
    # A branch is liked: its leaves come first, and its prior is that of all its leaves.
    (branch,) = {cluster for cluster in tree if tree[cluster] is None}
    liked = max(cluster for cluster in tree if tree[cluster] == branch)
    leaves = set(db.ask("SELECT pix.leaf_clusters('tree', %s)", (liked,))[0][0])
    for user in ("bob", "eve"):
        for item, cluster in db.ask("SELECT min(item_id), cluster FROM pix.cluster_members GROUP BY cluster"):
            vote(db, user, item, cluster in leaves)
    priors = {
        c: (a / (a + b), users)
        for c, a, b, users in db.ask("SELECT cluster, alpha, beta, users FROM pix.refresh_priors()")
    }
    assert priors[liked][0] > 0.5
    assert priors[branch][1] == 2
    ((cluster,),) = db.ask("SELECT cluster FROM pix.next_item('new', 'greedy', prior => 'tree')", role="adam")
    assert cluster in leaves


def test_beta_quantiles(shop):
    from scipy.stats import beta

    for a, b, p in ((4, 2, 0.025), (1, 1, 0.5), (0.5, 30, 0.975)):
        ((results,),) = shop.ask("SELECT pix.beta_quantile(%s, %s, %s)", (a, b, p), role="rita")
        assert results == pytest.approx(beta(a, b).ppf(p))
    assert shop.ask("SELECT pix.beta_quantile(NULL, 1, 0.5)") == [(None,)]
    for values in ("0, 1, 0.5", "1, 'NaN', 0.5", "'infinity', 1, 0.5", "1, 1, 1.5"):
        refuses(shop, "PX003", f"SELECT pix.beta_quantile({values})", "probability must be from 0 to 1")


def test_views_for_bi_tools(shop):
    for user, item, liked in (
        ("ann", "s0-00", True),
        ("bob", "s0-00", True),
        ("bob", "s0-01", False),
        ("bob", "s2-01", True),
    ):
        vote(shop, user, item, liked, voted_at="2026-02-04T12:00:00Z")
    vote(shop, "ann", "s0-01", True, voted_at="2026-02-12T12:00:00Z")
    pooled = shop.query(
        "SELECT cluster, users, votes, likes, dislikes, mean FROM pix.pooled_arms ORDER BY cluster", role="rita"
    )
    assert pooled == [
        (0, 2, 4, 3, 1, pytest.approx(4 / 6)),
        (1, 0, 0, 0, 0, 0.5),
        (2, 1, 1, 1, 0, pytest.approx(2 / 3)),
    ]
    trend = shop.query(
        "SELECT week::date::text, cluster, brand, votes, likes, dislikes FROM pix.taste_trend ORDER BY 1, 2, 3",
        role="rita",
    )
    assert trend == [
        ("2026-02-02", 0, "brand 0", 2, 2, 0),
        ("2026-02-02", 0, "brand 1", 1, 0, 1),
        ("2026-02-02", 2, "brand 1", 1, 1, 0),
        ("2026-02-09", 0, "brand 1", 1, 1, 0),
    ]


def test_commands(shop):
    assert "vote 1" in shop.pix("vote", "ann", "s0-00", "--like", role="adam").stdout
    shop.pix("vote", "ann", "s1-00", "--dislike", "--key", "k", role="adam")
    shop.pix("vote", "ann", "s2-00", "--signal", "cart", role="adam")
    refused = shop.pix("vote", "ann", "s2-00", role="adam", check=False)
    assert "neither like nor dislike" in refused.stderr
    assert "Hint:" in refused.stderr
    shown = shop.pix("next", "ann", "-k", "3", "--policy", "greedy", "--seed", "1", role="adam").stdout
    assert "which ann liked" in " ".join(shown.split())
    own = [line.split()[:4] for line in shop.pix("bandit", "arms", "ann", role="rita").stdout.splitlines()[1:]]
    assert own == [["0", "1", "1.0", "0.0"], ["2", "1", "0.6", "0.0"], ["1", "1", "0.0", "1.0"]]
    arms = shop.pix("bandit", "arms", role="rita").stdout
    assert [line.split()[0] for line in arms.splitlines()[1:]] == ["0", "2", "1"]
    assert "taken back" in shop.pix("undo", "ann", "s2-00", role="adam").stdout
    assert "no opinion" in shop.pix("undo", "ann", "s2-00", role="adam").stdout
    assert shop.pix("bandit", "priors", "--algorithm", "likelihood").stdout.count("\n") == 4
    assert "2 arms" in shop.pix("bandit", "rebuild").stdout
    assert "half after 30 days" in shop.pix("bandit", "half-life", "30").stdout
    assert "do not age" in shop.pix("bandit", "half-life", "none").stdout
    assert "must be a number of days or none" in shop.pix("bandit", "half-life", "soon", check=False).stderr
    assert "default clustering" in shop.pix("bandit", "default", "shelves").stdout
    assert "suggestions were skipped" in shop.pix("bandit", "skips", "--older-than", "0", role="adam").stdout
