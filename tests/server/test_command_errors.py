"""What goes wrong is told in a sentence or two, with what to do about it: never a traceback."""

from __future__ import annotations

import select
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg2
import pytest
from click.testing import CliRunner

from pixload.cli import main
from pixload.database import connect
from pixload.errors import PixError
from tests.every_command import OWN_SERVER, story
from tests.fixtures.servers import Clone

NEVER_CONNECTS = {"sample", "psql"}
"""The first draws files, the second becomes psql."""

READS_NO_TABLE = {"algorithms", "doctor"}
"""They have nothing to wait for."""


def error_of(db: Clone, sql: str, role: str = "ada") -> PixError:
    with pytest.raises(PixError) as failure, db.database(role).connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
    return failure.value


@pytest.mark.parametrize(
    ("sqlstate", "sql", "hint"),
    [
        ("2D000", "DO $$ BEGIN COMMIT; END $$", "outside a transaction"),
        ("25006", "SET TRANSACTION READ ONLY; INSERT INTO pix.items (item_id) VALUES ('a')", "connect to the primary"),
        ("3F000", "SELECT nowhere.pack_features()", "Run: pix migrate"),
        ("42883", "SELECT pix.nearest(1, 2, 3, 4)", "Run: pix migrate"),
        ("42P01", "SELECT * FROM pix.nothing", "Run: pix migrate"),
        ("57014", "SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(60)", "statement_timeout = 0"),
    ],
)
def test_errors_of_postgresql_have_a_hint(db, sqlstate, sql, hint):
    error = error_of(db, sql)
    assert f"[{sqlstate}]" in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("sqlstate", "hint"),
    [
        ("08006", "connection was lost"),
        ("25P03", "idle_in_transaction_session_timeout"),
        ("40001", "Run the command again"),
        ("40P01", "Run the command again"),
        ("53100", "make room"),
        ("53200", "short of memory"),
        ("53300", "max_connections"),
        ("53400", "short of memory or other means"),
        ("57P01", "was stopped"),
        ("57P02", "crashed"),
        ("57P03", "Wait a moment"),
    ],
)
def test_errors_that_are_hard_to_bring_about_have_a_hint(db, sqlstate, hint):
    """The server says that they happened."""
    error = error_of(db, f"DO $$ BEGIN RAISE 'out of luck' USING ERRCODE = '{sqlstate}'; END $$")
    assert error.message == f"out of luck [{sqlstate}]"
    assert hint in error.hint


def test_missing_privilege_names_the_role(db):
    error = error_of(db, "SELECT count(*) FROM pix.items", role="nobody")
    assert "[42501]" in error.message
    assert f"grant {db.server.name('nobody')} what it takes" in error.hint


def test_lock_that_is_not_had_in_time(db):
    holder = db.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE pix.items")
    error = error_of(db, "SET LOCAL lock_timeout = '10ms'; SELECT count(*) FROM pix.items")
    assert "[55P03]" in error.message
    assert "lock_timeout" in error.hint


def end_own_session(connection) -> None:
    connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")


def idle_for_too_long(connection) -> None:
    cursor = connection.cursor()
    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
    assert select.select([connection.fileno()], [], [], 60)[0]
    cursor.execute("SELECT 1")


def close(connection) -> None:
    connection.close()
    connection.cursor()


@pytest.mark.parametrize("lose", [end_own_session, idle_for_too_long, close])
def test_connection_that_is_lost(db, lose):
    """The driver no longer says why, only that it is closed; one line of that will do."""
    with pytest.raises(PixError) as failure, db.database().connect() as connection:
        lose(connection)
    assert "closed" in failure.value.message
    assert "\n" not in failure.value.message
    assert "connection was lost, or the server ended it" in failure.value.hint


def test_refused_connections_have_a_hint(db):
    name = db.server.name("nobody")
    db.server.run(f"ALTER ROLE {name} CONNECTION LIMIT 0")
    try:
        with pytest.raises(PixError) as failure:
            connect(db.dsn("nobody"))
    finally:
        db.server.run(f"ALTER ROLE {name} CONNECTION LIMIT -1")
    assert "connections" in failure.value.hint
    with pytest.raises(PixError) as failure:
        connect(db.server.dsn("nothing_like_that"))
    assert "CREATE DATABASE" in failure.value.hint


class Failing:
    """Runs commands in this process, and holds that none ends in a traceback."""

    def __init__(self, dsn: str, folder):
        self._options = ["--dsn", dsn, "--home", str(folder / "home")]

    def run(self, words: list[str], exits: tuple[int, ...] = (1,)) -> str:
        result = CliRunner().invoke(main, [*self._options, *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exc_info)
        assert "Traceback" not in result.output, (words, result.output)
        assert result.exit_code in exits, (words, result.output)
        return result.output


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Return a function that makes what runs commands on a database."""
    monkeypatch.setenv("PIX_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda dsn: Failing(dsn, tmp_path)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def commands(boots, tmp_path) -> list[list[str]]:
    """All commands that connect, and their arguments."""
    return [words for name, words in story(boots, tmp_path) if name not in OWN_SERVER | NEVER_CONNECTS]


def test_server_that_is_down(failing, commands, tmp_path):
    pix = failing(f"host={tmp_path} dbname=pix")
    for words in commands:
        assert "Is the server running" in pix.run(words), words


def test_wrong_password(failing, commands, db):
    values = psycopg2.extensions.parse_dsn(db.dsn("ada"))
    dsn = psycopg2.extensions.make_dsn(**values | {"password": "wrong", "host": "127.0.0.1"})
    try:
        psycopg2.connect(dsn).close()
    except psycopg2.Error:
        pix = failing(dsn)
        for words in commands:
            assert "Are the user's name and password right?" in pix.run(words), words
    else:
        pytest.skip("this server asks for no password")


def test_database_that_is_not_prepared(failing, commands, bare):
    pix = failing(bare.dsn("ada"))
    for words in commands:
        output = pix.run(words)
        assert "superuser" in output if words[0] in ("migrate", "demo") else "Run: pix migrate" in output, words


def test_arguments_that_are_no_text(failing, commands, trained, tmp_path):
    """Bytes that are not UTF-8, as Python hands them on, in each place of each command."""
    pix = failing(trained.dsn("ada"))
    for words in commands:
        for position, word in enumerate(words):
            if not word.startswith("-"):
                pix.run([*words[:position], word + "\udcff", *words[position + 1 :]], exits=(0, 1, 2))
    refused = trained.pix("nearest", "a\udcff", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: 'a\\udcff' is not text in UTF-8")
    drawn = trained.pix("sample", tmp_path / "drawn\udcff", "--items", 1)
    assert f"1 boots in {tmp_path}/drawn\\udcff" in drawn.stdout


def end_sessions(db: Clone, over: Event) -> int:
    """End whichever session of `pix` waits for a lock, until told to stop; return how many there were."""
    ended = 0
    with db.connect(role=None).cursor() as cursor:
        while not over.is_set():
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name LIKE 'pix%' AND wait_event_type = 'Lock'"
            )
            for row in cursor.fetchall():
                cursor.execute("SELECT pg_terminate_backend(%s)", row)
                ended += 1
            cursor.execute("SELECT pg_sleep(0.01)")
    return ended


def test_session_that_is_ended_meanwhile(failing, commands, trained):
    """Each command waits for the tables, and loses its session then."""
    holder = trained.connect(role=None, autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind = 'r' "
                       "AND relnamespace = 'pix'::regnamespace")  # fmt: skip
        cursor.execute(f"LOCK TABLE {cursor.fetchone()[0]}")
    over = Event()
    pix = failing(trained.dsn())
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end_sessions, trained, over)
        try:
            for words in commands:
                output = pix.run(words, exits=(0, 1))
                assert "what was committed stays" in output or words[0] in READS_NO_TABLE, (words, output)
        finally:
            over.set()
    assert ended.result() >= len(commands) - len(READS_NO_TABLE)
