"""Migrating up, down, again; from an older version; with the wrong role."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pixload.migrations.tables import metadata
from sqlalchemy import create_engine

from pixload.errors import PixError
from pixload.migration import VERSION, migrate
from tests.helpers import PIX

HEAD = "0010"


def dump(db) -> str:
    """The schema as SQL, without the token that newer pg_dump makes up."""
    pg_dump = next(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    result = subprocess.run([pg_dump, "--schema-only", db.dsn()], capture_output=True, text=True, check=True)
    return "\n".join(line for line in result.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def test_twice_changes_nothing(bare):
    assert migrate(bare.dsn()) == (None, HEAD)
    first = dump(bare)
    assert migrate(bare.dsn()) == (HEAD, HEAD)
    assert dump(bare) == first


def test_down_and_up_again(bare):
    empty = dump(bare)
    migrate(bare.dsn())
    first = dump(bare)
    assert migrate(bare.dsn(), "base") == (HEAD, None)
    assert "pix" not in dump(bare).replace("plpython3u", "")
    assert "pix" not in empty
    migrate(bare.dsn())
    assert dump(bare) == first


def test_command(bare):
    assert f"none -> {HEAD}" in bare.pix("migrate", role=None).stdout
    assert f"{HEAD} -> none" in bare.pix("migrate", "--to", "base", "--yes", role=None).stdout
    refused = bare.pix("migrate", "--to", "9999", role=None, check=False)
    assert refused.returncode == 1
    assert "no revision 9999" in refused.stderr


def test_tables_are_as_the_metadata_says(db):
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(db.dsn()))
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_schemas": True,
            "version_table_schema": "pix",
            "include_name": lambda name, kind, parents: kind != "schema" or name in ("pix", "pix_internal"),
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_checks_and_comments_are_as_the_metadata_says(db):
    stored = dict(
        db.query(
            """
            SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'pix'::regnamespace AND contype = 'c' AND conrelid <> 0
            """
        )
    )
    declared = {
        constraint.name: str(constraint.sqltext)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if hasattr(constraint, "sqltext")
    }
    assert stored.keys() == declared.keys()
    for name, definition in stored.items():
        assert ("octet_length" in definition) == ("octet_length" in declared[name])
        assert all(number in definition for number in re.findall(r"\d+", declared[name]))


def test_left_over_overload_is_dropped(bare):
    migrate(bare.dsn())
    bare.query("CREATE FUNCTION pix.nearest(item_id text) RETURNS int LANGUAGE sql AS 'SELECT 1'", role=None)
    bare.query("CREATE VIEW pix.old_view AS SELECT item_id FROM pix.items", role=None)
    migrate(bare.dsn())
    overloads = bare.query(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE oid::regproc::text = 'pix.nearest'", role=None
    )
    assert overloads == [("pix.nearest(text,bigint,text,text,text,pix.item_filter)",)]
    assert bare.value("SELECT to_regclass('pix.old_view') IS NULL", role=None)


def test_failing_replay_leaves_everything_as_it_was(bare):
    migrate(bare.dsn())
    bare.query("CREATE TABLE mine (vector pix.feature_vector)", role=None)
    with pytest.raises(PixError, match=r"cannot drop.*mine depends"):
        migrate(bare.dsn(), "base")
    assert bare.value("SELECT count(*) FROM pix.items", role=None) == 0
    assert bare.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pix'::regnamespace", role=None) > 10


def test_ordinary_role_is_told_who_can(bare):
    refused = bare.pix("migrate", role="ada", check=False)
    assert refused.returncode == 1
    assert "superuser" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [("extract",), ("model", "list"), ("nearest", "x"), ("doctor",)])
def test_database_that_is_not_migrated(bare, command):
    refused = bare.pix(*command, check=False)
    assert refused.returncode == 1
    assert "pix migrate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_sql_of_another_version_says_what_mends_it(db):
    source = db.value("SELECT prosrc FROM pg_proc WHERE oid = 'pix.to_array'::regproc", role=None)
    assert VERSION in source
    definition = db.value("SELECT pg_get_functiondef('pix.to_array'::regproc)", role=None)
    for version, remedy in (("0.0.1", "pix migrate"), ("99.0.0", "Install pixelplum 99.0.0")):
        db.query(definition.replace(VERSION, version), role=None)
        with pytest.raises(psycopg2.Error) as caught:
            db.query("SELECT pix.to_array('\\x00000000')")
        assert caught.value.pgcode == "PX001"
        assert remedy in caught.value.diag.message_hint


def test_base_leaves_the_rights_in_other_databases(bare, db):
    migrate(bare.dsn())
    migrate(bare.dsn(), "base")
    for role in ("rita", "adam", "ada"):
        assert db.value("SELECT count(*) FROM pix.models", role=role) == 1
    db.query("INSERT INTO pix.items (item_id) VALUES ('still allowed')", role="ada")


def test_migrating_again_repairs_rights(db):
    db.query("REVOKE ALL ON ALL TABLES IN SCHEMA pix FROM pix_reader, pix_admin", role=None)
    migrate(db.dsn())
    db.query("INSERT INTO pix.items (item_id) VALUES ('allowed again')", role="ada")


def test_base_removes_nothing_of_others(bare):
    migrate(bare.dsn())
    bare.query("CREATE TABLE public.kept (n int); ALTER TABLE public.kept OWNER TO pix_admin", role=None)
    migrate(bare.dsn(), "base")
    assert bare.value("SELECT count(*) FROM public.kept", role=None) == 0
    migrate(bare.dsn())
    bare.query("CREATE TABLE pix.mine (n int)", role=None)
    with pytest.raises(PixError, match="cannot drop schema pix"):
        migrate(bare.dsn(), "base")
    assert bare.value("SELECT count(*) FROM pix.items", role=None) == 0
    bare.query("DROP TABLE public.kept", role=None)


def test_first_migrations_at_once(bare):
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: migrate(bare.dsn()), range(3)))
    assert sorted(results, key=str) == [(HEAD, HEAD), (HEAD, HEAD), (None, HEAD)]


def test_nobody_without_rights_holds_up_a_migration(db):
    """Anybody may take advisory locks, whatever their keys, and readers may read the table of revisions."""
    holder = db.connect("nobody", autocommit=False)
    holder.cursor().execute("SELECT pg_advisory_lock(hashtext('pix migrate'))")
    db.query(f"GRANT SELECT ON pix.alembic_version TO {db.server.name('nobody')}", role=None)
    db.query(f"GRANT USAGE ON SCHEMA pix TO {db.server.name('nobody')}", role=None)
    holder.cursor().execute("LOCK TABLE pix.alembic_version IN ACCESS SHARE MODE")
    assert db.pix("migrate", role=None, timeout=60).stdout.startswith(f"revision {HEAD} -> {HEAD}")


def test_migration_that_waits_tells_for_whom(db):
    holder = db.connect(role=None, autocommit=False)
    holder.cursor().execute("SET LOCAL application_name = 'nightly job'; LOCK TABLE pix.alembic_version")
    with subprocess.Popen(
        [PIX, "migrate"], env=os.environ | {"PIX_DSN": db.dsn()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as migration:  # fmt: skip
        output = migration.stderr.readline()
        holder.rollback()
        waiting = (
            rf"Waiting for process {holder.info.backend_pid} of role \w+ \(nightly job, idle in a transaction since"
        )
        assert re.match(waiting, output)
        assert migration.wait(60) == 0


def test_other_encodings_are_refused(server):
    latin = server.name("latin")
    server.run(f"CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(PixError, match="LATIN1"):
        migrate(server.dsn(latin))


def test_hostile_search_path_does_not_reach_the_superuser(bare):
    """A function of somebody else's, first on the path of the database, is not used."""
    bare.query(
        "CREATE SCHEMA trap; CREATE FUNCTION trap.hashtext(text) RETURNS integer LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'sprung'; END $$;"
        f"ALTER DATABASE {bare.name} SET search_path = trap, pg_catalog",
        role=None,
    )
    assert migrate(bare.dsn()) == (None, HEAD)


def test_base_asks_first(bare):
    migrate(bare.dsn())
    refused = bare.pix("migrate", "--to", "base", role=None, check=False, input="n\n")
    assert refused.returncode == 1
    assert bare.value("SELECT count(*) FROM pix.items", role=None) == 0
