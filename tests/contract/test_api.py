"""What the SQL API promises: comments, privileges, labels; and that a change of it shows."""

import re
from pathlib import Path

import pytest

from pixload.migration import migrate
from tests.helpers import CHECKOUT, generator

SNAPSHOT = Path(__file__).with_name("api.txt")

PRIVILEGES = Path(__file__).with_name("privileges.txt")

ROUTINES = """
SELECT p.oid::regprocedure::text, p.pronamespace = 'pix'::regnamespace, p.prokind, obj_description(p.oid),
    p.proacl::text,
    p.proconfig, l.lanname, p.prosrc, p.provolatile, p.proparallel, p.proretset, p.proname
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace) ORDER BY 1
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
    """A changed signature shows in the diff of api.txt."""
    assert generator().api(db.connect("rita")) == SNAPSHOT.read_text(), "run: make docs"


def test_rights_are_as_recorded(db):
    """A changed right shows in the diff of privileges.txt."""
    assert generator().privileges(db.connect(None)) == PRIVILEGES.read_text(), "run: make docs"


def test_every_public_routine_explains_itself(routines):
    for signature, is_public, _, comment, *_ in routines:
        if not is_public:
            assert comment is None, f"{signature} is internal: a line in the file says what it does"
            continue
        assert comment, f"{signature} has no COMMENT"
        for part in ("\nArguments", "\nResult: ", "\nErrors: ", "\nRuns: ", "\nExample: "):
            assert part in comment, f"{signature} lacks {part.strip()!r}"


def test_every_internal_routine_has_a_line_above_it():
    lines = re.compile(r"^(.*)\nCREATE OR REPLACE (?:FUNCTION|PROCEDURE|AGGREGATE) (pix_internal\.\w+)", re.M)
    routines = [match for path in (CHECKOUT / "sql").glob("*.sql") for match in lines.finditer(path.read_text())]
    assert len(routines) > 100
    assert [name for line, name in (match.groups() for match in routines) if not line.startswith("--")] == []


def test_searches_tell_of_names_that_exist_nowhere(routines):
    filtered = [row for row in routines if row[1] and "item_filter" in row[0]]
    assert len(filtered) == 5
    for signature, _, _, comment, *_ in filtered:
        errors = comment.split("\nErrors: ")[1]
        assert re.search("PX004|those of pix.nearest|of pix.nearest", errors), signature


def test_everything_public_explains_itself(db):
    for what, query in {
        "relation": "SELECT relname FROM pg_class c WHERE relnamespace = 'pix'::regnamespace AND relkind IN ('r', 'v') "
        "AND obj_description(oid, 'pg_class') IS NULL",
        "column": "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace = 'pix'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 "
        "AND NOT a.attisdropped "
        "AND col_description(c.oid, a.attnum) IS NULL",
        "schema": "SELECT nspname FROM pg_namespace WHERE nspname IN ('pix', 'pix_internal') "
        "AND obj_description(oid, 'pg_namespace') IS NULL",
        "type": "SELECT t.typname FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid "
        "WHERE t.typnamespace = 'pix'::regnamespace AND (t.typtype = 'd' OR c.relkind = 'c') "
        "AND obj_description(t.oid, 'pg_type') IS NULL",
    }.items():
        assert db.query(query) == [], f"a {what} without a comment"


def test_nothing_singularizes_into_a_clash(db):
    """PostGraphile and its like name a table's rows by the singular, and types as they are."""
    names = db.query(
        "SELECT typname FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid "
        "WHERE t.typnamespace = 'pix'::regnamespace AND c.relkind IN ('r', 'v', 'c')"
    )
    singular = [re.sub(r"ies$", "y", re.sub(r"(?<=[^s])s$", "", name)) for (name,) in names]
    assert len(set(singular)) == len(singular)


def test_function_names_are_unique(routines):
    """So they are commented on and granted without their arguments; drivers want votes as text or as jsonb."""
    names = [signature.split("(")[0] for signature, *_ in routines]
    assert {name for name in names if names.count(name) > 1} == {"pix.vote_batch"}


def test_a_grant_that_is_not_listed_is_taken_back(db):
    for grant in (
        "EXECUTE ON FUNCTION pix.vote TO pix_reader", "EXECUTE ON FUNCTION pix_internal.decay TO PUBLIC",
        "EXECUTE ON FUNCTION pix_internal.train_on_votes TO pix_admin", "INSERT ON pix.user_models TO pix_admin",
        "UPDATE (title) ON pix.items TO pix_reader", "USAGE ON SEQUENCE pix.interactions_vote_id_seq TO pix_app",
        "CREATE ON SCHEMA pix TO pix_admin", "SELECT ON pix.items TO PUBLIC",
    ):  # fmt: skip
        db.query(f"GRANT {grant}", role=None)
    migrate(db.dsn())
    test_rights_are_as_recorded(db)


def test_nobody_but_the_roles_may_run_anything(routines):
    for signature, is_public, _, _, privileges, *_ in routines:
        grantees = re.findall(r'([^{,="]*)=X', privileges or "")
        assert privileges, signature
        assert "" not in grantees, f"{signature} is granted to PUBLIC"
        if is_public:
            assert {"pix_reader", "pix_app", "pix_admin"} & set(grantees), f"{signature} is granted to nobody"


def test_search_path_is_fixed(routines):
    for signature, _, kind, _, _, settings, language, body, volatility, _, returns_rows, _ in routines:
        if language == "sql" and returns_rows and volatility != "v":
            assert settings is None, f"{signature} would not be inlined"
            assert re.search(r"\sFROM pix_internal\.unnest\(pix_internal\.\w+\([\w\s,.:()\[\]\"']+\)\) n\s*$", body), (
                signature
            )
            assert not re.search(r"[=<>+|]", body), f"{signature} uses an operator, which a search_path decides"
        elif kind == "a":
            assert settings is None, f"{signature} is what its functions are"
        elif language == "sql" and settings is None:
            assert volatility != "v", f"{signature} would not be inlined"
            assert not re.search(r"[=<>+*/|^]", body), f"{signature} uses an operator, which a search_path decides"
            assert not re.search(r"(?<!\.)\b(?!greatest|least|row)[a-z_]+\(", body, re.I), (
                f"{signature} does not name all in full"
            )
        elif kind == "p" and language == "plpython3u":
            assert settings is None, f"{signature} commits, and so cannot have settings"
        elif kind == "f":
            assert "search_path=pg_catalog, pg_temp" in (settings or []), signature
        else:
            assert settings is None, f"{signature} commits, and so cannot have settings"
            assert "set_config('search_path', 'pg_catalog, pg_temp', true)" in body, signature


def test_python_bodies_are_an_import_and_a_call_of_the_same_name(routines):
    for signature, _, _, _, _, _, language, body, *_, name in routines:
        if language == "plpython3u" and name not in (
            "examine_host",
            "require_no_transaction",
        ):  # where the import fails
            pattern = (
                rf"from pixelplum\.server import call; return call\(plpy, GD, '[\d.]+', '\w+\.{name}'(, [\w, ]+)?\)"
            )
            assert re.fullmatch(pattern, body), signature


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

    for schema, table in db.query("SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'pix%'"):
        db.query(f"SELECT * FROM {schema}.{table} LIMIT 1", role="rita")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query(f"DELETE FROM {schema}.{table}", role="rita")
    for (sequence,) in db.query("SELECT sequencename FROM pg_sequences WHERE schemaname = 'pix'"):
        db.query(f"SELECT * FROM pix.{sequence}", role="rita")


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
    extracted.ask("SELECT pix.fit_clusters('shapes', algorithm => 'ward', k => 8)")
    examples = extracted.ask(
        "SELECT p.oid::regprocedure::text, obj_description(p.oid) FROM pg_proc p "
        "WHERE pronamespace = 'pix'::regnamespace "
        "ORDER BY proname LIKE 'drop%', array_position(ARRAY['fit_clusters', 'fit_map', 'build_index'], "
        "proname::text), 1"
    )
    assert len(examples) > 10
    is_logged = False
    for signature, comment in examples:
        if not signature.startswith("pix.fit_clusters") and not is_logged:  # what was fitted is suggested from
            extracted.ask("SELECT pix.simulate('random', pix.users_who_like('heel', 6, 1), 30, 'boots', keep => true)")
            for extreme, liked in (("max", True), ("min", False)):  # a function that writes is called with values
                extracted.ask(f"SELECT pix.vote('ann', (SELECT {extreme}(item_id) FROM pix.images), {liked})")
            for algorithm in ("sgd_log", "nearest"):
                extracted.ask("SELECT pix.train_user_model('ann', %s)", (algorithm,))
            selection = (
                "CALL pix.select_algorithms('first', sizes => '{20}', algorithms => '{logistic,nearest}', repeats => 2)"
            )
            extracted.ask(selection)
            is_logged = True
        example = comment.split("Example: ")[1].replace("B005IYS5ZA", item_id)
        extracted.ask(example)
        assert example.rstrip().endswith(";"), signature


def test_readers_cannot_write_files(db):
    import psycopg2

    for call in ("write_file_part('x', 0, 'x')", "finish_file('x', 'network')", "model_is_ready('x', 'x', true, '{}')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query(f"SELECT pix_internal.{call}", role="ada")


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
