"""A wish to cancel is heard within two seconds, whatever a library is at."""

import os
import socket
import time
from threading import Thread

import psycopg2
import pytest

from tests.helpers import HANDS_OVER

LONG = {
    "select_algorithms": ["CALL pix.select_algorithms('long', sizes => '{20}', repeats => 50)"],
    "evaluate_recommenders": [
        "SELECT pix.evaluate_recommenders('long', '{xgboost,random_forest,svm,logistic}')",
    ],
    "fit_pca": ["SELECT pix.fit_pca('wide', 1500)"],
    "fit_map": ["SELECT pix.fit_map('long', 'wide')"],
    "fit_clusters": [
        "SELECT pix.fit_clusters('long', 'wide', k => 300, n_init => 100)",
        "SELECT pix.fit_clusters('long', 'wide', 'minibatch_kmeans', k => 300, n_init => 100)",
        "SELECT pix.fit_clusters('long', 'wide', 'gaussian_mixture', k => 200, n_init => 50)",
    ],
    "train_classifier": [
        "SELECT pix.train_classifier('long', 'many', 'wide', folds => 10)",
        "SELECT pix.train_classifier('long', 'many', 'wide', 'lda', folds => 50)",
    ],
    "build_index": [
        """SELECT pix.build_index('long', 'wide', parameters => '{"ef_construction": 2000, "m": 60}')""",
        """SELECT pix.build_index('long', 'wide', 'annoy', parameters => '{"trees": 1000}')""",
    ],
    "simulate": [
        "SELECT pix.simulate('thompson', pix.users_who_like('many', 1000, 5), 100, 'groups')",
    ],
    "train_user_models": [
        """CALL pix.train_user_models('ensemble', parameters => '{"members": ["xgboost", "svm", "random_forest"]}')""",
    ],
    "quantize_model": ["SELECT pix.quantize_model('mini_inception', 'int8', calibrate => 1000)"],
    "extract_features": ["CALL pix.extract_features('mini_inception')"],
    "fit_metadata": ["SELECT pix.fit_metadata('with_words', 'wide', terms => 4096)"],
    "build_neighbor_graph": ["CALL pix.build_neighbor_graph('wide', 900)"],
}
"""Calls that take longer than it is to take to end them, by the function that they are of."""
SHORT = {
    "check_derived": "all of it are statements of the server's own",
    "classify_all": "each vector takes a microsecond, in statements of the server's own",
    "drop_index": "deletes rows", "drop_model": "deletes rows",
    "clustering_quality": "5,000 items",
    "duplicates": "as build_neighbor_graph",
    "explain": "one model, which train_user_model trains, and one item",
    "fit_common_taste": "looks at 2,000 users, and takes a second for them",
    "pack_features": "all of it are statements of the server's own",
    "recommend": "one user, whose model train_user_model trains",
    "recommend_all": "works on 200 users at a time",
    "refresh_clusters": "compares what is new, in the server's statements",
    "refresh_index": "as build_index", "refresh_map": "as fit_map", "refresh_metadata": "as fit_metadata",
    "refresh_priors": "numbers of clusters",
    "selected_dimensions": "looks at one model", "train_user_model": "one model, as train_user_models",
    "vote_batch": "all of it are statements of the server's own",
}  # fmt: skip
"""Why others need not be tried."""
MOST_SECONDS = 2
ASKED_AFTER = 1.5


@pytest.fixture(scope="module")
def with_much(stage, with_voters, boots) -> str:
    image = next((boots / "images").iterdir()).read_bytes()

    def fill(db) -> None:
        db.query("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('wide', 2048, 'a test')", role="ada")
        db.query(
            "INSERT INTO pix.features (item_id, model_name, vector) SELECT f.item_id, 'wide', substr(string_agg("
            "substr(f.vector, 1 + g.n * 7 % 48 * 4) || substr(f.vector, 1, g.n * 7 % 48 * 4), '' ORDER BY g.n"
            "), 1, 8192) FROM pix.features f, generate_series(1, 43) g (n) GROUP BY f.item_id",
        )
        db.query("SELECT pix.pack_features('wide')")
        db.query(
            "INSERT INTO pix.labels (item_id, label_set, label) "
            "SELECT item_id, 'many', 'label ' || substr(item_id, 2)::integer % 40 FROM pix.items"
        )
        db.query("SELECT pix.fit_clusters('groups', 'clouds', k => 40)")
        db.query("INSERT INTO pix.images (item_id, content) SELECT item_id, %s FROM pix.items", (image,))
        db.query(
            "UPDATE pix.items SET title = (SELECT string_agg(md5(item_id || n), ' ') FROM generate_series(1, 400) n)"
        )
        db.query(
            "CREATE FUNCTION public.threads() RETURNS integer LANGUAGE plpython3u "
            "AS 'import threading; return threading.active_count()'; "
            "CREATE FUNCTION public.import_libraries() RETURNS void LANGUAGE plpython3u "
            "AS 'import scipy.stats, sklearn.ensemble, sklearn.manifold, sklearn.mixture, sklearn.svm, xgboost'",
            role=None,
        )

    return stage("much", with_voters, fill)


@pytest.mark.parametrize("call", [call for calls in LONG.values() for call in calls], ids=lambda call: call[:60])
def test_a_wish_to_cancel_is_heard(shared, with_much, call):
    """On 0.7.0 such calls ended when the library was done: after four to thirty seconds.

    No thread is left behind, and no wish for the statements that follow. (An import goes on to its end.)
    """
    with shared(with_much).connect().cursor() as cursor:
        cursor.execute("SELECT public.import_libraries()")
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{ASKED_AFTER}s",))
        begun = time.monotonic()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute(call)
        taken = time.monotonic() - begun
        cursor.execute("SET statement_timeout = 0; SELECT public.threads()")
        assert cursor.fetchone() == (1,)
        cursor.execute("SELECT count(*) FROM pix.nearest('c0001', 3, 'clouds')")
        assert cursor.fetchone() == (3,)
        cursor.execute("SELECT * FROM pix.check_derived() WHERE NOT ok")
        assert cursor.fetchall() == []
    assert taken < ASKED_AFTER + MOST_SECONDS


def test_all_that_compute_in_several_steps_are_tried(db):
    """Whatever hands over to a driver, as the catalogue says."""
    names = db.query(f"SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'pix'::regnamespace AND {HANDS_OVER}")
    assert {name for (name,) in names} == {*LONG, *SHORT}


def test_a_library_that_makes_an_error_of_it(db):
    """As numpy does, where it compares: the statement is canceled, not failed."""
    db.query(
        """
        CREATE FUNCTION public.compare() RETURNS integer LANGUAGE plpython3u AS $$
        from pixelplum.server.canceling import Canceled, in_thread

        def work():
            try:
                while True:
                    pass
            except Canceled:
                raise TypeError("Cannot compare")

        try:
            return in_thread(work)
        except Canceled:
            return None
        $$
        """,
        role=None,
    )
    with pytest.raises(psycopg2.errors.QueryCanceled):
        db.query("SET statement_timeout = '300ms'; SELECT public.compare()", role=None)


def test_an_import_goes_on_to_its_end(db):
    """Half a module would be left, and the session could not import it again."""
    db.query(
        r"""
        CREATE FUNCTION public.import_slowly() RETURNS boolean LANGUAGE plpython3u AS $$
        import sys
        import tempfile
        from pathlib import Path

        from pixelplum.server.canceling import Canceled, in_thread

        with tempfile.TemporaryDirectory() as folder:
            module = "import time\nbegun = time.monotonic()\nwhile time.monotonic() < begun + 1: pass\nis_whole = True"
            Path(folder, "slow_to_import.py").write_text(module)
            sys.path.insert(0, folder)
            try:
                return in_thread(lambda: __import__("slow_to_import").is_whole)
            except Canceled:
                return None
            finally:
                sys.path.remove(folder)
        $$;
        CREATE FUNCTION public.is_whole() RETURNS boolean LANGUAGE plpython3u AS
        $$ import slow_to_import; return slow_to_import.is_whole $$
        """,
        role=None,
    )
    with db.connect(None).cursor() as cursor:
        cursor.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT public.import_slowly()")
        cursor.execute("SELECT public.is_whole()")
        assert cursor.fetchone() == (True,)


@pytest.mark.sessions
@pytest.mark.parametrize("function", ["fit_clusters", "fit_map", "build_index"])
def test_a_fit_ends_whose_client_has_hung_up(clone, with_much, until, function):
    """Nobody would get its result; the server itself looks for that only if it is told to."""
    db = clone(with_much)
    connection = db.connect()
    with connection.cursor() as cursor:
        if db.value("SELECT count(*) FROM pg_settings WHERE name = 'client_connection_check_interval'"):
            cursor.execute("SET client_connection_check_interval = 0")
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
    running = Thread(target=fails_anyhow, args=(connection, LONG[function][0]))
    running.start()
    until(db, f"SELECT EXISTS (SELECT FROM pix.builds WHERE pid = {pid})")
    client = socket.socket(fileno=os.dup(connection.fileno()))
    client.shutdown(socket.SHUT_RDWR)
    until(db, f"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})")
    running.join()
    client.close()
    stored = (
        "SELECT map FROM pix.maps UNION SELECT clustering FROM pix.clusterings UNION SELECT index_name FROM pix.indexes"
    )
    assert db.query(f"{stored} UNION SELECT index_name FROM pix.indexes") == [("groups",)]
    assert db.query("SELECT * FROM pix.check_derived() WHERE NOT ok") == []


def fails_anyhow(connection, call: str) -> None:
    """Run a call that is going to lose its connection."""
    with pytest.raises(psycopg2.Error), connection.cursor() as cursor:
        cursor.execute(call)
