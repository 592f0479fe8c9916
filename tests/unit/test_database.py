"""How statements are written for PL/Python."""

import pytest

from pixelplum.server.database import numbered, plain


@pytest.mark.parametrize(
    ("statement", "text", "names", "types"),
    [
        ("SELECT 1", "SELECT 1", [], []),
        ("SELECT $a::text", "SELECT $1", ["a"], ["text"]),
        ("SELECT $a::text, $b::int[], $a", "SELECT $1, $2, $1", ["a", "b"], ["text", "int[]"]),
        ("SELECT $a::text, $a::text", "SELECT $1, $1", ["a"], ["text"]),
        ("SELECT $a, $a::text", "SELECT $1, $1", ["a"], ["text"]),
        ("SELECT '$$a::text', $a::int", "SELECT '$a::text', $1", ["a"], ["int"]),
        ("SELECT f($a::pix.models)", "SELECT f($1)", ["a"], ["pix.models"]),
        ("SELECT x ~ '^[0-9]+$', $a::float8::text", "SELECT x ~ '^[0-9]+$', $1::text", ["a"], ["float8"]),
    ],
)
def test_parameters(statement, text, names, types):
    assert numbered(statement) == (text, names, types)


def test_sql_that_comes_from_elsewhere_has_no_parameters():
    statement = "SELECT $a::int WHERE " + plain("x = 'costs $a::text'")
    assert numbered(statement) == ("SELECT $1 WHERE x = 'costs $a::text'", ["a"], ["int"])


def test_a_parameter_without_a_type():
    with pytest.raises(ValueError, match="no type"):
        numbered("SELECT $a")
