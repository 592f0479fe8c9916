"""One word for one thing: those that were given up are nowhere."""

import importlib.util

import pytest

from tests.helpers import CHECKOUT


@pytest.fixture(scope="module")
def words():
    """The module that knows them."""
    spec = importlib.util.spec_from_file_location("words", CHECKOUT / "tools" / "words.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_words_that_were_given_up_are_nowhere(words):
    assert [f"{path}:{line}: {word} → {instead}" for path, line, word, instead in words.find()] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two Pictures of it", ["Pictures"]),
        ("it is no number", ["is no number"]),
        ("there is no number, and it is no longer there", []),
        ("the colours of its centre", ["colours", "centre"]),
        ("the colors of its center", []),
    ],
)
def test_words_are_found(words, text, expected):
    assert [found.word for found in words.words("a file", text)] == expected


def test_names_are_found_in_code_alone(words):
    assert [found.word for found in words.python_names("a file", 'share = "share"\ntell(share)  # share')] == ["share"]
    sql = "-- a share\nSELECT 'share' INTO share FROM t WHERE a IS NULL;\nIF NOT found THEN\nmethod := 1;"
    assert [(found.word, found.line) for found in words.sql_names("a file", sql)] == [("share", 2), ("method", 4)]


def test_names_of_the_api(words):
    """The names that people see: of functions, arguments, tables and columns, and of options of the command."""
    for name in ("tests/contract/api.txt", "docs/reference/sql.md", "docs/reference/commands.md"):
        text = (CHECKOUT / name).read_text()
        names = {token.strip("-").replace("-", "_") for token in words.TOKEN.findall(text)}
        assert not names & (words.NAMES.keys() - words.PLAIN), name
