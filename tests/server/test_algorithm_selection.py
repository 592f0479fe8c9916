"""Comparing algorithms, what is learned of it, and how recommendations would have done."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.fixtures.catalogue import VOTERS
from tests.helpers import fails_with, refuses

CALL = (
    "CALL pix.select_algorithms('first', sizes => '{10,20}', balance => '{none,class_weight}', "
    "algorithms => '{logistic,svm,nearest}', repeats => 2, chunk_size => %s)"
)
RESULTS = (
    "SELECT user_id, size, repeat, balance, algorithm, test_auc, cv_auc, parameters, reason "
    "FROM pix.algorithm_selection_results ORDER BY 1, 2, 3, 4, 5"
)


RULES = (
    "SELECT priority, algorithm, min_votes, max_votes, min_fraction, max_fraction, reason "
    "FROM pix.fit_algorithm_rules('first', 2)"
)


@pytest.fixture(scope="session")
def with_selection(stage, with_voters) -> str:
    return stage("selected", with_voters, lambda db: db.query(CALL, (100,)))


@pytest.fixture
def selected(clone, with_selection):
    """The voters, and a run `first` of a comparison of algorithms."""
    return clone(with_selection)


def test_results(selected):
    rows = selected.ask(RESULTS, role="rita")
    assert len(rows) == VOTERS * 2 * 2 * 2 * 3
    for _, size, _, balance, algorithm, test_auc, cv_auc, parameters, reason in rows:
        if (algorithm, balance) == ("nearest", "class_weight"):
            assert (test_auc, reason) == (None, "nearest has no class weights")
        elif reason is None:
            assert 0 <= test_auc <= 1
            assert 0 <= cv_auc <= 1
            if algorithm != "nearest":
                assert parameters["class_weight"] == ("balanced" if balance == "class_weight" else None)
        else:
            assert size == 10
    ranking = selected.ask(
        "SELECT size, rank, algorithm, users, mean_auc, low, high, gap FROM pix.algorithm_ranking "
        "WHERE run = 'first' AND users > 0 ORDER BY size, rank", role="rita",
    )  # fmt: skip
    assert len(ranking) == 2 * 5
    aucs = [row[4] for row in ranking if row[0] == 20]
    assert aucs == sorted(aucs, reverse=True)
    for _, _, _, users, mean, low, high, _ in ranking:
        assert users <= VOTERS
        assert low <= mean <= high
    best = next(row for row in ranking if row[0] == 20)
    assert best[2] in ("svm", "nearest")  # what users like are four clouds, which no line divides from the rest
    assert abs(best[7]) < 0.1
    assert selected.pix("users", "ranking", "first", role="rita").stdout.count("\n") == 11
    assert "has no results" in selected.pix("users", "ranking", "second", role="rita", check=False).stderr


@pytest.mark.sessions
def test_stopped_and_taken_up(selected, voters, until):
    """Another database, stopped in the middle: in the end there is the same."""
    running = voters.connect()
    with running.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(running.cursor().execute, CALL, (2,))
        until(voters, "SELECT count(DISTINCT (user_id, size, repeat)) >= 4 FROM pix.algorithm_selection_results")
        voters.ask("SELECT pg_terminate_backend(%s)", (pid,), role=None)
        with pytest.raises(psycopg2.Error):
            work.result()
    done = voters.ask(RESULTS)
    assert 0 < len(done) < VOTERS * 24
    assert voters.value("SELECT count(*) FROM pix_internal.algorithm_selection_tasks") == VOTERS * 4 - len(done) // 6
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: voters.query(CALL, (7,)), range(2)))
    assert voters.ask(RESULTS) == selected.ask(RESULTS)
    assert voters.value("SELECT count(*) FROM pix_internal.algorithm_selection_tasks") == 0


def test_another_question_needs_another_name(selected):
    error = fails_with(selected, "PX140", "CALL pix.select_algorithms('first', sizes => '{10}')")
    assert "drop_algorithm_selection('first')" in error.diag.message_hint
    selected.ask("SELECT pix.drop_algorithm_selection('first')")
    refuses(selected, "PX140", "SELECT pix.drop_algorithm_selection('gone')", "'gone'")
    for table in (
        "pix.algorithm_selections",
        "pix.algorithm_selection_results",
        "pix_internal.algorithm_selection_tasks",
    ):
        assert selected.value(f"SELECT count(*) FROM {table}", role=None) == 0
    command = ("users", "select", "first", "--size", 10, "--algorithm", "nearest", "--balance", "none", "--repeats", 1)
    assert "nearest" in selected.pix(*command).stdout


def test_rules_are_learned(selected):
    rows = selected.ask(RULES)
    assert rows
    assert all(1100 < row[0] < 1900 for row in rows)
    assert all("in run first" in row[6] for row in rows)
    assert {(row[2], row[3]) for row in rows} <= {(10, 14), (15, None)}
    ((algorithm,),) = selected.ask("SELECT DISTINCT algorithm FROM pix.recommend('u0', 2)", role="adam")
    ((likes, votes),) = selected.ask(
        "SELECT count(*) FILTER (WHERE value > 0), count(*) FROM pix.opinions WHERE user_id = 'u0'"
    )
    fitting = [
        row[1] for row in rows
        if row[2] <= votes <= (row[3] or votes) and (row[4] or 0) <= likes / votes < (row[5] or 2)
    ]  # fmt: skip
    assert algorithm == fitting[0]
    again = selected.ask(RULES)
    assert again == rows
    shown = selected.pix("users", "rules", "--fit", "first", "--min-users", 2)
    assert f"{len(rows)} rules fitted" in shown.stderr
    assert "15" in shown.stdout
    assert selected.ask("SELECT count(*) FROM pix.fit_algorithm_rules('first', 100)") == [(0,)]


BAD_CALLS = [
    ("CALL pix.select_algorithms(NULL)", "PX003", "run must be a name"),
    ("CALL pix.select_algorithms('x', sizes => '{5}')", "PX003", "from 6 to 1,900"),
    ("CALL pix.select_algorithms('x', sizes => '{}')", "PX003", "6 to 1,900"),
    ("CALL pix.select_algorithms('x', sizes => '{29}')", "PX134", "more votes"),
    ("CALL pix.select_algorithms('x', repeats => 0)", "PX003", "repeats"),
    ("CALL pix.select_algorithms('x', balance => '{heavy}')", "PX003", "'heavy'"),
    ("CALL pix.select_algorithms('x', algorithms => '{hierarchical}')", "PX003", "'hierarchical'"),
    ("CALL pix.select_algorithms('x', algorithms => NULL)", "PX003", "NULL"),
    ("CALL pix.select_algorithms('x', search => 'wild')", "PX003", "'wild'"),
    ("CALL pix.select_algorithms('x', users => '{nobody}', sizes => '{10}')", "PX134", "more votes"),
    ("SELECT * FROM pix.fit_algorithm_rules('x')", "PX140", "Run 'x'"),
    ("SELECT * FROM pix.evaluate_recommenders('x', '{magic}')", "PX003", "'magic'"),
    ("SELECT * FROM pix.evaluate_recommenders('x', '{}')", "PX003", "recommenders must be"),
    ("SELECT * FROM pix.evaluate_recommenders('x', split => 'half')", "PX003", "split"),
    ("SELECT * FROM pix.evaluate_recommenders('x', k => 0)", "PX003", "k must be from 1 to 1,000, not 0"),
    ("SELECT * FROM pix.evaluate_recommenders('x', test_fraction => 1)", "PX003", "test_fraction"),
    ("SELECT * FROM pix.evaluate_recommenders('')", "PX003", "run must be a name"),
]


@pytest.mark.parametrize(("call", "sqlstate", "message"), BAD_CALLS, ids=[call for call, *_ in BAD_CALLS])
def test_bad_calls(shared, with_voters, call, sqlstate, message):
    voters = shared(with_voters)
    error = fails_with(voters, sqlstate, call)
    assert message in f"{error} {error.diag.message_hint}"
    assert voters.ask("SELECT count(*) FROM pix.algorithm_selections") == [(0,)]


class TestEvaluation:
    COLUMNS = "recommender, metric, value, low, high, users"

    @pytest.mark.parametrize("split", ["last", "time"])
    def test_models_beat_chance(self, voters, split):
        voters.ask(
            "UPDATE pix.interactions SET voted_at = voted_at + vote_id % 30 * interval '1 second' - interval '1 day'"
        )
        rows = voters.ask(
            f"SELECT {self.COLUMNS} FROM pix.evaluate_recommenders('first', %s, split => %s, k => 5)",
            (["rules", "nearest", "popularity", "random"], split),
        )
        results = {(name, metric): value for name, metric, value, *_ in rows}
        assert len(rows) == 4 * 5
        assert results["rules", "auc"] > results["random", "auc"] + 0.2
        assert results["nearest", "auc"] > 0.9
        assert results["random", "auc"] == pytest.approx(0.5, abs=0.3)
        assert results["popularity", "coverage"] < results["random", "coverage"]
        assert results["random", "diversity"] > results["nearest", "diversity"]
        for name, metric, value, low, high, users in rows:
            assert 0 <= value <= 1 + 1e-9, (name, metric)
            assert users == VOTERS
            if metric != "coverage":
                assert low <= value <= high
        stored = voters.ask(
            f"SELECT {self.COLUMNS} FROM pix.recommender_evaluations WHERE run = 'first' ORDER BY metric, value DESC",
            role="rita",
        )
        assert sorted(stored, key=str) == sorted(rows, key=str)

    def test_what_is_held_out_is_not_seen(self, voters):
        """The last like is of another kind than all the others: whoever had seen it would rank it first."""
        voters.ask("UPDATE pix.interactions SET voted_at = voted_at - interval '1 hour'")
        voters.ask("SELECT pix.vote('u0', 'c0020', true)", role="adam")
        voters.ask("DELETE FROM pix.interactions WHERE user_id <> 'u0'")
        rows = dict(
            voters.ask(
                "SELECT metric, value FROM pix.evaluate_recommenders('one', '{nearest}') WHERE recommender = 'nearest'"
            )
        )
        assert rows["auc"] < 0.9
        assert rows["precision"] == 0

    def test_nobody_to_ask(self, voters):
        voters.ask("DELETE FROM pix.interactions WHERE value > 0")
        refuses(voters, "PX134", "SELECT * FROM pix.evaluate_recommenders('x')", "Nobody has votes")

    def test_by_command(self, voters):
        output = voters.pix("users", "evaluate", "first", "nearest", "random", "-k", 3).stdout
        assert output.count("nearest") == output.count("random") == 5


def test_items_that_are_like_nothing_else(voters):
    voters.ask("CALL pix.build_neighbor_graph('clouds', 5)")
    voters.ask("INSERT INTO pix.items (item_id, title) VALUES ('odd', 'An anvil')")
    voters.ask(
        "INSERT INTO pix.features (item_id, model_name, vector) VALUES ('odd', 'clouds', pix.from_array(%s))",
        ([float(n % 2 * 9 - n % 5) for n in range(48)],),
    )
    voters.ask("SELECT pix.pack_features()")
    voters.ask("CALL pix.build_neighbor_graph('clouds', 5)")
    ((item, title, deviations, fraction),) = voters.ask(
        "SELECT item_id, title, deviations, fraction_nearer FROM pix.item_anomalies "
        "ORDER BY mean_distance DESC LIMIT 1",
        role="rita",
    )
    assert (item, title, fraction) == ("odd", "An anvil", 1)
    assert deviations > 3
