"""Functions that hand over to Python, found in the catalogue: called in every way that a query can call one."""

import re

import psycopg2
import pytest

from tests.helpers import HANDS_OVER, execute

GUARD = re.compile(r"\bBEGIN\s+PERFORM pix_internal\.check_(call|alone)\(")

FUNCTIONS = rf"""
SELECT p.pronamespace::regnamespace || '.' || p.proname, p.proargtypes::regtype[]::text[], p.prosrc, l.lanname,
    p.proretset, p.provolatile = 'v'
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace) AND p.prokind = 'f'
    AND {HANDS_OVER}
ORDER BY 1
"""

MISUSED = {
    "for each row": "SELECT {call} FROM pix.items i",
    "of an aggregate": "SELECT {of_all} FROM pix.items i",
    "stored for each row": "CREATE TEMP TABLE made AS SELECT ({call})::text AS result FROM pix.items i",
    "stored of an aggregate": "INSERT INTO pg_temp.kept SELECT ({of_all})::text FROM pix.items i",
    "joined": "SELECT i.item_id FROM pix.items i CROSS JOIN (SELECT * FROM {alone}) f",
    "joined to each row": "SELECT i.item_id FROM pix.items i, LATERAL (SELECT {call} OFFSET 0) f",
    "stored from a join": "INSERT INTO pg_temp.kept SELECT i.item_id FROM pix.items i, (SELECT * FROM {alone}) f",
}
"""Ways to call a function beside, or on, segments."""
USED = {
    "selected": "SELECT {alone}",
    "from": "SELECT * FROM {alone}",
    "stored": "INSERT INTO pg_temp.kept SELECT ({alone})::text",
    "stored as a table": "CREATE TEMP TABLE made AS SELECT ({alone})::text AS result",
    "with a subquery": "SELECT {of_subquery}",
    "from a subquery": "SELECT * FROM {of_subquery}",
}
"""Ways that work: what a call is refused for is what it asks."""
IN_A_SELECT_LIST = ["stored", "stored as a table"]
"""Where Greenplum may make rows on segments."""


@pytest.fixture(scope="module")
def functions(server) -> list[tuple[str, list[str], str, str, bool, bool]]:
    return execute(server.dsn(server.name("template")), FUNCTIONS)


def test_the_guard_comes_first(functions):
    """Beside the coordinator's own part of a query, Greenplum loses the session where Python reads first."""
    assert len(functions) > 20
    for name, types, body, language, _, is_volatile in functions:
        assert language == "plpgsql", name
        assert GUARD.search(body), f"{name} hands over before it has looked how it is called"
        assert is_volatile or not types, f"{name} would be called before an argument of it is computed"


def test_what_is_written_in_python_is_behind_a_guard(server, functions):
    """Python that queries is called by those alone; what rows and segments call queries nothing."""
    callers = execute(
        server.dsn(server.name("template")),
        "SELECT p.oid::regprocedure::text, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang "
        "WHERE p.pronamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace) AND l.lanname = 'sql' "
        f"AND {HANDS_OVER}",
    )
    assert callers == []


def calls(name: str, types: list[str]) -> dict[str, str]:
    """Calls of a function with an argument of a row, of all rows, of a subquery, and of none; all others are NULL."""
    rest = [f"NULL::{each}" for each in types[1:]]
    first = types[0] if types else None

    def call(argument: str) -> str:
        return f"{name}({', '.join([f'({argument})::{first}', *rest] if types else [])})"

    is_text = first == "text"
    return {
        "call": call("i.item_id" if is_text else "NULL"),
        "of_all": call("max(i.item_id)" if is_text else "NULL"),
        "of_subquery": call("SELECT max(i.item_id) FROM pix.items i" if is_text else "NULL"),
        "alone": call("'nothing'" if is_text else "NULL"),
    }


@pytest.mark.parametrize("optimizer", ["on", "off"])
@pytest.mark.parametrize("form", [*MISUSED, *USED])
def test_every_form(segments, shared, with_catalogue, functions, form, optimizer):
    """What cannot work ends in an error of its own; the session goes on, and so does the coordinator."""
    with shared(with_catalogue).connect(None).cursor() as cursor:
        cursor.execute(f"SET optimizer = {optimizer}; CREATE TEMP TABLE kept (result text)")
        for name, types, _, _, returns_rows, _ in functions:
            statement = (MISUSED | USED)[form].format(**calls(name, types))
            code = outcome(cursor, statement)
            assert code != LOST, f"{statement} lost the session"
            if form in MISUSED:
                assert code is not None, f"{statement} was let through"
            else:
                may_be_refused = returns_rows and form in IN_A_SELECT_LIST
                is_refused = code in ("PX060", "0A000")
                assert code is None or may_be_refused or (code.startswith("PX") and not is_refused), (
                    f"{statement}: {code}"
                )
            cursor.execute("SELECT count(*) FROM pix.items")
            assert cursor.fetchone() == (2000,)


LOST = "lost"


def outcome(cursor, statement: str) -> str | None:
    """Run a statement and take it back; return its SQLSTATE, `LOST`, or None if there was no error."""
    cursor.execute("BEGIN")
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        if error.pgcode is None:
            return LOST
        code = error.pgcode
    else:
        code = None
    cursor.execute("ROLLBACK")
    return code
