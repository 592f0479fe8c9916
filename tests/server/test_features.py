"""Extraction: the same vectors as core gives, on all cores, resumable, with failures told."""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import psycopg2
import pytest

from pixelplum.core.networks.onnx import Network
from pixelplum.core.search.vectors import from_bytes
from pixload.conversion.onnx_files import read_onnx
from pixload.migration import migrate
from pixload.models import SHIPPED, import_model
from pixload.private_server import PrivateServer
from tests.helpers import PIX, SOMEBODY_WAITS, fails_with
from tests.unit.crafted_images import png
from tests.unit.graphs import tiny_onnx

PROGRESS = "SELECT images, extracted, failed, stale, pending FROM pix.extraction_progress"


@pytest.fixture
def third_chunk(loaded, barrier):
    """Holds up an extraction in chunks of ten when it writes the third."""
    in_the_way = loaded.value("SELECT item_id FROM pix.images ORDER BY item_id OFFSET 25 LIMIT 1")
    return barrier(loaded, "pix.features", in_the_way)


def test_embed_is_what_core_computes(loaded, boots):
    path = next((boots / "images").iterdir())
    network = Network(SHIPPED["mini_inception"])
    expected = network.embed(path.read_bytes())
    for sql in ("pix.embed(content, 'mini_inception')", "pix.embed(content)"):
        got = loaded.value(f"SELECT {sql} FROM pix.images WHERE item_id = %s", (path.stem,), role="rita")
        np.testing.assert_array_equal(from_bytes(bytes(got)), expected)
    numbers = loaded.value("SELECT pix.to_array(pix.embed(content)) FROM pix.images WHERE item_id = %s", (path.stem,))
    np.testing.assert_allclose(numbers, expected, rtol=1e-6)


def test_all_images_are_extracted_once(loaded):
    assert loaded.ask(PROGRESS) == [(60, 0, 0, 0, 60)]
    loaded.ask("CALL pix.extract_features(chunk_size => 7)")
    assert loaded.ask(PROGRESS) == [(60, 60, 0, 0, 0)]
    assert loaded.value("SELECT images_per_second > 0 FROM pix.extraction_progress")
    first = loaded.ask("SELECT item_id, vector, extracted_at FROM pix.features ORDER BY 1")
    assert loaded.value(
        "SELECT bool_and(f.vector = pix.embed(i.content)) FROM pix.features f JOIN pix.images i USING (item_id)"
    )
    loaded.ask("CALL pix.extract_features()")
    assert [
        tuple(map(str, row)) for row in loaded.ask("SELECT item_id, extracted_at FROM pix.features ORDER BY 1")
    ] == [(item_id, str(moment)) for item_id, _, moment in first]


def test_command(loaded):
    result = loaded.pix("extract", "--model", "mini_inception", "--chunk-size", 25)
    assert result.stdout.startswith("60 extracted, 0 failed, 0 pending, ")
    assert "images/s" in result.stdout
    unknown = loaded.pix("extract", "--model", "nope", check=False)
    assert unknown.returncode == 1
    assert "'nope' is not known [PX020]" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_work_is_shared_by_parallel_workers(loaded, parallel_workers):
    """The processes that ran networks are seen by the files that they restore into an empty cache."""
    connection = loaded.connect("rita")
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) SELECT pix.embed(content) FROM pix.images")
        plan = cursor.fetchone()[0][0]["Plan"]
    assert plan["Node Type"] == "Gather"
    assert plan["Workers Launched"] >= 1
    assert plan["Plans"][0]["Parallel Aware"]


def test_chunk_statement_is_parallel(loaded, parallel_workers):
    """The plan that extract_features makes for a chunk, as the server logs it."""
    connection = loaded.connect()
    messages = connection.notices
    owner = psycopg2.connect(loaded.dsn())
    owner.autocommit = True
    with owner.cursor() as cursor:
        cursor.execute(
            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
            "SET auto_explain.log_analyze = on; SET client_min_messages = log"
        )
        cursor.execute("CALL pix.extract_features()")
    owner.close()
    plans = [text for text in owner.notices if "CREATE TEMP TABLE pix_chunk" in text]
    assert len(plans) == 1
    assert "Parallel Seq Scan on images" in plans[0]
    assert "Workers Launched: 0" not in plans[0]
    assert messages == []


@pytest.fixture
def cached_file(loaded, same_host) -> Path:
    """The server's file of the model."""
    folder = loaded.value("SELECT split_part(found, ',', 1) FROM pix.doctor() WHERE \"check\" = 'cache' LIMIT 1")
    return Path(folder) / f"{loaded.value('SELECT checksum FROM pix.models')}.network"


def test_lost_model_is_restored_by_whoever_needs_it(loaded, cached_file):
    """By parallel workers, or on segments, or in the only backend there is."""
    loaded.ask("SELECT pix.warm_up()")
    whole = cached_file.read_bytes()
    cached_file.unlink()
    connection = loaded.connect("rita")
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off")
        cursor.execute("SELECT count(pix.embed(content)) FROM pix.images")
        assert cursor.fetchone() == (60,)
    assert cached_file.read_bytes() == whole
    assert not list(cached_file.parent.glob(f"{cached_file.stem}.[0-9]*"))


def test_damaged_cache_file_is_restored(loaded, cached_file):
    loaded.ask("SELECT pix.warm_up()")
    cached_file.write_bytes(cached_file.read_bytes()[:1000])
    assert loaded.value("SELECT pix.warm_up()", role="rita") is True
    assert loaded.value("SELECT pix.warm_up()", role="rita") is False
    assert loaded.value("SELECT count(pix.embed(content)) FROM pix.images") == 60


def test_bad_images_are_told_and_do_not_stop_the_others(loaded):
    loaded.ask("INSERT INTO pix.images (item_id, content) VALUES ('a_page', '<html></html>'), ('z_empty', '')")
    loaded.ask("CALL pix.extract_features(chunk_size => 10)")
    assert loaded.ask(PROGRESS) == [(62, 60, 2, 0, 0)]
    failures = dict(loaded.ask("SELECT item_id, reason FROM pix.extraction_failures", role="rita"))
    assert failures.keys() == {"a_page", "z_empty"}
    assert "empty" in failures["z_empty"]


def test_failures_are_retried_on_request_and_after_a_change(loaded, boots):
    good = next((boots / "images").iterdir()).read_bytes()
    loaded.ask("INSERT INTO pix.images (item_id, content) VALUES ('bad', '<html></html>')")
    loaded.ask("CALL pix.extract_features()")
    first = loaded.value("SELECT failed_at FROM pix.extraction_failures")
    loaded.ask("CALL pix.extract_features()")
    assert loaded.value("SELECT failed_at FROM pix.extraction_failures") == first
    loaded.ask("CALL pix.extract_features(retry_failed => true)")
    assert loaded.value("SELECT failed_at FROM pix.extraction_failures") > first
    loaded.ask("UPDATE pix.images SET content = %s WHERE item_id = 'bad'", (psycopg2.Binary(good),))
    assert loaded.ask(PROGRESS) == [(61, 60, 0, 0, 1)]
    loaded.ask("CALL pix.extract_features()")
    assert loaded.ask(PROGRESS) == [(61, 61, 0, 0, 0)]
    assert loaded.value("SELECT count(*) FROM pix.extraction_failures") == 0


def test_image_that_turns_bad_loses_its_old_features(extracted):
    item_id = extracted.value("SELECT min(item_id) FROM pix.images")
    extracted.ask("UPDATE pix.images SET content = 'no image' WHERE item_id = %s", (item_id,))
    extracted.ask("CALL pix.extract_features()")
    assert extracted.ask(PROGRESS) == [(60, 59, 1, 0, 0)]
    assert extracted.value("SELECT count(*) FROM pix.features WHERE item_id = %s", (item_id,)) == 0


def test_deleted_image_leaves_no_features(extracted):
    item_id = extracted.value(
        "DELETE FROM pix.images WHERE item_id = (SELECT min(item_id) FROM pix.images) RETURNING 1"
    )
    assert item_id == 1
    extracted.ask("CALL pix.extract_features()")
    assert extracted.value("SELECT count(*) FROM pix.features") == 59


@pytest.mark.parametrize("which", ["the backend", "who writes"])
@pytest.mark.sessions
def test_killed_process_loses_one_chunk_at_most(loaded, third_chunk, server, which):
    """On a cluster, the one is the coordinator's, the other a segment's."""
    with ThreadPoolExecutor(1) as pool:
        extraction = pool.submit(lambda: loaded.pix("extract", "--chunk-size", 10, check=False))
        pid = third_chunk.wait()
        if which == "the backend":
            pid = loaded.value("SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL pix.ext%%' AND datname = %s",
                               (loaded.name,), role=None)  # fmt: skip
        os.kill(pid, signal.SIGKILL)
        third_chunk.release()
        result = extraction.result()
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    server.wait_for_recovery(pid)
    assert loaded.ask(PROGRESS) == [(60, 20, 0, 0, 40)]
    assert loaded.pix("extract").stdout.startswith("60 extracted, 0 failed, 0 pending")


def test_killed_server_loses_one_chunk_at_most(boots, until):
    with tempfile.TemporaryDirectory() as home:
        private_server = PrivateServer(Path(home))
        pix = [Path(sys.executable).parent / "pix", "--home", home]
        environment = {name: value for name, value in os.environ.items() if name != "PIX_DSN"}
        run = {"env": environment, "capture_output": True, "text": True}
        try:
            private_server.start()
            migrate(private_server.dsn)
            connection = psycopg2.connect(private_server.dsn)
            import_model(connection, "mini_inception", read_onnx(SHIPPED["mini_inception"]))
            connection.commit()
            assert subprocess.run([*pix, "load", "images", boots / "images"], **run).returncode == 0
            cursor = connection.cursor()
            cursor.execute(
                "INSERT INTO pix.features (item_id, model_name, vector) "
                "SELECT item_id, 'mini_inception', '\\x00000000' FROM pix.images ORDER BY 1 OFFSET 45 LIMIT 1"
            )
            with ThreadPoolExecutor(1) as pool:
                extraction = pool.submit(lambda: subprocess.run([*pix, "extract", "--chunk-size", "10"], **run))
                watcher = psycopg2.connect(private_server.dsn)
                watcher.autocommit = True
                with watcher.cursor() as watching:
                    for _ in range(6000):
                        watching.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                        if watching.fetchone() == (1,):
                            break
                        watching.execute("SELECT pg_sleep(0.01)")
                postmaster = psutil.Process(int((private_server.data / "postmaster.pid").read_text().split()[0]))
                family = [postmaster, *postmaster.children()]
                postmaster.kill()
                psutil.wait_procs(family, timeout=30)
                assert extraction.result().returncode == 1
            private_server.start()
            assert (
                subprocess.run([*pix, "psql", "--", "-Atc", "SELECT count(*) FROM pix.features"], **run).stdout
                == "40\n"
            )
            resumed = subprocess.run([*pix, "extract"], **run)
            assert resumed.stdout.startswith("60 extracted, 0 failed, 0 pending"), resumed.stderr
        finally:
            private_server.destroy()


@pytest.mark.sessions
def test_model_that_is_imported_again_meanwhile(loaded, third_chunk, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        extraction = pool.submit(lambda: loaded.query("CALL pix.extract_features(chunk_size => 10)"))
        third_chunk.wait()
        loaded.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        third_chunk.release()
        extraction.result()
    assert loaded.ask(PROGRESS) == [(60, 60, 0, 0, 0)]
    assert loaded.value("SELECT count(DISTINCT octet_length(vector)) FROM pix.features") == 1


@pytest.mark.sessions
def test_model_that_is_dropped_meanwhile(loaded, third_chunk, until):
    with ThreadPoolExecutor(2) as pool:
        extraction = pool.submit(lambda: loaded.query("CALL pix.extract_features(chunk_size => 10)"))
        third_chunk.wait()
        drop = pool.submit(lambda: loaded.query("SELECT pix.drop_model('mini_inception')"))
        until(
            loaded,
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pix.drop_model(%' "
            "AND wait_event_type = 'Lock')",
        )
        third_chunk.release()
        drop.result()
        with pytest.raises(psycopg2.Error, match="not known"):
            extraction.result()
    for table in (
        "pix.models", "pix.features", "pix.extraction_failures", "pix.extraction_runs", "pix_internal.model_parts",
    ):  # fmt: skip
        assert loaded.value(f"SELECT count(*) FROM {table}", role=None) == 0, table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.sessions
def test_ended_command_ends_the_work(loaded, until, number):
    notices = loaded.value("SELECT count(*) FROM pg_settings WHERE name = 'client_connection_check_interval'")
    if number == signal.SIGKILL and not notices:
        pytest.skip("this server does not notice that a client has left (PostgreSQL 14 and Greenplum 7 do)")
    blocker = loaded.connect(None, autocommit=False)
    blocker.cursor().execute("SELECT pix_internal.lock('extraction_runs', 'mini_inception')")
    command = subprocess.Popen(
        [PIX, "extract"],
        env=os.environ | {"PIX_DSN": loaded.dsn("ada")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in a script's background ignores SIGINT, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    sessions = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CALL%'"
    until(loaded, SOMEBODY_WAITS)
    command.send_signal(number)
    assert command.wait(60) != 0
    assert b"Traceback" not in command.stderr.read()
    until(loaded, f"SELECT count(*) = 0 {sessions}")
    blocker.rollback()
    assert loaded.ask(PROGRESS) == [(60, 0, 0, 0, 60)]


@pytest.mark.sessions
def test_two_extractions_at_once_share_the_work(loaded):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: loaded.query("CALL pix.extract_features(chunk_size => 5)"), range(2)))
    assert loaded.ask(PROGRESS) == [(60, 60, 0, 0, 0)]
    assert loaded.value("SELECT sum(extracted)::int FROM pix.extraction_runs") == 60


@pytest.mark.sessions
def test_two_models_at_once(loaded, tmp_path):
    loaded.pix("model", "import", "tiny", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
    with ThreadPoolExecutor(2) as pool:
        calls = ("CALL pix.extract_features('mini_inception', 5)", "CALL pix.extract_features('tiny', 5)")
        list(pool.map(loaded.query, calls))
    assert loaded.ask("SELECT extracted, pending FROM pix.extraction_progress") == [(60, 0), (60, 0)]


@pytest.mark.sessions
def test_many_short_extractions_at_once(loaded):
    """They begin with cleaning up, while others are in the middle of a chunk."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: loaded.query("CALL pix.extract_features(chunk_size => 10)"), range(12)))
    assert loaded.ask(PROGRESS) == [(60, 60, 0, 0, 0)]


def test_errors_of_embed(loaded):
    fails_with(loaded, "PX010", "SELECT pix.embed('<html>'::bytea)", role="rita")
    fails_with(loaded, "PX020", "SELECT pix.embed('x'::bytea, 'nope')", role="rita")
    fails_with(loaded, "PX003", "CALL pix.extract_features(chunk_size => 0)")
    assert loaded.value("SELECT pix.embed(NULL) IS NULL", role="rita")


def test_oversized_image(loaded):
    fails_with(loaded, "PX011", "SELECT pix.embed(%s)", (psycopg2.Binary(png(20_000, 20_000)),))


def test_no_model_at_all(bare):
    migrate(bare.dsn())
    for sql in ("CALL pix.extract_features()", "SELECT pix.embed('x'::bytea)", "SELECT pix.nearest('x')"):
        assert "default model" in str(fails_with(bare, "PX020", sql))


def test_reader_may_embed_but_not_extract(loaded):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        loaded.ask("CALL pix.extract_features()", role="rita")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        loaded.ask("SELECT pix.embed(content) FROM pix.images", role="nobody")


def test_vectors_in_sql(db):
    assert db.value("SELECT pix.from_array(ARRAY[1, 2]::real[])", role="rita").hex() == "0000803f00000040"
    assert db.value("SELECT pix.to_array('\\x0000803f00000040')", role="rita") == [1.0, 2.0]
    fails_with(db, "PX030", "SELECT pix.from_array(ARRAY[1, 'NaN']::real[])")
    fails_with(db, "PX030", "SELECT pix.from_array('{}'::real[])")
    with pytest.raises(psycopg2.errors.CheckViolation):
        db.ask("SELECT '\\x0000'::bytea::pix.feature_vector")


def test_features_as_arrays(extracted):
    rows = extracted.ask("SELECT item_id, features FROM pix.feature_arrays LIMIT 2", role="rita")
    assert [len(features) for _, features in rows] == [288, 288]


def test_extraction_in_a_transaction_block_is_refused_whole(loaded):
    connection = loaded.connect(autocommit=False)
    with pytest.raises(psycopg2.Error):
        connection.cursor().execute("CALL pix.extract_features()")
    connection.rollback()
    assert loaded.ask(PROGRESS) == [(60, 0, 0, 0, 60)]
