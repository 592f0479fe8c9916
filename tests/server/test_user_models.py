"""One model per user: trained, kept up with votes, and refused when it is out of date."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.fixtures.catalogue import THEIR_VOTES, VOTERS, voted
from tests.helpers import fails_with, model_state, recommended, refuses, vote

ALGORITHMS = (
    "sgd_hinge", "sgd_log", "logistic", "svm", "naive_bayes", "random_forest", "xgboost", "nearest", "centroid",
    "one_class", "ensemble",
)  # fmt: skip


def test_every_algorithm_learns_a_taste(voters):
    shown = [f"c{number:04}" for number in range(2000) if number % 40 < 8]
    for algorithm in ALGORITHMS:
        ((name, votes, auc, calibrated),) = voters.ask(
            "SELECT algorithm, likes + dislikes, auc, is_calibrated FROM pix.train_user_model('u0', %s)", (algorithm,),
            role="adam",
        )  # fmt: skip
        assert (name, votes, calibrated) == (algorithm, THEIR_VOTES, True)
        assert algorithm == "one_class" or auc > 0.65, algorithm
        page = voters.ask(
            "SELECT item_id, score, algorithm FROM pix.recommend('u0', 5, %s, "
            "filter => pix.items_where(only_ids => %s)) ORDER BY rank",
            (algorithm, shown), role="adam",
        )  # fmt: skip
        assert [row[2] for row in page] == [algorithm] * 5
        assert sum(voted(0, int(item[1:])) for item, _, _ in page) >= 4, algorithm
        assert [row[1] for row in page] == sorted((row[1] for row in page), reverse=True)


def test_nobody_has_to_train(voters):
    page = recommended(voters, "u0")
    assert {row[2] for row in page} == {"logistic"}
    assert voters.ask("SELECT count(*) FROM pix.user_models") == [(1,)]
    before = model_state(voters, "u0", "logistic")
    assert recommended(voters, "u0") == page
    assert model_state(voters, "u0", "logistic") == before


@pytest.mark.parametrize("algorithm", ["sgd_log", "sgd_hinge", "centroid", "naive_bayes", "nearest"])
def test_new_votes_are_folded_in_once(voters, algorithm):
    recommended(voters, "u1", algorithm)
    begun = model_state(voters, "u1", algorithm)
    for number in range(3):
        vote(voters, "u1", f"c{1900 + number:04}", voted(1, 1900 + number))
        recommended(voters, "u1", algorithm)
        now = model_state(voters, "u1", algorithm)
        assert now["since_training"] == number + 1
        assert now["likes"] + now["dislikes"] == THEIR_VOTES + number + 1
        assert now["trained_at"] == begun["trained_at"]
        assert now["content"] != begun["content"]
        recommended(voters, "u1", algorithm)
        assert model_state(voters, "u1", algorithm) == now
    if algorithm.startswith("sgd"):
        assert now["described"]["steps"] == begun["described"]["steps"] + 3
    # Ten votes after the training comes the next one.
    for number in range(3, 10):
        vote(voters, "u1", f"c{1900 + number:04}", voted(1, 1900 + number))
    recommended(voters, "u1", algorithm)
    now = model_state(voters, "u1", algorithm)
    assert now["since_training"] == 0
    assert now["trained_at"] > begun["trained_at"]
    voters.ask("SELECT pix.train_user_model('u1', %s)", (algorithm,), role="adam")
    assert model_state(voters, "u1", algorithm)["content"] == now["content"]


@pytest.mark.parametrize("algorithm", ["sgd_log", "logistic", "centroid"])
def test_what_is_taken_back_is_unlearned(voters, algorithm):
    """Also what is changed: the model is the one of the opinions that there are."""
    recommended(voters, "u2", algorithm)
    begun = model_state(voters, "u2", algorithm)
    vote(voters, "u2", "c1950", True)
    recommended(voters, "u2", algorithm)
    assert model_state(voters, "u2", algorithm)["content"] != begun["content"]
    assert voters.ask("SELECT pix.undo_vote('u2', 'c1950')", role="adam") == [(True,)]
    recommended(voters, "u2", algorithm)
    now = model_state(voters, "u2", algorithm)
    assert now["content"] == begun["content"]
    assert now["votes_hash"] == begun["votes_hash"]
    ((item,),) = voters.ask("SELECT min(item_id) FROM pix.opinions WHERE user_id = 'u2' AND value > 0")
    vote(voters, "u2", item, False)
    recommended(voters, "u2", algorithm)
    changed = model_state(voters, "u2", algorithm)
    assert (changed["likes"], changed["dislikes"]) == (begun["likes"] - 1, begun["dislikes"] + 1)


def test_slow_algorithms_wait_for_ten_votes(voters):
    recommended(voters, "u3", "random_forest")
    begun = model_state(voters, "u3", "random_forest")
    for number in range(10):
        assert model_state(voters, "u3", "random_forest") == begun
        vote(voters, "u3", f"c{1900 + number:04}", voted(3, 1900 + number))
        recommended(voters, "u3", "random_forest")
    now = model_state(voters, "u3", "random_forest")
    assert now["likes"] + now["dislikes"] == THEIR_VOTES + 10


@pytest.mark.sessions
def test_many_who_ask_at_once_fold_a_vote_in_once(voters):
    recommended(voters, "u4", "sgd_log")
    begun = model_state(voters, "u4", "sgd_log")
    vote(voters, "u4", "c1999", True)
    with ThreadPoolExecutor(4) as pool:
        pages = list(
            pool.map(
                lambda _: voters.query("SELECT item_id FROM pix.recommend('u4', 5, 'sgd_log')", role="adam"), range(4)
            )
        )
    assert all(page == pages[0] for page in pages)
    now = model_state(voters, "u4", "sgd_log")
    assert now["described"]["steps"] == begun["described"]["steps"] + 1


@pytest.mark.slow
def test_a_process_that_is_killed_has_folded_in_all_or_nothing(voters, same_host):
    """The vote is seen by the next who asks, once: a backend is killed between its update and its commit."""
    recommended(voters, "u5", "sgd_log")
    begun = model_state(voters, "u5", "sgd_log")
    vote(voters, "u5", "c1999", True)
    doomed = voters.connect("adam", autocommit=False)
    with doomed.cursor() as cursor:
        cursor.execute("SELECT item_id FROM pix.recommend('u5', 5, 'sgd_log')")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(psycopg2.Error):  # the server ends all sessions
        voters.ask("SELECT pg_sleep(60)")
    voters.server.wait_for_recovery(pid)
    voters.forget_sessions()
    assert model_state(voters, "u5", "sgd_log") == begun
    recommended(voters, "u5", "sgd_log")
    now = model_state(voters, "u5", "sgd_log")
    assert now["described"]["steps"] == begun["described"]["steps"] + 1
    recommended(voters, "u5", "sgd_log")
    assert model_state(voters, "u5", "sgd_log") == now


class TestAlgorithmRules:
    """Which model somebody gets."""

    def choice(self, db, user: str) -> str:
        ((algorithm,),) = db.ask("SELECT DISTINCT algorithm FROM pix.recommend(%s, 3)", (user,), role="adam")
        return algorithm

    def test_without_votes(self, voters):
        assert self.choice(voters, "nobody yet") == "typical"
        assert voters.ask("SELECT count(*) FROM pix.users WHERE user_id = 'nobody yet'") == [(0,)]
        voters.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 4)")
        ((reason,),) = voters.ask("SELECT DISTINCT reason FROM pix.recommend('new', 3)", role="adam")
        assert reason == "near clusters that users like on the whole"
        voters.ask("SELECT pix.fit_common_taste()")
        assert self.choice(voters, "new") == "pooled"

    def test_by_votes(self, voters):
        vote(voters, "eve", "c0001", True)
        assert self.choice(voters, "eve") == "nearest"
        for number in (2, 3):
            vote(voters, "eve", f"c000{number}", True)
        assert self.choice(voters, "eve") == "one_class"
        for number in range(142):
            vote(voters, "pat", f"c{200 + number:04}", False)
        assert self.choice(voters, "pat") == "nearest"
        ((reason,),) = voters.ask("SELECT DISTINCT reason FROM pix.recommend('pat', 3)", role="adam")
        assert reason == "unlike what pat disliked"
        for number in range(4):
            vote(voters, "pat", f"c{400 + number:04}", True)
        assert self.choice(voters, "pat") == "nearest"  # 4 likes against 142 dislikes
        vote(voters, "pat", "c0404", True)
        assert self.choice(voters, "pat") == "logistic"
        voters.ask("SELECT pix.fit_common_taste()")
        assert self.choice(voters, "pat") == self.choice(voters, "eve") == "hierarchical"

    def test_the_table_decides(self, voters):
        voters.ask(
            "INSERT INTO pix.algorithm_rules (priority, algorithm, min_fraction, reason) "
            "VALUES (1, 'svm', 0.3, 'a test')"
        )
        assert self.choice(voters, "u0") == "svm"
        voters.ask("UPDATE pix.algorithm_rules SET max_fraction = 0.31 WHERE priority = 1")
        assert self.choice(voters, "u0") == "logistic"
        voters.ask("UPDATE pix.algorithm_rules SET algorithm = 'magic', max_fraction = NULL WHERE priority = 1")
        refuses(voters, "PX003", "SELECT * FROM pix.train_user_model('u0')", "'magic'")
        # What cannot be trained on the votes that there are is passed over.
        voters.ask(
            "UPDATE pix.algorithm_rules SET algorithm = 'svm', min_fraction = NULL, max_fraction = NULL "
            "WHERE priority = 1"
        )
        vote(voters, "eve", "c0001", True)
        assert self.choice(voters, "eve") == "nearest"
        assert voters.pix("users", "rules", role="rita").stdout.count("nearest") == 2


def test_nobody_opens_models_but_the_owner(voters):
    """A damaged model could take the server along: users hand none over."""
    recommended(voters, "u0")
    for role in ("rita", "adam", "ada"):
        for call in ("score_vector('x', '{}', '')", "answer('recommendations.recommend', '{}')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                voters.ask(f"SELECT pix_internal.{call}", role=role)


BAD_CALLS = [
    ("SELECT * FROM pix.train_user_model('u0', 'magic')", "PX003", "not 'magic'"),
    ("SELECT * FROM pix.train_user_model('u0', 'svm', 'nope')", "PX020", "'nope'"),
    (
        "SELECT * FROM pix.train_user_model('u0', 'svm', parameters => '{\"c\": 1}')",
        "PX003",
        "no parameter 'c'",
    ),
    ("SELECT * FROM pix.train_user_model('u0', 'svm', parameters => '[1]')", "PX003", "JSON object"),
    ("SELECT * FROM pix.train_user_model('u0', parameters => '{\"C\": 1}')", "PX003", "need the algorithm"),
    ("SELECT * FROM pix.train_user_model('nobody')", "PX138", "'nobody' is not known"),
    ("SELECT * FROM pix.train_user_model(NULL)", "PX003", "user_id"),
    ("SELECT * FROM pix.train_user_model('u0', 'hierarchical')", "PX137", "has not been learned"),
    (
        "SELECT * FROM pix.train_user_model('u0', 'sgd_log', parameters => '{\"dimensions\": [49]}')",
        "PX003",
        "1 to 48",
    ),
    ("SELECT * FROM pix.selected_dimensions('u0')", "PX139", "has no sgd_log model"),
    ("SELECT * FROM pix.explain('nobody', 'c0001')", "PX138", "'nobody'"),
    ("CALL pix.train_user_models('magic')", "PX003", "not 'magic'"),
    ("CALL pix.train_user_models(chunk_size => 0)", "PX003", "chunk_size must be"),
    ("CALL pix.train_user_models(parameters => '{}')", "PX003", "need the algorithm"),
    ("SELECT * FROM pix.fit_common_taste('nope')", "PX020", "'nope'"),
]


class TestWhatGoesWrong:
    def test_features_that_were_imported_again(self, voters):
        recommended(voters, "u0")
        voters.ask("CALL pix.train_user_models('centroid', ARRAY['u1'])")
        voters.ask("UPDATE pix.models SET checksum = repeat('a', 64) WHERE model_name = 'clouds'", role=None)
        voters.ask("UPDATE pix.features SET model_checksum = repeat('a', 64)")
        voters.ask("SELECT pix.pack_features()")
        for statement in ("SELECT * FROM pix.recommend('u0')", "SELECT * FROM pix.explain('u0', 'c0001')"):
            error = fails_with(voters, "PX132", statement)
            assert "'clouds' was imported again since the logistic model of user 'u0' was trained" in str(error)
            assert "pix.train_user_model('u0', 'logistic', 'clouds')" in error.diag.message_hint
        voters.ask("SELECT pix.train_user_model('u0')", role="adam")
        assert len(recommended(voters, "u0")) == 5
        voters.ask("CALL pix.train_user_models('centroid', ARRAY['u1'])")
        assert len(recommended(voters, "u1", "centroid")) == 5

    def test_items_without_features(self, voters):
        voters.ask("INSERT INTO pix.items (item_id) VALUES ('bare')")
        vote(voters, "eve", "bare", True)
        error = fails_with(voters, "PX134", "SELECT * FROM pix.train_user_model('eve')")
        assert "has no votes on items with features" in str(error)
        ((algorithm,),) = voters.ask("SELECT DISTINCT algorithm FROM pix.recommend('eve', 2)", role="adam")
        assert algorithm == "typical"
        # With a vote on another item it is that one which counts; and when the first has features, both do.
        vote(voters, "eve", "c0001", True)
        recommended(voters, "eve", "nearest")
        assert model_state(voters, "eve", "nearest")["likes"] == 1
        voters.ask(
            "INSERT INTO pix.features (item_id, model_name, vector) SELECT 'bare', model_name, vector "
            "FROM pix.features WHERE item_id = 'c0007'"
        )
        assert "bare" not in [row[0] for row in recommended(voters, "eve", "nearest")]
        voters.ask("SELECT pix.pack_features()")
        recommended(voters, "eve", "nearest")
        assert model_state(voters, "eve", "nearest")["likes"] == 2

    def test_an_item_that_looks_different_now(self, voters):
        recommended(voters, "u0")
        begun = model_state(voters, "u0", "logistic")
        ((item,),) = voters.ask("SELECT min(item_id) FROM pix.opinions WHERE user_id = 'u0'")
        voters.ask(
            "UPDATE pix.features f SET vector = o.vector FROM pix.features o "
            "WHERE f.item_id = %s AND o.item_id = 'c0002'",
            (item,),
        )
        voters.ask("SELECT pix.pack_features()")
        recommended(voters, "u0")
        now = model_state(voters, "u0", "logistic")
        assert now["likes"] + now["dislikes"] == THEIR_VOTES
        assert now["content"] != begun["content"]

    def test_numbers_that_are_not_finite_do_not_get_in(self, voters):
        vote(voters, "eve", "c0001", True)
        vote(voters, "eve", "c0002", False)
        voters.ask("UPDATE pix.features SET vector = decode(repeat('0000c07f', 48), 'hex') WHERE item_id = 'c0001'")
        assert "'c0001' hold a number that is not finite" in str(
            fails_with(voters, "PX030", "SELECT pix.pack_features()")
        )
        recommended(voters, "eve", "nearest")
        assert (model_state(voters, "eve", "nearest")["likes"], model_state(voters, "eve", "nearest")["dislikes"]) == (
            0,
            1,
        )
        voters.ask("CALL pix.train_user_models('centroid')")
        assert voters.value("SELECT count(*) FROM pix.user_models WHERE algorithm = 'centroid'") == VOTERS + 1

    def test_contradicting_votes_on_one_item(self, voters):
        for liked in (True, False, True, False):
            vote(voters, "eve", "c0001", liked)
        vote(voters, "eve", "c0002", True)
        recommended(voters, "eve", "nearest")
        assert (model_state(voters, "eve", "nearest")["likes"], model_state(voters, "eve", "nearest")["dislikes"]) == (
            1,
            1,
        )

    def test_damaged_models_are_told_of(self, voters):
        recommended(voters, "u0")
        voters.ask("UPDATE pix.user_models SET content = substr(content, 1, 8)", role=None)
        error = fails_with(voters, "PX131", "SELECT * FROM pix.recommend('u0')")
        assert "train_user_model" in error.diag.message_hint
        voters.ask("SELECT pix.train_user_model('u0')", role="adam")
        assert len(recommended(voters, "u0")) == 5

    @pytest.mark.parametrize(("call", "sqlstate", "message"), BAD_CALLS, ids=[call for call, *_ in BAD_CALLS])
    def test_bad_calls(self, shared, with_voters, call, sqlstate, message):
        voters = shared(with_voters)
        error = fails_with(voters, sqlstate, call)
        assert message in f"{error} {error.diag.message_hint}"
        assert voters.ask("SELECT count(*) FROM pix.user_models") == [(0,)]

    def test_a_model_without_packed_features(self, db):
        db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('none', 4, 'a test')")
        vote_on = "INSERT INTO pix.items (item_id) VALUES ('x')"
        db.ask(vote_on)
        db.ask("SELECT pix.vote('ann', 'x', true)")
        for call in (
            "SELECT * FROM pix.recommend('ann', model_name => 'none')",
            "CALL pix.train_user_models(model_name => 'none')",
        ):
            refuses(db, "PX095", call, "no up-to-date features")

    def test_one_taste_is_none_in_common(self, db, voters):
        voters.ask("DELETE FROM pix.interactions WHERE user_id <> 'u0'")
        refuses(voters, "PX134", "SELECT * FROM pix.fit_common_taste()", "1 users have voted")
        voters.ask("CALL pix.train_user_models()")
        assert voters.ask("SELECT algorithm FROM pix.user_models") == [("logistic",)]


def test_who_may_what(voters):
    refused = psycopg2.errors.InsufficientPrivilege
    for role, statement in (
        ("rita", "SELECT * FROM pix.recommend('u0')"), ("rita", "SELECT * FROM pix.train_user_model('u0')"),
        ("adam", "CALL pix.train_user_models()"), ("adam", "SELECT * FROM pix.fit_common_taste()"),
        ("adam", "CALL pix.recommend_all()"), ("adam", "UPDATE pix.user_models SET likes = 0"),
        ("adam", "UPDATE pix.algorithm_rules SET algorithm = 'svm'"), ("adam", "CALL pix.select_algorithms('x')"),
        ("adam", "SELECT * FROM pix.fit_algorithm_rules('x')"),
        ("adam", "SELECT * FROM pix.evaluate_recommenders('x')"),
        ("nobody", "SELECT * FROM pix.user_models"),
    ):  # fmt: skip
        with pytest.raises(refused):
            voters.ask(statement, role=role)


def test_dimensions_that_a_model_looks_at(voters):
    voters.ask("SELECT pix.train_user_model('u0', 'sgd_log')", role="adam")
    rows = voters.ask("SELECT dimension, weight FROM pix.selected_dimensions('u0')", role="rita")
    chosen = [dimension for dimension, _ in rows]
    assert 0 < len(chosen) < 48
    assert all(1 <= dimension <= 48 for dimension in chosen)
    sizes = [abs(weight) for _, weight in rows]
    assert sizes == sorted(sizes, reverse=True)
    # They are good for clusters, and for another training.
    voters.ask("SELECT pix.fit_clusters('chosen', 'clouds', k => 4, dimensions => %s)", (chosen,))
    parameters = json.dumps({"dimensions": chosen[:2], "alpha": 0.01})
    voters.ask("SELECT pix.train_user_model('u0', 'sgd_log', parameters => %s)", (parameters,), role="adam")
    again = {
        dimension for (dimension,) in voters.ask("SELECT dimension FROM pix.selected_dimensions('u0')", role="rita")
    }
    assert again <= set(chosen[:2])


def test_users_whose_votes_contradict_their_model(voters):
    voters.ask("CALL pix.train_user_models('logistic')")
    ((item,),) = voters.ask("SELECT min(item_id) FROM pix.opinions WHERE user_id = 'u0' AND value > 0")
    assert item not in voters.value("SELECT contradictions FROM pix.user_models WHERE user_id = 'u0'")
    vote(voters, "u0", item, False)
    voters.ask("CALL pix.train_user_models('logistic')")
    ((fraction, items),) = voters.ask(
        "SELECT contradiction_fraction, contradictions FROM pix.user_anomalies WHERE user_id = 'u0'", role="rita"
    )
    assert item in items
    assert fraction == pytest.approx(len(items) / THEIR_VOTES)
