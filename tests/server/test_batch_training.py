"""Training the models of all users, stopped and met by others."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.fixtures.catalogue import THEIR_VOTES, VOTERS
from tests.helpers import SOMEBODY_WAITS, model_state, recommended, vote


class TestTrainingAll:
    def test_all_users(self, voters):
        voters.ask("CALL pix.train_user_models()")
        rows = voters.ask("SELECT algorithm, count(*), min(likes + dislikes) FROM pix.user_models GROUP BY 1")
        assert rows == [("hierarchical", VOTERS, THEIR_VOTES)]
        assert voters.ask("SELECT users, votes FROM pix.common_taste") == [(VOTERS, VOTERS * THEIR_VOTES)]
        assert voters.ask("SELECT count(*) FROM pix.user_model_failures") == [(0,)]
        # Nothing is done twice, and what was trained together is what is trained alone.
        before = voters.ask("SELECT user_id, trained_at, content FROM pix.user_models ORDER BY 1")
        voters.ask("CALL pix.train_user_models()")
        assert voters.ask("SELECT user_id, trained_at, content FROM pix.user_models ORDER BY 1") == before
        for user, _, content in before[:2]:
            voters.ask("SELECT pix.train_user_model(%s, 'hierarchical')", (user,), role="adam")
            assert model_state(voters, user, "hierarchical")["content"] == bytes(content)
        vote(voters, "u1", "c1990", True)
        voters.ask("CALL pix.train_user_models('hierarchical', ARRAY['u1'])")
        assert model_state(voters, "u1", "hierarchical")["likes"] == voters.value(
            "SELECT count(*) FROM pix.opinions WHERE user_id = 'u1' AND value > 0"
        )

    @pytest.mark.parametrize("algorithm", ["sgd_log", "svm"])
    def test_together_as_alone(self, voters, algorithm):
        voters.ask("CALL pix.train_user_models(%s, chunk_size => 3)", (algorithm,))
        assert voters.value("SELECT count(*) FROM pix.user_models WHERE algorithm = %s", (algorithm,)) == VOTERS
        together = model_state(voters, "u7", algorithm)
        voters.ask("SELECT pix.train_user_model('u7', %s)", (algorithm,), role="adam")
        alone = model_state(voters, "u7", algorithm)
        assert alone["content"] == together["content"]
        assert alone["votes_hash"] == together["votes_hash"]

    def test_one_bad_user_stops_nobody(self, voters):
        vote(voters, "one", "c0001", True)
        voters.ask("CALL pix.train_user_models('svm')")
        assert voters.value("SELECT count(*) FROM pix.user_models") == VOTERS
        failures = "SELECT user_id, algorithm, sqlstate, reason FROM pix.user_model_failures"
        assert voters.ask(failures) == [("one", "svm", "PX134", "svm needs likes and dislikes")]
        vote(voters, "one", "c0002", False)
        voters.ask("CALL pix.train_user_models('svm', ARRAY['one', 'who?'])")
        assert voters.ask(failures) == [("who?", "svm", "PX138", "The user is not known")]
        assert model_state(voters, "one", "svm")["likes"] == 1

    def test_parameters(self, voters):
        voters.ask("CALL pix.train_user_models('logistic', parameters => '{\"C\": 0.01}')")
        assert voters.ask("SELECT DISTINCT parameters ->> 'C' FROM pix.user_models") == [("0.01",)]
        weak = model_state(voters, "u0", "logistic")
        recommended(voters, "u0", "logistic")  # they stay
        assert model_state(voters, "u0", "logistic") == weak
        voters.ask("CALL pix.train_user_models('logistic')")
        assert voters.ask("SELECT DISTINCT parameters ->> 'C' FROM pix.user_models") == [("1.0",)]

    def test_by_command(self, voters):
        output = voters.pix("users", "train").stdout
        assert f"{VOTERS} models: hierarchical, AUC on votes they had not seen " in output
        assert voters.pix("users", "train").stdout == "All models have seen all votes.\n"
        one = voters.pix("users", "train", "u1", "--algorithm", "sgd_log", "--parameters", '{"alpha": 0.05}').stdout
        assert one.startswith("1 models: sgd_log")
        for values, why in (("{", "must be JSON"), ("[]", "must be a JSON object"), ('{"c": 1}', "no parameter 'c'")):
            failed = voters.pix("users", "train", "--algorithm", "svm", "--parameters", values, check=False)
            assert failed.returncode == 1
            assert why in failed.stderr
        assert voters.pix("users", "dimensions", "u1", role="rita").stdout.count("\n") > 1


@pytest.mark.sessions
def test_stopped_and_called_again(voters, until):
    """Whoever is canceled has committed what was done."""
    running = voters.connect()
    with running.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(running.cursor().execute, "CALL pix.train_user_models('random_forest', chunk_size => 1)")
        until(voters, "SELECT count(*) >= 2 FROM pix.user_models")
        voters.ask("SELECT pg_terminate_backend(%s)", (pid,), role=None)
        with pytest.raises(psycopg2.Error):
            work.result()
    done = dict(voters.ask("SELECT user_id, trained_at FROM pix.user_models"))
    assert 2 <= len(done) < VOTERS
    voters.ask("CALL pix.train_user_models('random_forest')")
    after = dict(voters.ask("SELECT user_id, trained_at FROM pix.user_models"))
    assert len(after) == VOTERS
    assert {user: after[user] for user in done} == done


@pytest.mark.sessions
def test_a_batch_that_comes_between_is_not_overwritten(voters, until):
    """A model is asked for while a batch has just given it other parameters: it is folded in there, or not at all."""
    recommended(voters, "u8", "sgd_log")
    vote(voters, "u8", "c1999", True)
    holder = voters.connect(None, autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("SELECT FROM pix.user_models WHERE user_id = 'u8' FOR UPDATE")
    with ThreadPoolExecutor(1) as pool:
        values = '{"dimensions": [1, 2, 3], "alpha": 0.01}'
        batch = pool.submit(voters.query, "CALL pix.train_user_models('sgd_log', '{u8}', parameters => %s)", (values,))
        until(voters, SOMEBODY_WAITS)
        assert len(voters.ask("SELECT * FROM pix.recommend('u8', 3, 'sgd_log')", role="adam")) == 3
        holder.rollback()
        batch.result()
    dimensions = voters.ask("SELECT dimension FROM pix.selected_dimensions('u8')", role="rita")
    assert {dimension for (dimension,) in dimensions} <= {1, 2, 3}
    assert voters.value("SELECT parameters ->> 'dimensions' FROM pix.user_models WHERE user_id = 'u8'") == "[1, 2, 3]"


def test_blocks_that_are_packed_anew_while_somebody_votes(voters):
    page = recommended(voters, "u6")
    voter = voters.connect("adam", autocommit=False)
    with voter.cursor() as cursor:
        cursor.execute("SELECT pix.vote('u6', 'c1999', true)")
    voters.ask("DELETE FROM pix.features WHERE item_id = ANY (%s)", ([row[0] for row in page],))
    voters.ask("SELECT pix.pack_features()")
    for committed in (False, True):
        if committed:
            voter.commit()
        queried = voters.ask("SELECT item_id FROM pix.recommend('u6', 5)", role="adam")
        assert not {item for (item,) in queried} & {row[0] for row in page}
