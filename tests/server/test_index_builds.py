"""Building, replacing and dropping indexes while others use them, and files that are lost."""

import threading

import psycopg2
import pytest

from tests.helpers import fails_with
from tests.indexes import build, recall


def test_readers_do_not_build(catalogue):
    build(catalogue.db, "exact", "cosine")
    for call in ("pix.build_index('x', 'clouds')", "pix.refresh_index('fast')", "pix.drop_index('fast')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            catalogue.db.query(f"SELECT {call}", role="rita")


def test_index_of_a_model_that_was_imported_again(extracted):
    extracted.query("SELECT pix.build_index('boots', 'mini_inception', 'exact')")
    item_id = extracted.value("SELECT min(item_id) FROM pix.items")
    extracted.query("UPDATE pix.models SET checksum = repeat('a', 64)", role=None)
    extracted.query("UPDATE pix.features SET model_checksum = repeat('a', 64)")
    error = fails_with(extracted, "PX092", "SELECT * FROM pix.nearest(%s, index_name => 'boots')", (item_id,))
    assert "refresh_index" in error.diag.message_hint
    assert extracted.query("SELECT usable FROM pix.index_status") == [(False,)]
    extracted.query("SELECT pix.refresh_index('boots')")
    assert len(extracted.query("SELECT * FROM pix.nearest(%s, index_name => 'boots')", (item_id,))) == 10


def test_rebuild_replaces_and_cleans_up(catalogue):
    db = catalogue.db
    build(db, "annoy", "cosine")
    build(db, "annoy", "cosine", "another")
    build(db, "hnsw", "euclidean")
    assert db.query("SELECT index_name, algorithm, metric FROM pix.indexes ORDER BY 1") == [
        ("another", "annoy", "cosine"),
        ("fast", "hnsw", "euclidean"),
    ]
    used = db.query("SELECT checksum FROM pix.indexes UNION SELECT state_checksum FROM pix.indexes")
    assert sorted(db.query("SELECT DISTINCT checksum FROM pix_internal.index_parts")) == sorted(used)
    for name in ("fast", "another"):
        db.query("SELECT pix.drop_index(%s)", (name,))
    assert db.query("SELECT * FROM pix_internal.index_parts") == []


def test_readers_go_on_while_an_index_is_replaced_and_dropped(catalogue):
    """One transaction replaces it: others see the one before until that is committed."""
    db = catalogue.db
    build(db, "hnsw", "cosine")
    writer = db.connect(autocommit=False)
    ask = "SELECT item_id FROM pix.nearest('c0007', 5, index_name => 'fast')"
    before = db.query(ask, role="rita")
    with writer.cursor() as cursor:
        cursor.execute("SELECT pix.build_index('fast', 'clouds', 'annoy')")
        assert db.query(ask, role="rita") == before
        assert db.value("SELECT algorithm FROM pix.indexes", role="rita") == "hnsw"
        fails_with(db, "PX093", "SELECT pix.build_index('fast', 'clouds')", role="ada")
        fails_with(db, "PX093", "SELECT pix.drop_index('fast')", role="ada")
    writer.commit()
    assert db.value("SELECT algorithm FROM pix.indexes", role="rita") == "annoy"
    with writer.cursor() as cursor:
        cursor.execute("SELECT pix.drop_index('fast')")
        assert db.query(ask, role="rita") == before
    writer.commit()
    fails_with(db, "PX090", ask)


def test_query_that_began_before_the_drop(catalogue):
    """Its snapshot still has the parts, though the file is deleted."""
    db = catalogue.db
    build(db, "hnsw", "cosine")
    reader = db.connect("rita", autocommit=False)
    with reader.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM pix.indexes")
        db.query("SELECT pix.drop_index('fast')")
        cursor.execute("SELECT count(*) FROM pix.nearest('c0007', 5, index_name => 'fast')")
        assert cursor.fetchone() == (5,)


@pytest.mark.sessions
def test_progress_is_seen_by_others(catalogue, until):
    """A build that waits for the locks of a transaction is seen at work, and can be canceled."""
    db = catalogue.db
    holder = db.connect(None, autocommit=False)
    holder.cursor().execute("SELECT pix_internal.lock('packs', 'clouds')")
    builder = db.connect()
    failed = []

    def work() -> None:
        try:
            builder.cursor().execute("SELECT pix.build_index('slow', 'clouds')")
        except psycopg2.Error as error:
            failed.append(error.pgcode)

    thread = threading.Thread(target=work)
    thread.start()
    pid = builder.info.backend_pid
    until(db, f"SELECT count(*) = 1 FROM pix.builds WHERE pid = {pid} AND percent = 0 AND building = 'index slow'")
    assert db.query("SELECT building FROM pix.builds", role="rita") == [("index slow",)]
    builder.cancel()
    thread.join()
    assert failed == ["57014"]
    holder.rollback()
    assert db.query("SELECT * FROM pix.builds") == []
    db.query("SELECT pix.build_index('slow', 'clouds')")


@pytest.mark.parametrize("trouble", ["lost", "truncated", "altered"])
@pytest.mark.parametrize("kind", ["index", "state", "block"])
def test_file_that_is_lost_or_damaged_is_restored(catalogue, cache_folder, kind, trouble):
    db = catalogue.db
    build(db, "hnsw", "cosine")
    column = {"index": "SELECT checksum FROM pix.indexes", "state": "SELECT state_checksum FROM pix.indexes",
              "block": "SELECT checksum FROM pix_internal.feature_blocks ORDER BY block LIMIT 1"}[kind]  # fmt: skip
    file = cache_folder / f"{db.value(column)}.{kind}"
    whole = file.read_bytes()
    if trouble == "lost":
        file.unlink()
    elif trouble == "truncated":
        file.write_bytes(whole[:1000])
    else:
        file.write_bytes(whole[:-8] + b"\\xff" * 8)
    assert recall(catalogue, "cosine") >= 0.97
    assert file.read_bytes() == whole
    assert not list(cache_folder.glob(f"{file.stem}.[0-9]*"))


def test_parts_that_are_lost_are_an_error(catalogue, cache_folder):
    db = catalogue.db
    build(db, "hnsw", "cosine")
    checksum = db.value("SELECT checksum FROM pix.indexes")
    (cache_folder / f"{checksum}.index").unlink()
    db.query("DELETE FROM pix_internal.index_parts WHERE checksum = %s AND part = 0", (checksum,), role=None)
    db.forget_sessions()  # they hold it in memory
    fails_with(db, "PX094", "SELECT * FROM pix.nearest('c0007', 5, index_name => 'fast')")
    db.query("SELECT pix.build_index('fast', 'clouds')")
    assert recall(catalogue, "cosine") >= 0.97


def test_files_of_what_is_gone_are_removed(catalogue, cache_folder):
    db = catalogue.db
    catalogue.add(range(2000))  # blocks that no other database has
    build(db, "annoy", "cosine")
    index = cache_folder / f"{db.value('SELECT checksum FROM pix.indexes')}.index"
    block = (
        cache_folder / f"{db.value('SELECT checksum FROM pix_internal.feature_blocks ORDER BY block LIMIT 1')}.block"
    )
    assert index.exists()
    assert block.exists()
    catalogue.remove(sorted(catalogue.vectors)[::2])
    db.query("SELECT pix.refresh_index('fast')")
    assert not index.exists()
    assert not block.exists()


def test_command(catalogue, tmp_path):
    db = catalogue.db
    built = db.pix("index", "build", "fast", "--model", "clouds", "--set", "ef_search=80").stdout
    assert "2,000 items, recall@10" in built
    assert db.value("SELECT parameters ->> 'ef_search' FROM pix.indexes") == "80"
    catalogue.add([3000])
    assert "fast" in db.pix("index", "list", role="rita").stdout
    assert "recall@5" in db.pix("index", "check", "fast", "--queries", 20, "-k", 5, role="rita").stdout
    assert "2,001 items" in db.pix("index", "refresh", "fast").stdout
    assert "c0047" in db.pix("nearest", "c0007", "-k", 200, "--index", "fast", role="rita").stdout
    cheap = db.pix("nearest", "c0007", "--model", "clouds", "--max-price", 0, "-k", 100, role="rita").stdout
    assert "c0100" in cheap
    assert "c0047" not in cheap
    wrong = db.pix("index", "build", "fast", "--set", "ef_search", check=False)
    assert wrong.returncode == 1
    assert "NAME=VALUE" in wrong.stderr
    assert "dropped" in db.pix("index", "drop", "fast").stdout
    assert db.pix("index", "drop", "fast", check=False).returncode == 1
