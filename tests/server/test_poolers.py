"""Behind PgBouncer, where a session of the server belongs to others as soon as a transaction ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psycopg2
import pytest

from pixload.database import Database
from pixload.private_server import UNPRIVILEGED_USER, PrivateServer
from pixload.watching import percent, run_watched
from tests.every_command import OWN_SERVER, OWNERS, STORY, names, story
from tests.fixtures.servers import Clone
from tests.helpers import PIX

STATEMENTS = 5000


@dataclass
class Pooler:
    """PgBouncer in front of a database: as `ada`, whoever asks, and as its owner."""

    folder: Path

    def dsn(self, role: str) -> str:
        return f"host={self.folder} port=6432 dbname={role} user=somebody"

    def pix(self, *words: str, role: str = "ada", **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PIX, "--home", self.folder / "home", *words], cwd=self.folder, capture_output=True, text=True,
            env=os.environ | {"PIX_DSN": self.dsn(role), "PIX_OFFLINE": "1", **environment},
        )  # fmt: skip


@contextmanager
def pgbouncer(db: Clone, **settings: int):
    """Run PgBouncer with two sessions of the server for each role, or other settings."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (make test installs it)")
    user = {}
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        databases = [
            f"{role} = " + " ".join(f"{key}='{value}'" for key, value in psycopg2.extensions.parse_dsn(dsn).items())
            for role, dsn in (("ada", db.dsn("ada")), ("owner", db.dsn()))
        ]
        settings = {
            "pool_mode": "transaction", "default_pool_size": 2, "auth_type": "any", "unix_socket_dir": folder,
            "listen_port": 6432, "log_connections": 0, "log_disconnections": 0, "log_stats": 0,
        } | settings  # fmt: skip
        lines = [f"{key} = {value}" for key, value in settings.items()]
        configuration = folder / "pgbouncer.ini"
        configuration.write_text("\n".join(["[databases]", *databases, "[pgbouncer]", *lines]))
        if os.geteuid() == 0:  # whom it refuses to run for
            user = {"user": UNPRIVILEGED_USER, "group": UNPRIVILEGED_USER, "extra_groups": []}
            for path in (folder, configuration):
                shutil.chown(path, UNPRIVILEGED_USER)
        with subprocess.Popen([program, configuration], stderr=subprocess.PIPE, text=True, **user) as process:
            try:
                assert any("process up" in line for line in process.stderr)
                yield Pooler(folder)
            finally:
                process.terminate()
                process.communicate()


@pytest.fixture
def pooler(bare):
    """A database of a shop, whose own tables and functions come first, behind PgBouncer."""
    bare.query(
        f"""
        CREATE SCHEMA shop;
        CREATE TABLE shop.orders (amount integer);
        INSERT INTO shop.orders VALUES (40), (2);
        CREATE FUNCTION shop.never(text, text) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'a search_path of the shop was used'; END $$;
        CREATE OPERATOR shop.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.never);
        CREATE FUNCTION shop.strpos(text, text) RETURNS integer LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'a search_path of the shop was used'; END $$;
        GRANT USAGE ON SCHEMA shop TO public;
        GRANT SELECT ON shop.orders TO public;
        GRANT TEMPORARY ON DATABASE {bare.name} TO public;
        ALTER DATABASE {bare.name} SET search_path = shop, pg_catalog, public;
        """,
        role=None,
    )
    with pgbouncer(bare) as pooler:
        yield pooler


STATE = """
SELECT
    (SELECT array_agg(name || ' = ' || setting) FROM pg_settings
    WHERE source OPERATOR(pg_catalog.=) 'session' AND name !~
        '^(application_name|client_encoding|DateStyle|IntervalStyle|TimeZone|standard_conforming_strings)$'),
    (SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'),
    (SELECT array_agg(name) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype OPERATOR(pg_catalog.=) 'advisory'),
    (SELECT count(*) FROM pg_listening_channels())
"""
"""What others have left in a session; PgBouncer itself keeps these settings apart."""


def work_beside(dsn: str, over: Event) -> tuple[int, list[str]]:
    """Do what a shop does, until the end and then some; return how many statements it was, and what went wrong."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    statements, wrong = 0, []
    transaction = (
        ("BEGIN", None),
        ("CREATE TEMP TABLE pix_staging ON COMMIT DROP AS SELECT amount FROM orders", None),
        ("CREATE TEMP TABLE pix_chunk (seen integer) ON COMMIT DROP", None),
        ("PREPARE ours AS SELECT max(amount)::bigint FROM pix_staging", None),
        ("EXECUTE ours", (40,)),
        ("DEALLOCATE ours", None),
        ("COMMIT", None),
    )
    round_ = (
        ("SELECT sum(amount) FROM orders", (42,)),
        ("SHOW search_path", ("shop, pg_catalog, public",)),
        (STATE, (None, None, None, 0, 0)),
        ("SELECT pg_sleep(0.002)::text", ("",)),
        *transaction,
    )
    with connection.cursor() as cursor:
        while statements < STATEMENTS or not over.is_set():
            for statement, expected in round_:
                statements += 1
                try:
                    cursor.execute(statement)
                    results = cursor.fetchone() if cursor.description else None
                    if results != expected:
                        wrong.append(f"{statement}: {results}")
                except psycopg2.Error as error:
                    wrong.append(f"{statement}: {error}")
    connection.close()
    return statements, wrong


@contextmanager
def neighbor(pooler: Pooler, role: str):
    """A shop works beside, in the same two sessions; nothing is to go wrong for it."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_beside, pooler.dsn(role), over)
        try:
            yield
        finally:
            over.set()
    statements, wrong = working.result()
    assert statements >= STATEMENTS
    assert wrong == []


def test_story_knows_every_command():
    assert set(names()) - OWN_SERVER == set(STORY)


@pytest.mark.slow
def test_every_command_works_and_its_neighbors_never_notice(pooler, bare, boots, tmp_path):
    """Each command succeeds with two pooled sessions, and leaves nothing in them."""
    commands = story(boots, tmp_path)
    with neighbor(pooler, "owner"):
        migrated = pooler.pix(*next(commands)[1], role="owner")
    assert migrated.returncode == 0, migrated.stderr
    with neighbor(pooler, "ada"):
        for name, words in commands:
            done = pooler.pix(*words, role="owner" if name in OWNERS else "ada")
            assert done.returncode == 0, (name, done.stdout, done.stderr)


def test_loads_side_by_side(pooler, tmp_path):
    """Loads of several batches, which share two sessions, count as if each were alone."""
    assert pooler.pix("migrate", role="owner").returncode == 0
    for number in range(3):
        rows = "".join(f"item{number}-{row:05},title {row}\n" for row in range(5000))
        (tmp_path / f"{number}.csv").write_text(f"item_id,title\n{rows}item{number}-00000,again\n")
    with neighbor(pooler, "ada"), ThreadPoolExecutor(3) as pool:
        loads = [
            pool.submit(
                pooler.pix, "load", "metadata", f"{tmp_path}/{number}.csv", "--rejects", f"{tmp_path}/{number}-rejects"
            )
            for number in range(3)
        ]
        for load in loads:
            loaded = load.result()
            assert loaded.stdout.startswith("5,000 new, 0 changed, 0 unchanged, 1 rejected"), loaded.stderr


def test_work_goes_on_where_the_pool_has_no_session_to_watch_it(bare):
    with pgbouncer(bare, default_pool_size=1, query_wait_timeout=1) as pooler:
        database = Database(pooler.dsn("ada"), PrivateServer(pooler.folder))
        looks = []

        def look(watching, mark: str) -> int:
            looks.append(mark)
            watching.cursor().execute("SELECT 1")
            return 0

        assert run_watched(database, "SELECT 7 FROM pg_catalog.pg_sleep(3)", (), "sleeping", 100, look) == [(7,)]
    assert len(looks) == 1


def test_progress_is_found_behind_a_pooler(pooler):
    """By a mark in the statement: the process id that the protocol tells is the pooler's own."""
    assert pooler.pix("migrate", role="owner").returncode == 0
    working, watching = (psycopg2.connect(pooler.dsn("ada")) for _ in range(2))
    with working.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', 'pix: 42 % of index boots', true) /* pix 7 */")
        with watching.cursor() as other:
            other.execute("SET LOCAL search_path = pg_catalog")
        assert percent(watching, "/* pix 7 */") == 42
        assert percent(watching, "/* pix 8 */") == 0
    working.close()
    watching.close()
