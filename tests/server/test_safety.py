"""What the section "Safety" of docs/explanation.md says, sentence by sentence."""

import re

import psycopg2
import pytest
from pixload.migrations.tables import metadata

from pixload.migration import migrate
from tests.helpers import CHECKOUT, fails_with

ROLES = ("rita", "adam", "ada")
DENIED = psycopg2.errors.InsufficientPrivilege

OPENED = (
    "models", "model_parts", "packs", "feature_blocks", "indexes", "index_parts", "clusterings", "clustering_states",
    "clusters", "projections", "maps", "metadata_models", "quantizations", "classifiers", "classifier_classes",
    "user_models", "common_taste",
)  # fmt: skip
BROUGHT = {
    "items": "title = 'x'", "images": "source = 'x'", "labels": "label = label", "features": "vector = vector",
    "interactions": "value = value", "settings": "value = value", "signals": "value = value",
}  # fmt: skip


def named(table: str) -> str:
    return str(next(expected for expected in metadata.tables.values() if expected.name == table))


def denied(db, sql: str, *roles: str) -> None:
    for role in roles:
        with pytest.raises(DENIED):
            db.query(sql, role=role)


def only_the_owner_creates(db) -> None:
    body = "RETURNS integer LANGUAGE plpython3u AS 'return 1'"
    denied(db, f"CREATE FUNCTION public.mine() {body}", *ROLES, "nobody")
    denied(db, f"CREATE FUNCTION pg_temp.mine() {body}", *ROLES, "nobody")
    denied(db, "CREATE FUNCTION pix.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'", *ROLES, "nobody")
    denied(db, "CREATE TABLE pix.mine (n integer)", *ROLES, "nobody")
    denied(db, "CREATE TRIGGER mine BEFORE INSERT ON pix.items FOR EACH ROW EXECUTE FUNCTION now()", *ROLES)


def strangers_may_nothing(db) -> None:
    calls = ("SELECT pix.nearest('x')", "SELECT pix.vote('a', 'b', true)", "CALL pix.extract_features()")
    for sql in ("SELECT FROM pix.items", *calls):
        denied(db, sql, "nobody")


def readers_read(db) -> None:
    relations = db.query(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'pix'::regnamespace "
        "AND relkind IN ('r', 'v') AND relname <> 'alembic_version'"
    )
    for name, kind in relations:
        db.query(f"SELECT * FROM pix.{name} LIMIT 1", role="rita")
        if kind == "r":
            for sql in (f"DELETE FROM pix.{name}", f"INSERT INTO pix.{name} DEFAULT VALUES", f"TRUNCATE pix.{name}"):
                denied(db, sql, "rita")
    assert db.value("SELECT count(*) FROM pix.nearest((SELECT min(item_id) FROM pix.images), 3)", role="rita") == 3
    assert db.value("SELECT octet_length(pix.embed(content)) FROM pix.images LIMIT 1", role="rita") > 0
    denied(db, "SELECT pix.vote('ann', 'x', true)", "rita")
    denied(db, "SELECT pix.pack_features()", "rita", "adam")


def apps_log_and_change_nothing(db) -> None:
    item = db.value("SELECT min(item_id) FROM pix.items")
    db.query("SELECT pix.vote('ann', %s, true)", (item,), role="adam")
    assert db.query("SELECT 1 FROM pix.recommend('ann', 1)", role="adam") == [(1,)]
    for table in ("interactions", "impressions", "arms", "users"):
        for sql in (f"DELETE FROM pix.{table}", f"UPDATE pix.{table} SET user_id = 'bob'", f"TRUNCATE pix.{table}",
                    f"INSERT INTO pix.{table} DEFAULT VALUES"):  # fmt: skip
            denied(db, sql, "adam")


def admins_work(db) -> None:
    for table, change in BROUGHT.items():
        db.query(f"UPDATE pix.{table} SET {change}", role="ada")
    for work in (
        "CALL pix.extract_features()",
        "SELECT pix.build_index('mine')",
        "SELECT pix.fit_clusters('mine', k => 3)",
        "CALL pix.train_user_models()",
        "SELECT pix.drop_index('mine')",
    ):
        db.query(work, role="ada")


def admins_write_nothing_that_is_opened(db) -> None:
    for table in OPENED:
        column = db.value(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (named(table),), role=None
        )
        for sql in (
            f"DELETE FROM {named(table)}",
            f"UPDATE {named(table)} SET {column} = {column}",
            f"TRUNCATE {named(table)}",
        ):
            denied(db, sql, *ROLES)
        columns = "(model_name, checksum) VALUES ('x', 'y')" if table == "models" else "DEFAULT VALUES"
        denied(db, f"INSERT INTO {named(table)} {columns}", *ROLES)
    for column in ("packed_in", "block", "position"):
        denied(db, f"UPDATE pix.features SET {column} = 1", *ROLES)
        denied(
            db,
            f"INSERT INTO pix.features (item_id, model_name, vector, {column}) VALUES ('x', 'y', '\\x00', 1)",
            *ROLES,
        )
    for call in ("'x', 0, 'x'", "repeat('a', 64), -1, 'x'", "repeat('a', 64), 0, ''", "NULL, 0, 'x'"):
        fails_with(db, "PX003", f"SELECT pix.store_model_part({call})", role="ada")


def no_files(db) -> None:
    """What could name one is bytes, or the name of something in a table."""
    named = db.query(
        "SELECT p.oid::regprocedure::text FROM pg_proc p, unnest(p.proargnames) n "
        "WHERE p.pronamespace = 'pix'::regnamespace AND (n ~ '(path|file|folder|directory)') "
        "AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner)"
    )
    assert named == []
    denied(db, "SELECT pg_read_file('/etc/passwd')", *ROLES)
    denied(db, "COPY (SELECT 1) TO '/tmp/x'", *ROLES)
    denied(db, "COPY (SELECT 1) TO PROGRAM 'true'", *ROLES)


WRITERS = (
    "model_is_ready('x', 'x', true, '{}')",
    "write_file_part('x', 0, 'x')",
    "finish_file('x', 'index')",
    "restore_block('x', '{a}', 'x', 'x')",
    "drive('packing.sweep_cache', '{}')",
    "open_index_files('x', 'x')",
    "keep_common_taste('x', '{}', 'x')",
    "score_vector('x', '{}', 'x')",
    "assign_to_clusters('x', 1, 'x')",
    "answer('recommendations.recommend', '{}')",
)


def no_openers(db) -> None:
    for call in WRITERS:
        denied(db, f"SELECT pix_internal.{call}", *ROLES)


def no_locks(db) -> None:
    for table in ("arms", "users", "locks", "packs", "features"):
        denied(db, f"BEGIN; LOCK TABLE {named(table)} IN ROW EXCLUSIVE MODE", "rita", "adam", "nobody")
        denied(db, f"SELECT FROM {named(table)} FOR UPDATE", "rita", "adam", "nobody")
    bodies = (
        "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname IN ('pix', 'pix_internal') AND prosrc ~ 'advisory'"
    )
    assert db.query(bodies, role=None) == []


def rights_are_taken_back(db) -> None:
    db.query(
        "GRANT EXECUTE ON FUNCTION pix.pack_features TO pix_reader, PUBLIC;"
        "GRANT INSERT, UPDATE ON pix_internal.model_parts TO pix_admin;"
        "GRANT UPDATE (block) ON pix.features TO pix_admin; GRANT SELECT ON pix.items TO PUBLIC;"
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pix TO pix_reader",
        role=None,
    )
    migrate(db.dsn())
    strangers_may_nothing(db)
    no_openers(db)
    admins_write_nothing_that_is_opened(db)
    denied(db, "SELECT pix.pack_features()", "rita", "adam", "nobody")


SENTENCES = {
    "Nobody but the owner": only_the_owner_creates,
    "A role that has none": strangers_may_nothing,
    "`pix_reader` reads every": readers_read,
    "`pix_app` can do that too": apps_log_and_change_nothing,
    "`pix_admin` can do that too": admins_work,
    "`pix_admin` is a colleague": admins_write_nothing_that_is_opened,
    "None of the three reads": no_files,
    "None of the three calls": no_openers,
    "Nobody can lock out": no_locks,
    "A right that this version": rights_are_taken_back,
}


@pytest.fixture(scope="module")
def with_metadata(stage, with_labels, boots) -> str:
    return stage("with_metadata", with_labels, lambda db: db.pix("load", "metadata", boots / "metadata.json.gz"))


@pytest.mark.parametrize("check", SENTENCES.values(), ids=SENTENCES)
def test_sentence(clone, with_metadata, check):
    check(clone(with_metadata))


def test_every_sentence_is_tried():
    section = (CHECKOUT / "docs/explanation.md").read_text().split("\n## Safety\n")[1].split("\n## ")[0]
    sentences = re.findall(r"^- (.*)", section, re.M)
    assert len(sentences) == len(SENTENCES)
    for sentence, start in zip(sentences, SENTENCES, strict=True):
        assert sentence.startswith(start)
