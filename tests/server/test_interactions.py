"""Votes: what counts, what stays in the log, and that arms are always what the log says."""

import json
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.fixtures.shelves import shelves
from tests.helpers import ARMS, SOMEBODY_WAITS, arm_counts, arms_agree, fails_with, refuses, vote


def test_votes_count_for_the_items_cluster(shop):
    vote(shop, "ann", "s0-00", True)
    vote(shop, "ann", "s0-01", False)
    vote(shop, "ann", "s2-00", True)
    assert arm_counts(shop) == {0: (1, 1, 2), 2: (1, 0, 1)}
    ((user, created),) = shop.ask("SELECT user_id, created_at <= now() FROM pix.users")
    assert (user, created) == ("ann", True)
    arms_agree(shop)


def test_of_two_votes_on_an_item_the_last_counts_and_both_stay(shop):
    vote(shop, "ann", "s1-00", True)
    vote(shop, "ann", "s1-00", False)
    assert arm_counts(shop) == {1: (0, 1, 1)}
    assert shop.ask("SELECT signal FROM pix.interactions ORDER BY voted_at") == [("like",), ("dislike",)]
    vote(shop, "ann", "s1-00", True, voted_at="2020-01-01T00:00:00Z")  # said long before
    assert arm_counts(shop) == {1: (0, 1, 1)}
    arms_agree(shop)


def test_other_signals_the_strongest_counts(shop):
    for name, likes in (("click", 0.3), ("cart", 0.6), ("view", 0.6), ("buy", 1)):
        vote(shop, "ann", "s1-00", signal=name)
        assert arm_counts(shop) == {1: (likes, 0, 1)}
    vote(shop, "ann", "s1-00", False)  # what is said outweighs what was done
    vote(shop, "ann", "s1-00", signal="buy")
    assert arm_counts(shop) == {1: (0, 1, 1)}
    arms_agree(shop)


def test_a_shop_has_signals_of_its_own(shop):
    shop.ask("INSERT INTO pix.signals (signal, value) VALUES ('returned', -0.8)")
    vote(shop, "ann", "s0-00", signal="returned")
    shop.ask("UPDATE pix.signals SET value = -0.2 WHERE signal = 'returned'")  # for votes from now on
    vote(shop, "ann", "s0-01", signal="returned")
    assert arm_counts(shop) == {0: (0, 1.0, 2)}
    arms_agree(shop)


def test_undo(shop):
    vote(shop, "ann", "s0-00", True)
    vote(shop, "ann", "s0-00", signal="buy")
    vote(shop, "ann", "s0-01", True)
    undo = "SELECT pix.undo_vote('ann', 's0-00')"
    assert shop.ask(undo, role="adam") == [(True,)]
    assert arm_counts(shop) == {0: (1, 0, 1)}
    assert shop.ask(undo, role="adam") == [(False,)]
    vote(shop, "ann", "s0-00", signal="cart")
    assert arm_counts(shop) == {0: (1.6, 0, 2)}
    assert shop.ask("SELECT count(*) FROM pix.interactions") == [(5,)]
    arms_agree(shop)


def test_undo_in_the_transaction_of_the_vote(shop):
    connection = shop.connect("adam", autocommit=False)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.vote('ann', 's0-00', true)")
        cursor.execute("SELECT pix.undo_vote('ann', 's0-00')")
        cursor.execute("SELECT pix.vote('ann', 's0-00', false)")
    assert arm_counts(shop) == {0: (0, 1, 1)}
    arms_agree(shop)


def test_undo_of_a_vote_whose_clock_is_ahead(shop):
    vote(shop, "ann", "s0-00", True, voted_at=shop.value("SELECT now() + interval '50 seconds'"))
    assert shop.ask("SELECT pix.undo_vote('ann', 's0-00')", role="adam") == [(True,)]
    assert shop.ask("SELECT pix.undo_vote('ann', 's0-00')", role="adam") == [(False,)]
    assert arm_counts(shop) == {}


def test_undo_when_the_item_is_gone(shop):
    vote(shop, "ann", "s0-00", True)
    shop.ask("DELETE FROM pix.items WHERE item_id = 's0-00'")
    assert shop.ask("SELECT pix.undo_vote('ann', 's0-00')", role="adam") == [(True,)]
    assert arm_counts(shop) == {}


CHANGES = (
    "vote('ann', 's0-00', true)", "undo_vote('ann', 's0-00')", "vote_batch('[]')", "rebuild_arms()", "next_item('ann')",
)  # fmt: skip


@pytest.mark.parametrize("call", CHANGES)
def test_transactions_that_look_back(shop, call):
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        connection = shop.connect(autocommit=False)
        connection.set_session(isolation_level=level)
        with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
            cursor.execute(f"SELECT pix.{call}")
        assert caught.value.pgcode == "PX130"
        assert "READ COMMITTED" in caught.value.diag.message_hint


@pytest.mark.sessions
def test_suggest_and_vote_in_one_transaction_while_another_votes(shop, until):
    connection = shop.connect("adam", autocommit=False)
    with connection.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT item_id FROM pix.next_item('new')")
        ((item,),) = cursor.fetchall()
        voting = pool.submit(shop.query, "SELECT pix.vote('new', 's0-00', true)", role="adam")
        until(shop, SOMEBODY_WAITS)
        cursor.execute("SELECT pix.vote('new', %s, true)", (item,))
        connection.commit()
        voting.result()
    assert sum(votes for *_, votes in arm_counts(shop, "new").values()) == (1 if item == "s0-00" else 2)


@pytest.mark.sessions
def test_two_sessions_suggest_different_items(shop, until, server):
    if server.is_distributed:
        pytest.skip("a cluster could hold a user only with the whole table of users")
    page = "SELECT item_id FROM pix.next_items('twin', 4, 'greedy', seed => 1)"
    connection = shop.connect("adam", autocommit=False)
    with connection.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute(page)
        first = set(cursor.fetchall())
        other = pool.submit(shop.query, page, role="adam")
        until(shop, SOMEBODY_WAITS)
        connection.commit()
        assert len(first | set(other.result())) == 8


def test_who_hands_back_what_was_suggested_has_answered_it(shop):
    columns = "item_id, policy, clustering, cluster, propensity, impression_id"
    values = shop.ask(f"SELECT {columns} FROM pix.next_items('ann', 3)", role="adam")
    (item, policy, clustering, cluster, propensity, impression), second, third = values
    vote(shop, "ann", item, True, policy=policy, clustering=clustering, cluster=cluster, propensity=propensity)
    batch = [
        {"user_id": "ann", "item_id": second[0], "liked": True, "policy": second[1], "propensity": second[4]},
        {"user_id": "ann", "item_id": third[0], "liked": True, "cluster": 77},
    ]
    shop.ask("SELECT pix.vote_batch(%s)", (json.dumps(batch),), role="adam")
    logged = {
        item_id: rest
        for item_id, *rest in shop.ask(
            "SELECT item_id, impression_id, cluster, policy, propensity FROM pix.interactions"
        )
    }
    assert logged == {
        item: [impression, cluster, policy, propensity],
        second[0]: [second[5], second[3], second[1], second[4]],
        third[0]: [None, 77, None, None],
    }
    assert shop.ask("SELECT pix.count_skips('0')", role="adam") == [(1,)]  # the third


def test_a_vote_sent_twice_is_one(shop):
    first = vote(shop, "ann", "s0-00", True, idempotency_key="a")
    assert vote(shop, "ann", "s0-00", True, idempotency_key="a") == first
    assert vote(shop, "bob", "s0-00", True, idempotency_key="a") != first
    assert shop.ask("SELECT count(*) FROM pix.interactions WHERE user_id = 'ann'") == [(1,)]
    for content in ("'s0-01', true", "NULL, true", "'s0-00', false", "'s0-00', true, voted_at => '2020-01-01'"):
        refuses(
            shop, "PX123", f"SELECT pix.vote('ann', {content}, idempotency_key => 'a')", "was used for another vote"
        )
    assert arm_counts(shop) == {0: (1, 0, 1)}


def test_votes_in_every_clustering_and_in_none(shop):
    shelves(shop, {5: 3, 7: 6}, "others")
    shop.ask("DELETE FROM pix.cluster_members WHERE clustering = 'others'")
    shop.ask(
        "INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance) "
        "SELECT item_id, 'others', CASE WHEN item_id < 's1' THEN 5 ELSE 7 END, 0 FROM pix.cluster_members "
        "WHERE clustering = 'shelves'"
    )
    vote(shop, "ann", "s0-00", True)
    shop.ask("INSERT INTO pix.items (item_id) VALUES ('new')")
    vote(shop, "ann", "new", True)
    assert shop.ask(ARMS) == [("ann", "others", 5, 1, 0, 1), ("ann", "shelves", 0, 1, 0, 1)]
    arms_agree(shop)
    # The new item is put into a cluster: its vote counts then.
    shop.ask("INSERT INTO pix.cluster_members VALUES ('new', 'shelves', 2, 0)")
    shop.ask("SELECT pix.rebuild_arms('shelves')")
    assert arm_counts(shop)[2] == (1, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message", "hint"),
    [
        ("NULL, 's0-00', true", "PX003", "user_id must be a name of 1 to 200 bytes, not NULL", "user_id =>"),
        ("'', 's0-00', true", "PX003", "not empty", "user_id =>"),
        ("repeat('x', 201), 's0-00', true", "PX003", "1 to 200 bytes, not one of 201", "user_id =>"),
        ("'ann', 'nowhere', true", "PX040", "Item 'nowhere' is not in the catalogue", "pix.items"),
        ("'ann', NULL, true", "PX040", "Item NULL is not in the catalogue", "pix.items"),
        ("'ann', 's0-00'", "PX121", "neither like nor dislike", "liked => true"),
        ("'ann', 's0-00', true, 'cart'", "PX121", "both", "one of them"),
        ("'ann', 's0-00', signal => 'likes'", "PX121", "Signal 'likes' is not known", "buy, cart, click"),
        ("'ann', 's0-00', signal => 'undo'", "PX121", "Signal 'undo' is not known", "buy"),
        ("'ann', 's0-00', true, voted_at => now() + '1 hour'", "PX124", "in the future", "clock"),
        ("'ann', 's0-00', true, voted_at => 'infinity'", "PX124", "in the future", "clock"),
        ("'ann', 's0-00', true, voted_at => '-infinity'", "PX124", "at no time", "Leave"),
        ("'ann', 's0-00', true, propensity => 'NaN'", "PX003", "propensity must be between 0 and 1", "probability"),
        ("'ann', 's0-00', true, propensity => 1.5", "PX003", "propensity must be between 0 and 1", "probability"),
        ("'ann', 's0-00', true, idempotency_key => ''", "PX003", "idempotency_key must be a name", "key =>"),
    ],
)  # fmt: skip
def test_bad_votes(shop, arguments, sqlstate, message, hint):
    error = fails_with(shop, sqlstate, f"SELECT pix.vote({arguments})")
    assert message in str(error)
    assert hint in error.diag.message_hint
    assert shop.ask("SELECT count(*) FROM pix.interactions") == [(0,)]
    assert shop.ask("SELECT count(*) FROM pix.users") == [(0,)]


@pytest.mark.sessions
def test_sixteen_connections_vote_as_one_user(shop):
    """No vote is lost, and none waits for another in a circle."""
    items = [item for (item,) in shop.ask("SELECT item_id FROM pix.cluster_members ORDER BY 1")]
    each = 5 if shop.server.is_distributed else 30

    def votes(number: int) -> None:
        chosen = random.Random(number)
        with shop.connect("adam").cursor() as cursor:
            for _ in range(each):
                cursor.execute("SELECT pix.vote('ann', %s, %s)", (chosen.choice(items), chosen.random() < 0.5))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(votes, range(16)))
    assert shop.ask("SELECT count(*) FROM pix.interactions") == [(16 * each,)]
    ((likes, dislikes, number),) = shop.ask("SELECT sum(likes), sum(dislikes), sum(votes) FROM pix.arms")
    ((liked, opinions),) = shop.ask("SELECT count(*) FILTER (WHERE value > 0), count(*) FROM pix.opinions")
    assert (likes, dislikes, number) == (liked, opinions - liked, opinions)
    arms_agree(shop)


@pytest.mark.sessions
def test_votes_while_arms_are_rebuilt(shop):
    items = [item for (item,) in shop.ask("SELECT item_id FROM pix.cluster_members ORDER BY 1")]

    def votes(user: str) -> None:
        with shop.connect("adam").cursor() as cursor:
            for item in items:
                cursor.execute("SELECT pix.vote(%s, %s, true)", (user, item))

    with ThreadPoolExecutor(3) as pool:
        voting = [pool.submit(votes, user) for user in ("ann", "bob", "eve")]
        while not all(one.done() for one in voting):
            shop.ask("SELECT pix.rebuild_arms()")
        for one in voting:
            one.result()
    assert shop.ask("SELECT sum(votes) FROM pix.arms") == [(54,)]
    arms_agree(shop)


@pytest.mark.sessions
def test_a_session_killed_between_log_and_arm_leaves_neither(shop, barrier, same_host):
    held = barrier(shop, "pix.interactions", "s0-00")
    with ThreadPoolExecutor(1) as pool:
        voting = pool.submit(shop.query, "SELECT pix.vote('ann', 's0-00', true)", role="adam")
        pid = held.wait()
        if not shop.server.is_distributed:
            assert shop.value(
                "SELECT application_name IS NOT NULL FROM pg_stat_activity WHERE pid = %s", (pid,), role=None
            )
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(psycopg2.Error):
            voting.result()
    held.release()
    shop.server.wait_for_recovery(pid)
    shop.forget_sessions()
    assert shop.ask("SELECT count(*) FROM pix.interactions") == [(0,)]
    vote(shop, "ann", "s0-00", True)
    assert arm_counts(shop) == {0: (1, 0, 1)}
    arms_agree(shop)


def test_half_life(shop):
    for days, item in ((0, "s0-00"), (10, "s0-01"), (30, "s0-02")):
        vote(shop, "ann", item, True, voted_at=shop.value("SELECT now() - make_interval(days => %s)", (days,)))
    vote(shop, "ann", "s1-00", False, voted_at=shop.value("SELECT now() - interval '20 days'"))
    assert arm_counts(shop)[0] == (3, 0, 3)
    shop.ask("SELECT pix.set_half_life(10)")
    likes = "SELECT round(likes::numeric, 4), round(dislikes::numeric, 4) FROM pix.arm_posteriors ORDER BY cluster"
    assert [tuple(map(float, row)) for row in shop.ask(likes)] == [(1.625, 0), (0, 0.25)]
    vote(shop, "ann", "s0-03", False, voted_at=shop.value("SELECT now() - interval '20 days'"))
    vote(shop, "ann", "s0-01", False)  # and not as ten days ago
    assert [tuple(map(float, row)) for row in shop.ask(likes)] == [(1.125, 1.25), (0, 0.25)]
    arms_agree(shop)
    shop.ask("SELECT pix.undo_vote('ann', 's0-00')", role="adam")
    assert [tuple(map(float, row)) for row in shop.ask(likes)] == [(0.125, 1.25), (0, 0.25)]
    arms_agree(shop)
    shop.ask("SELECT pix.set_half_life(NULL)")
    assert arm_counts(shop) == {0: (1, 2, 3), 1: (0, 1, 1)}
    for days in ("0", "-1", "1e9", "'NaN'"):
        refuses(shop, "PX003", f"SELECT pix.set_half_life({days})", "days must be from 0.001 to 100,000")
    shop.ask("INSERT INTO pix.settings VALUES ('half_life_days', 'long')")
    refuses(shop, "PX028", "SELECT pix.vote('ann', 's0-04', true)", "half_life_days is 'long'")


def test_what_has_decayed_to_nothing(shop):
    shop.ask("SELECT pix.set_half_life(0.001)")
    for number in range(6):
        moment = shop.value("SELECT now() - make_interval(days => %s)", (1000 - 150 * number,))
        vote(shop, "ann", f"s0-{number:02}", number == 0, voted_at=moment)
        vote(shop, "bob", f"s0-{number:02}", number == 0, voted_at=shop.value(
            "SELECT now() - make_interval(mins => %s)", (1000 - 150 * number,)
        ))  # fmt: skip
    for view in ("arm_posteriors", "pooled_arms"):
        assert shop.ask(f"SELECT bool_and(mean > 0) FROM pix.{view}") == [(True,)]
    shop.ask("SELECT pix.refresh_priors()")
    assert len(shop.ask("SELECT * FROM pix.next_item('ann')", role="adam")) == 1
    shop.ask("SELECT pix.rebuild_arms()")


def test_refits_and_new_items_carry_votes_along(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 10)")
    for number in range(60):
        db.ask("SELECT pix.vote('ann', %s, %s)", (f"c{number:04}", number % 3 == 0), role="adam")
    arms_agree(db)
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 25, seed => 2)")
    assert db.ask("SELECT sum(votes), sum(likes) FROM pix.arms") == [(60, 20)]
    arms_agree(db)
    catalogue.add(range(5))  # they look different now
    db.ask("SELECT pix.refresh_clusters('groups')")
    arms_agree(db)
    catalogue.remove(["c0000"])
    db.ask("SELECT pix.refresh_clusters('groups')")
    assert db.ask("SELECT sum(votes) FROM pix.arms") == [(59,)]
    arms_agree(db)
    db.ask("SELECT pix.drop_clustering('groups')")
    assert db.ask("SELECT count(*) FROM pix.arms") == [(0,)]
    assert db.ask("SELECT count(*) FROM pix.interactions") == [(60,)]
    refuses(db, "PX100", "SELECT pix.rebuild_arms('groups')", "'groups' is not known")


def test_who_may_do_what(shop):
    vote(shop, "ann", "s0-00", True)
    for statement in (
        "UPDATE pix.interactions SET value = 1", "DELETE FROM pix.interactions", "INSERT INTO pix.users VALUES ('x')",
        "UPDATE pix.arms SET likes = 9", "SELECT pix.rebuild_arms()", "SELECT pix.set_half_life(9)",
        "SELECT pix_internal.log_vote('ann', 's0-01', 'like', 99, NULL, NULL, NULL, NULL, NULL, NULL)",
    ):  # fmt: skip
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            shop.ask(statement, role="adam")
    for statement in ("SELECT pix.vote('ann', 's0-00', true)", "SELECT * FROM pix.next_item('ann')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            shop.ask(statement, role="rita")
    assert shop.ask("SELECT count(*) FROM pix.opinions", role="rita") == [(1,)]
