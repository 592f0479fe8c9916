"""Where nothing can be written: a real hot standby, and roles that are read-only."""

import shutil
from contextlib import contextmanager
from dataclasses import replace

import psycopg2
import pytest

from pixload.private_server import PrivateServer
from tests.fixtures.catalogue import fill_catalogue, let_vote
from tests.fixtures.servers import Clone, Server, prepared
from tests.helpers import CHECKOUT, fails_with

READS = {
    "recommend": ("adam", "SELECT item_id, score FROM pix.recommend('u1', 5)"),
    "recommend to somebody new": ("adam", "SELECT item_id FROM pix.recommend('somebody', 5)"),
    "explain": ("rita", "SELECT aspect, item_id, value FROM pix.explain('u1', 'c0042')"),
    "nearest": ("rita", "SELECT item_id, distance FROM pix.nearest('c0042', 5)"),
    "nearest by an index": ("rita", "SELECT item_id FROM pix.nearest('c0042', 5, index_name => 'fast')"),
    "nearest_many": ("rita", "SELECT * FROM pix.nearest_many('{c0001,c0002}', 3)"),
    "nearest_to_vector": ("rita", "SELECT item_id FROM pix.nearest_to_vector(array_fill(1::real, ARRAY[48]), 3)"),
    "duplicates": ("ada", "SELECT * FROM pix.duplicates(max_distance => 0.02) ORDER BY 1, 2"),
    "classify_item": ("rita", "SELECT label FROM pix.classify_item('c0042', '{cloud}')"),
    "embed": ("rita", "SELECT octet_length(pix.embed(content, 'mini_inception')) FROM pix.images"),
    "doctor": ("rita", "SELECT DISTINCT ok FROM pix.doctor() WHERE \"check\" = 'package'"),
    "check_derived": ("ada", "SELECT * FROM pix.check_derived() WHERE NOT ok"),
}
WRITES = {
    "vote": ("adam", "SELECT pix.vote('u1', 'c0001', true)"),
    "vote_batch": ("adam", "SELECT pix.vote_batch('[]')"),
    "undo_vote": ("adam", "SELECT pix.undo_vote('u1', 'c0001')"),
    "next_item": ("adam", "SELECT pix.next_item('u1')"),
    "train_user_model": ("adam", "SELECT pix.train_user_model('u1')"),
    "pack_features": ("ada", "SELECT pix.pack_features()"),
    "build_index": ("ada", "SELECT pix.build_index('other')"),
    "fit_clusters": ("ada", "SELECT pix.fit_clusters('other')"),
    "drop_model": ("ada", "SELECT pix.drop_model('clouds')"),
    "extract_features": ("ada", "CALL pix.extract_features('mini_inception')"),
    "train_user_models": ("ada", "CALL pix.train_user_models()"),
    "recommend_all": ("ada", "CALL pix.recommend_all()"),
}


def fill(db, boots) -> None:
    fill_catalogue(db)
    let_vote(db)
    db.pix("load", "images", sorted((boots / "images").iterdir())[0])
    db.query("SELECT pix.build_index('fast')")
    db.query("SELECT pix.fit_clusters('groups', k => 8)")
    db.query(
        "INSERT INTO pix.labels (item_id, label_set, label) "
        "SELECT item_id, 'cloud', 'cloud ' || substr(item_id, 5)::integer % 2 FROM pix.items "
        "WHERE item_id BETWEEN 'c0000' AND 'c0200'"
    )
    db.query("SELECT pix.train_classifier('cloud', 'cloud')")
    db.query("SELECT * FROM pix.recommend('u1', 5)", role="adam")


@contextmanager
def running(home):
    private_server = PrivateServer(home)
    private_server.start()
    try:
        yield private_server
    finally:
        private_server.destroy()


def copy_server(source, target) -> None:
    shutil.copytree(source, target, copy_function=shutil.copy2)
    owner = source.stat()
    for path in [target.parent, target, *target.rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)
    target.chmod(0o700)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, boots):
    """A database on a primary server, and the same one on its standby."""
    folder = CHECKOUT / ".pix" / "standby"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with running(folder / "primary") as primary:
        with (primary.data / "postgresql.conf").open("a") as file:
            file.write("wal_level = replica\nmax_wal_senders = 4\n")
        for change in (primary.stop, primary.start, primary.stop):
            change()
        # As pg_basebackup would, of a server that stands still.
        copy_server(primary.data, folder / "standby" / "pgdata")
        (folder / "standby" / "pgdata" / "address.conf").unlink()
        primary.start()
        with (folder / "standby" / "pgdata" / "postgresql.conf").open("a") as file:
            file.write(f"primary_conninfo = '{primary.dsn}'\n")
        signal = folder / "standby" / "pgdata" / "standby.signal"
        signal.touch()
        shutil.chown(signal, signal.parent.stat().st_uid, signal.parent.stat().st_gid)
        cache = folder / "standby" / "cache"
        cache.mkdir()
        shutil.chown(cache, signal.parent.stat().st_uid, signal.parent.stat().st_gid)
        with running(folder / "standby") as standby:
            first = Server(primary.dsn)
            for server in prepared(first):
                name = server.name("pair")
                server.run(f"CREATE DATABASE {name} TEMPLATE {server.name('template')}")
                there = Clone(server, name)
                fill(there, boots)
                yield there, Clone(replace(first, owner_dsn=standby.dsn), name)
                there.close()
    shutil.rmtree(folder)


def follow(there, here) -> None:
    """Wait until the standby has what the primary has now."""
    position = there.value("SELECT pg_current_wal_lsn()", role=None)
    while not here.server.run("SELECT pg_last_wal_replay_lsn() >= %s", (position,))[0][0]:
        here.server.run("SELECT pg_sleep(0.01)")


@pytest.mark.parametrize("name", READS)
def test_a_standby_answers(pair, name):
    there, here = pair
    role, sql = READS[name]
    follow(there, here)
    assert here.query(sql, role=role) == there.query(sql, role=role)


@pytest.mark.parametrize("name", WRITES)
def test_a_standby_says_where_to_ask(pair, name):
    _, here = pair
    role, sql = WRITES[name]
    follow(*pair)
    error = fails_with(here, "PX061", sql, role=role)
    assert "standby" in error.diag.message_primary
    assert "primary" in error.diag.message_hint


def test_votes_that_come_later_are_known_on_the_standby(pair):
    """0.7.0 wanted to store the model that it brought up to date: recommendations failed after the next vote."""
    there, here = pair
    before = here.query("SELECT item_id FROM pix.recommend('u2', 5)", role="adam")
    for number, ((item,),) in enumerate(zip(before, strict=True)):
        there.query("SELECT pix.vote('u2', %s, %s)", (item, number % 2 == 0), role="adam")
        follow(there, here)
        after = here.query("SELECT item_id FROM pix.recommend('u2', 5)", role="adam")
        assert item not in {name for (name,) in after}
        assert after == there.query("SELECT item_id FROM pix.recommend('u2', 5)", role="adam")
    assert here.query(
        "SELECT value FROM pix.explain('u2', 'c0042') WHERE aspect = 'score'", role="rita"
    ) == there.query("SELECT value FROM pix.explain('u2', 'c0042') WHERE aspect = 'score'", role="rita")


@pytest.mark.parametrize("sql", [sql for role, sql in READS.values() if role == "adam"])
def test_a_role_that_is_read_only_is_answered(voters, sql):
    connection = voters.connect("adam")
    connection.set_session(readonly=True)
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount == 5
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT pix.vote('u1', 'c0001', true)")
    assert caught.value.pgcode == "PX061"
    assert "READ WRITE" in caught.value.diag.message_hint
