"""Bring a database to the version of this package: tables once, functions always."""

from __future__ import annotations

from importlib import metadata, resources

import psycopg2
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, exc

from pixload.database import connect
from pixload.errors import PixError, from_database
from pixload.migrations.comments import comments
from pixload.waiting import tell_who_is_in_the_way

VERSION = metadata.version("pixelplum")

FIRST_OF_ALL_FUNCTIONS = "980_settings.sql"
"""From here on, files are about all functions."""

# Nobody else can take this lock without rights to write the table, as alembic makes it.
LOCK = """
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS pix;
CREATE TABLE IF NOT EXISTS pix.alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
LOCK TABLE pix.alembic_version IN SHARE ROW EXCLUSIVE MODE;
"""

REMOVE_SCHEMA = """
DROP TABLE pix.alembic_version;
DROP SCHEMA pix;
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM pix_admin', current_database());
END
$$
"""

# What a replay has written carries this transaction's number; what is left over is of an older version.
DROP_REPLAYED = """
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN
        SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS command, 0 AS step, t.oid
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND n.nspname IN ('pix', 'pix_internal') AND ({trigger})
        UNION ALL
        SELECT format('DROP VIEW %s', c.oid::regclass), 1, c.oid
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('pix', 'pix_internal') AND c.relkind = 'v' AND ({view})
        UNION ALL
        SELECT format('DROP ROUTINE %s', p.oid::regprocedure), 2, p.oid
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('pix', 'pix_internal') AND ({routine})
        ORDER BY step, oid DESC  -- what was made later may use what was made earlier
    LOOP
        EXECUTE old.command;
    END LOOP;
END
$$
"""
ALL_REPLAYED = DROP_REPLAYED.format(trigger="true", view="true", routine="true")
WRITTEN_EARLIER = "{}.xmin::text::bigint <> txid_current() % (2 ^ 32)::bigint"
# The files name functions without their arguments, which only one of a name allows.
OVERLOADED = DROP_REPLAYED.format(
    trigger="false", view="false",
    routine="EXISTS (SELECT FROM pg_proc o WHERE o.pronamespace = p.pronamespace AND o.proname = p.proname "
    "AND o.oid <> p.oid)",
)  # fmt: skip
LEFT_OVER = DROP_REPLAYED.format(
    trigger=WRITTEN_EARLIER.format("t"), view=WRITTEN_EARLIER.format("c"), routine=WRITTEN_EARLIER.format("p")
)


def migrate(dsn: str, target: str = "head") -> tuple[str | None, str | None]:
    """Upgrade or downgrade a database, in one transaction.

    Parameters
    ----------
    dsn : str
        The database; its role must be a superuser, as PL/Python asks for.
    target : str, default 'head'
        An alembic revision, or 'base' for nothing at all.

    Returns
    -------
    tuple of (str or None)
        The revision before and after.

    Raises
    ------
    PixError
        If PL/Python is missing, the role may not use it, or the revision is unknown.
    """
    engine = create_engine("postgresql+psycopg2://", creator=lambda: connect(dsn))
    try:
        with engine.begin() as connection, tell_who_is_in_the_way(dsn, _process_id(connection)):
            return _migrate(connection, target)
    except exc.DBAPIError as error:
        raise from_database(error.orig) from error
    except psycopg2.Error as error:
        raise from_database(error) from error
    finally:
        engine.dispose()


def _migrate(connection: Connection, target: str) -> tuple[str | None, str | None]:
    _check_encoding(connection)
    _check_language(connection)
    _lock(connection)
    _execute(connection, "CREATE EXTENSION IF NOT EXISTS plpython3u")
    configuration = Config()
    configuration.set_main_option("script_location", str(resources.files("pixload.migrations")))
    configuration.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(configuration)
    before = _revision(connection)
    history = [None, *(script.revision for script in reversed(list(scripts.walk_revisions())))]
    wanted = {"base": None, "head": scripts.get_current_head()}.get(target, target)
    if before not in history:
        raise PixError(f"The database has revision {before}, which this version does not know.",
                       "Install the version of pixelplum that migrated it.")  # fmt: skip
    if wanted not in history:
        raise PixError(f"There is no revision {wanted}.", f"Choose one of: base {' '.join(history[1:])} head")

    if history.index(wanted) < history.index(before):
        _execute(connection, ALL_REPLAYED)
        command.downgrade(configuration, target)
    else:
        command.upgrade(configuration, target)
    if wanted is None:
        _execute(connection, REMOVE_SCHEMA)
    elif wanted == scripts.get_current_head():
        replay(connection)
    return before, wanted


def replay(connection: Connection) -> None:
    """Create every function and view again, drop those of older versions, and set comments and rights.

    The last files touch all functions, after which nobody could tell the older ones.
    """
    files = sorted(
        (f for f in resources.files("pixload.sql").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name
    )
    _execute(connection, OVERLOADED)
    for file in files:
        if file.name == FIRST_OF_ALL_FUNCTIONS:
            _execute(connection, LEFT_OVER)
        _execute(connection, file.read_text().replace("@VERSION@", VERSION))
    for comment in comments(connection):
        _execute(connection, comment)


def heal(dsn: str) -> list[str]:
    """Pack again what a packing by version 0.7.0 has misplaced, and return the models that this concerned."""
    connection = connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT model_name FROM pix_internal.packs ORDER BY 1")
            healed = []
            for (model_name,) in cursor.fetchall():
                cursor.execute("SELECT coalesce(sum(misplaced), 0) FROM pix_internal.block_entries(%s)", (model_name,))
                if cursor.fetchone()[0] > 0:
                    cursor.execute("SELECT pix.pack_features(%s)", (model_name,))
                    healed.append(model_name)
        return healed
    except psycopg2.Error as error:
        raise from_database(error) from error
    finally:
        connection.close()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table_schema": "pix"}).get_current_revision()


def _process_id(connection: Connection) -> int:
    """Return the session's process id; the protocol's may be a pooler's."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def _check_encoding(connection: Connection) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (encoding,) = cursor.fetchone()
    if encoding != "UTF8":
        raise PixError(
            f"The database has the encoding {encoding}.", "Create one for UTF-8: CREATE DATABASE … ENCODING 'UTF8'"
        )


def _lock(connection: Connection) -> None:
    """Let one migration at a time go on; the first ones of a database meet where they create the same names."""
    is_locked = False
    while not is_locked:
        _execute(connection, "SAVEPOINT before_lock")
        try:
            _execute(connection, LOCK)
            is_locked = True
        except psycopg2.errors.UniqueViolation:  # another one was quicker, and has committed
            _execute(connection, "ROLLBACK TO SAVEPOINT before_lock")
        # Else all that follows would be written by a subtransaction, whose number is another one.
        _execute(connection, "RELEASE SAVEPOINT before_lock")


def _check_language(connection: Connection) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'plpython3u'")
        available = cursor.fetchone()
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        superuser = cursor.fetchone()[0]
    if available is None:
        raise PixError(
            "This server has no PL/Python (extension plpython3u).",
            "Install it beside the server: apt-get install postgresql-plpython3-15 (with the server's version)",
        )
    if not superuser:
        raise PixError(
            "Only a superuser can install functions in PL/Python, an untrusted language.",
            "Run pix migrate with a --dsn of a superuser; all other commands need only the role pix_admin.",
        )


def _execute(connection: Connection, sql: str) -> None:
    """Run SQL as it stands: SQLAlchemy would look for parameters in it."""
    with connection.connection.cursor() as cursor:
        cursor.execute(sql)
