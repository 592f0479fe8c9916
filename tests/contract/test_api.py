"""What the SQL API promises: comments, privileges, labels; and that a change of it shows."""

import re
from pathlib import Path

import pytest

SNAPSHOT = Path(__file__).with_name("api.txt")

ROUTINES = """
SELECT p.oid::regprocedure::text, p.proname, p.prokind, obj_description(p.oid), p.proacl::text, p.proconfig, l.lanname,
    p.prosrc, p.provolatile, p.proparallel, p.proretset, pg_get_userbyid(p.proowner)
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'pix'::regnamespace ORDER BY 1
"""
API = """
SELECT format('%s %s -> %s, %s, %s, %s', CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END,
    p.proname || '(' || replace(pg_get_function_arguments(p.oid), 'IN ', '') || ')',
    coalesce(pg_get_function_result(p.oid), 'nothing'),
    CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
    CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
    (SELECT string_agg(r.rolname, ' ') FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
     WHERE r.rolname LIKE 'pix\\_%'))
FROM pg_proc p WHERE p.pronamespace = 'pix'::regnamespace ORDER BY 1
"""
RELATIONS = """
SELECT format('%s %s(%s)', CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, c.relname,
    (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped))
FROM pg_class c WHERE c.relnamespace = 'pix'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1
"""


@pytest.fixture(scope="module")
def routines(server):
    import psycopg2

    connection = psycopg2.connect(server.dsn(server.name("template")))
    with connection.cursor() as cursor:
        cursor.execute(ROUTINES)
        rows = cursor.fetchall()
    connection.close()
    return rows


def test_public_api_is_as_recorded(db):
    """A changed signature shows in the diff of api.txt; write it anew from this test's output."""
    api = [row for (row,) in db.query(API) + db.query(RELATIONS)]
    assert "\n".join(api) + "\n" == SNAPSHOT.read_text()


def test_every_routine_explains_itself(routines):
    for signature, name, _, comment, *_ in routines:
        assert comment, f"{signature} has no COMMENT"
        assert re.search(r"Runs: \w+", comment), f"{signature} does not say where it runs"
        if not name.startswith("_"):
            for part in ("\nArguments: ", "Result: ", "\nExample: "):
                if part == "Result: " and "CALL" in comment:
                    continue
                assert part in comment, f"the COMMENT of {signature} lacks {part.strip()!r}"


def test_every_table_and_view_explains_itself(db):
    rows = db.query(
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'pix'::regnamespace AND relkind IN ('r', 'v')
            AND relname <> 'alembic_version' AND obj_description(oid) IS NULL
        """
    )
    assert rows == []


def test_nobody_but_the_roles_may_run_anything(routines):
    for signature, _, _, _, privileges, *_, owner in routines:
        assert "=X" in privileges, f"{signature} is granted to nobody"
        grantees = re.findall(r'([^{,="]*)=X', privileges)
        assert "" not in grantees, f"{signature} is granted to PUBLIC"
        assert set(grantees) - {owner} <= {"pix_reader", "pix_app", "pix_admin"}


def test_search_path_is_fixed(routines):
    for signature, _, kind, _, _, settings, language, body, volatility, _, returns_rows, _ in routines:
        if language == "sql" and returns_rows and volatility != "v":
            assert settings is None, f"{signature} would not be inlined"
            assert re.search(r"\sFROM pix\._unnest\(pix\._\w+\([\w\s,.:()\[\]\"']+\)\) n\s*$", body), signature
            assert not re.search(r"[=<>+|]", body), f"{signature} uses an operator, which a search_path decides"
        elif kind == "a":
            assert settings is None, f"{signature} is what its functions are"
        elif language == "sql" and settings is None:
            assert volatility != "v", f"{signature} would not be inlined"
            assert not re.search(r"[=<>+*/|^]", body), f"{signature} uses an operator, which a search_path decides"
            assert not re.search(r"(?<!\.)\b(?!greatest|least)[a-z_]+\(", body, re.I), (
                f"{signature} does not name all in full"
            )
        elif kind == "p" and language == "plpython3u":
            assert settings is None, f"{signature} commits, and so cannot have settings"
        elif kind == "f":
            assert "search_path=pg_catalog, pg_temp" in (settings or []), signature
        else:
            assert settings is None, f"{signature} commits, and so cannot have settings"
            assert "set_config('search_path', 'pg_catalog, pg_temp', true)" in body, signature


def test_python_bodies_are_an_import_and_a_call(routines):
    for signature, name, _, _, _, _, language, body, *_ in routines:
        if language == "plpython3u" and name not in ("_examine", "_require_no_transaction"):  # where the import fails
            lines = body.strip().splitlines()
            assert lines[0] == "from pixelplum.server import call", signature
            assert len(lines) == 2, signature
            assert lines[1].startswith("return call(plpy, GD, "), signature


def test_what_parallel_workers_run_is_not_volatile(routines):
    """A volatile function starts a command, which a parallel worker refuses."""
    for signature, *_, volatility, parallel, _, _ in routines:
        assert not (parallel == "s" and volatility == "v"), signature


def test_strangers_may_nothing(db):
    import psycopg2

    for sql in (
        "SELECT * FROM pix.items",
        "SELECT pix.nearest('x')",
        "SELECT * FROM pix.doctor()",
        "SELECT pix.embed('x')",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query(sql, role="nobody")


def test_readers_may_read_everything_and_write_nothing(db):
    import psycopg2

    tables = [name for (name,) in db.query("SELECT tablename FROM pg_tables WHERE schemaname = 'pix'")]
    for table in tables:
        if table != "alembic_version":
            db.query(f"SELECT * FROM pix.{table} LIMIT 1", role="rita")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                db.query(f"DELETE FROM pix.{table}", role="rita")


def test_only_the_owner_creates_functions(db):
    import psycopg2

    for role in ("rita", "adam", "ada"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query("CREATE FUNCTION pix.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", role=role)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query("CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE plpython3u AS 'return 1'", role=role)


def test_examples_run(extracted, boots):
    """The Example of every public function works on a loaded database."""
    extracted.pix("load", "metadata", boots / "metadata.json.gz")
    extracted.pix("load", "labels", boots / "labels.csv")
    item_id = extracted.value("SELECT min(item_id) FROM pix.images")
    extracted.query("SELECT pix.fit_clusters('shapes', algorithm => 'ward', k => 8)")
    examples = extracted.query(
        "SELECT p.oid::regprocedure::text, obj_description(p.oid) FROM pg_proc p "
        "WHERE pronamespace = 'pix'::regnamespace "
        "ORDER BY proname LIKE 'drop%', proname NOT LIKE 'fit%', 1"
    )
    assert len(examples) > 10
    is_logged = False
    for signature, comment in examples:
        if not signature.startswith("pix.fit") and not is_logged:  # what was fitted is suggested from
            extracted.query(
                "SELECT pix.simulate('random', pix.users_who_like('heel', 6, 1), 30, 'boots', keep => true)"
            )
            extracted.query(
                "SELECT pix.vote('ann', max(item_id), true), pix.vote('ann', min(item_id), false) FROM pix.images"
            )
            for algorithm in ("sgd_log", "nearest"):
                extracted.query("SELECT pix.train_user_model('ann', %s)", (algorithm,))
            selection = (
                "CALL pix.select_algorithms('first', sizes => '{20}', algorithms => '{logistic,nearest}', repeats => 2)"
            )
            extracted.query(selection)
            is_logged = True
        example = comment.split("Example: ")[1].replace("B005IYS5ZA", item_id)
        extracted.query(example)
        assert example.rstrip().endswith(";"), signature


def test_readers_cannot_write_files(db):
    import psycopg2

    for call in ("_write_model_part('x', 0, 'x')", "_finish_model('x')", "_model_is_ready('x', 'x', true, '{}')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query(f"SELECT pix.{call}", role="ada")


def test_hostile_search_path_does_not_reach_the_procedure(loaded):
    """An operator of somebody else's, first on the caller's path, is not used."""
    loaded.query("CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC", role=None)
    loaded.query(
        "CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'sprung'; END $$;"
        "CREATE OPERATOR trap.= (FUNCTION = trap.sprung, LEFTARG = text, RIGHTARG = text)",
        role=None,
    )
    connection = loaded.connect()
    cursor = connection.cursor()
    cursor.execute("SET search_path = trap, pg_catalog")
    cursor.execute("CALL pix.extract_features(chunk_size => 20)")
    assert loaded.value("SELECT count(*) FROM pix.features") == 60
