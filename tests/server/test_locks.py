"""Who waits for whom: nobody for a stranger, and nobody for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.helpers import derived_agrees, fails_with

BATCH = """SELECT status FROM pix.vote_batch('[{"user_id": "bea", "item_id": "s0-01", "liked": true}]')"""
VOTE = "SELECT pix.vote(%s, %s, true)"


@pytest.fixture
def on_one_server(server) -> None:
    """The test is about votes that are counted when they are committed."""
    if server.is_distributed:
        pytest.skip("a cluster locks the table of arms for each vote, at once")


SHORTEN = """
DO $$
DECLARE
    waiting text;
BEGIN
    FOR waiting IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace)
            AND 'lock_timeout=10s' = ANY (p.proconfig)
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET lock_timeout = 1000', waiting);
    END LOOP;
END
$$
"""


@pytest.fixture
def shorter_waits(shop) -> None:
    """Functions that wait ten seconds for a lock wait one."""
    shop.query(SHORTEN, role=None)


@pytest.mark.parametrize(
    "work",
    [
        "SELECT pix.vote('ann', 's0-00', true)", "SELECT * FROM pix.next_item('ann')", BATCH,
        "SELECT pix.pack_features('shelf')", "SELECT pix.build_index('fast', 'shelf', 'exact')",
        "SELECT pix.fit_clusters('two', 'shelf', k => 2)", "SELECT pix.rebuild_arms()",
    ],
)  # fmt: skip
def test_no_lock_that_anybody_could_take(shop, work):
    """0.7.0 took advisory locks, which whoever may connect could hold for ever."""
    connection = shop.connect(autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute(work)
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)
    connection.rollback()
    for role in ("nobody", "rita", "adam"):
        for lock in ("LOCK TABLE pix.arms IN EXCLUSIVE MODE", "SELECT FROM pix_internal.locks FOR UPDATE",
                     "SELECT FROM pix.users FOR UPDATE"):  # fmt: skip
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                shop.query(f"BEGIN; {lock}", role=role)


def test_a_vote_that_is_not_committed_holds_up_nobody(shop, on_one_server):
    """On 0.7.0 one idle transaction with a vote, and one batch that waited for it, held up the votes of all."""
    idle = shop.connect("adam", autocommit=False)
    idle.cursor().execute(VOTE, ("ann", "s0-00"))
    assert shop.query(BATCH, role="adam") == [("logged",)]
    shop.query(VOTE, ("ann", "s0-02"), role="adam")
    assert shop.query("SELECT pix.rebuild_arms()") == [(2,)]
    idle.commit()
    assert shop.query("SELECT user_id, sum(likes), sum(votes) FROM pix.arms GROUP BY user_id ORDER BY 1") == [
        ("ann", 2, 2), ("bea", 1, 1),
    ]  # fmt: skip
    derived_agrees(shop)


def test_a_batch_waits_a_while_and_says_for_whom(shop, shorter_waits):
    idle = shop.connect("adam", autocommit=False)
    with idle.cursor() as cursor:
        cursor.execute("SELECT pix.vote('ann', 's0-00', true), pg_backend_pid()")
        pid = cursor.fetchone()[1]
        cursor.execute("SELECT * FROM pix.next_item('ann')")  # counts the vote at once
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(fails_with, shop, "PX063", BATCH, role="adam")
        if not shop.server.is_distributed:
            for number in range(3):
                shop.query(VOTE, (f"user {number}", "s0-00"), role="adam")
        error = batch.result(60)
    assert f"session {pid} of {shop.server.name('adam')}, idle in transaction" in error.diag.message_primary
    assert "pg_terminate_backend" in error.diag.message_hint
    idle.commit()
    assert shop.query(BATCH, role="adam") == [("logged",)]
    derived_agrees(shop)


@pytest.mark.parametrize("held", ["SELECT * FROM pix.next_item('ann')", "SELECT * FROM pix.next_item('zoe')", BATCH])
def test_a_vote_waits_a_while_and_says_for_whom(shop, held, on_one_server, shorter_waits):
    """It waited for an idle session for ever: statement_timeout does not count while a vote is committed."""
    shop.query(VOTE, ("ann", "s0-00"), role="adam")
    idle = shop.connect("adam", autocommit=False)
    with idle.cursor() as cursor:
        cursor.execute(held)
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    user = "zoe" if "zoe" in held else "ann"
    error = fails_with(shop, "PX063", VOTE, (user, "s0-02"), role="adam")
    assert f"session {pid} of {shop.server.name('adam')}, idle in transaction" in error.diag.message_primary
    idle.commit()
    assert shop.value("SELECT count(*) FROM pix.interactions WHERE item_id = 's0-02'") == 0
    shop.query(VOTE, (user, "s0-02"), role="adam")
    derived_agrees(shop)


def test_a_vote_waits_for_who_works(shop, on_one_server, shorter_waits):
    """However long a batch takes, votes are counted after it."""
    batch = shop.connect("adam", autocommit=False)
    with batch.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute(BATCH)
        voting = pool.submit(shop.query, VOTE, ("ann", "s0-02"), role="adam")
        cursor.execute("SELECT pg_sleep(2.5)")  # as a large batch would
        assert not voting.done()
        batch.commit()
        voting.result(30)
    derived_agrees(shop)


def test_votes_of_several_users_in_any_order_do_not_deadlock(shop):
    """Two transactions, two users in opposite orders: 39 of 185 ended in a deadlock."""
    start = threading.Barrier(2)

    def vote(names: tuple[str, str]) -> None:
        connection = shop.connect("adam", autocommit=False)
        for number in range(25):
            start.wait(30)
            with connection.cursor() as cursor:
                for name in names:
                    cursor.execute(VOTE, (f"{name} {number // 2}", f"s{number % 3}-0{number % 6}"))
            connection.commit()

    with ThreadPoolExecutor(2) as pool:
        for voting in [pool.submit(vote, names) for names in (("ann", "bob"), ("bob", "ann"))]:
            voting.result(120)
    assert shop.value("SELECT count(*) FROM pix.interactions") == 100
    derived_agrees(shop)


def test_many_opinions_of_one_item_in_one_transaction(shop):
    """Each vote is counted against what was thought before it, whatever the transaction has logged since."""
    shop.query("SELECT pix.vote('ann', 's0-00', signal => 'view')", role="adam")
    connection = shop.connect("adam", autocommit=False)
    with connection.cursor() as cursor:
        for liked in (True, False, True):
            cursor.execute("SELECT pix.vote('ann', 's0-00', %s)", (liked,))
        cursor.execute("SAVEPOINT before; SELECT pix.vote('ann', 's1-00', true); ROLLBACK TO before")
        cursor.execute("SELECT pix.undo_vote('ann', 's0-00')")
        cursor.execute("SAVEPOINT again; SELECT pix.vote('ann', 's0-00', false); RELEASE again")
        shop.query(
            "SELECT pix.vote('ann', 's0-00', signal => 'click')", role="adam"
        ) if not shop.server.is_distributed else None
    connection.commit()
    derived_agrees(shop)
    assert shop.query("SELECT likes, dislikes, votes FROM pix.arms WHERE votes > 0") == [(pytest.approx(0), 1, 1)]


def test_a_vote_counts_for_the_suggestion_of_the_same_transaction(shop):
    connection = shop.connect("adam", autocommit=False)
    with connection.cursor() as cursor:
        for number in range(4):
            cursor.execute(VOTE, ("ann", f"s1-0{number}"))
        cursor.execute("SELECT cluster, propensity FROM pix.next_item('ann', 'posterior_mean')")
        ((cluster, propensity),) = cursor.fetchall()
    connection.commit()
    assert propensity == pytest.approx((5 / 6 if cluster == 1 else 1 / 2) / (5 / 6 + 1 / 2 + 1 / 2))
    derived_agrees(shop)
