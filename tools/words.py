"""Words that were given up, and where they are left.

Run as a script, it prints each place; a test demands that there is none. What words mean is in docs/glossary.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]

ELSEWHERE = (
    "CHANGELOG.md",  # tells what was called how
    "migrations/versions/",  # published revisions stay as they are
    "plpython/pixelplum/core/clustering/clusters.py",  # a file of an earlier version says centres
    "tests/data/",  # what an earlier version has written
    "tests/server/test_upgrade.py",  # which asks an earlier version
    "tests/contract/test_frozen_revisions.py",  # names them
    "tests/contract/test_words.py",
    "tools/words.py",
)
"""Files in which any word may be."""

KINDS = (".py", ".sql", ".md", ".sh", ".j2", ".js", ".css", ".yml", ".toml", "Makefile")
"""How the names of text files end."""

WORDS = {
    r"pictures?": "image",
    r"anew": "again",
    r"meanwhile": "until then, or what happens",
    r"tellers?": "on_progress",
    r"what is gone": "deleted items",
    r"told by": "follows from, is read from",
    r"how far (?:it|they|long)": "progress",
    r"(?<!here )(?:is|are) no (?!more\b|longer\b|such\b|good\b|need\b)[a-z]\w*": "is not a, must be",
    r"greenplum cluster": "Greenplum",
    r"(?<!cluster\.)hierarch(?:y|ies)": "tree",  # but for a module of SciPy
    r"shares? of": "fraction of",
    r"(?:is|are) gone": "is deleted",
    r"of the random numbers|others each time": "random seed, a new one each time",
    r"\w*(?:colour|neighbour|behaviour|favourite|centimetre)\w*": "American spelling",
    r"centre[ds]?|labell(?:ed|ing)|(?<!is_)cancell(?:ed|ing)|modell(?:ed|ing)|grey|licences?": "American spelling",
    r"\w+isations?": "American spelling",
    r"(?:minim|maxim|normal|optim|initial|summar|recogn|organ|random|general)is(?:e|es|ed|ing)": "American spelling",
}
"""Patterns that no text may hold, in code, comments, messages and documentation; and what to say."""

NAMES = {
    "add_metadata": "fit_metadata",
    "asked": "a noun for what it holds",
    "assign_clusters": "refresh_clusters",
    "design": "fitted state",
    "designs": "fitted state",
    "drop_model_selection": "drop_algorithm_selection",
    "evaluate_policy": "compare_policies",
    "extend_metadata": "refresh_metadata",
    "found": "a noun for what it holds",
    "given": "a noun for what it holds",
    "infer": "embed",
    "is_cluster": "is_distributed",
    "known": "a noun for what it holds",
    "ladder": "algorithm rules",
    "learn_model_policy": "fit_algorithm_rules",
    "learn_priors": "refresh_priors",
    "learn_tastes": "fit_common_taste",
    "learner": "algorithm",
    "learners": "algorithms",
    "method": "algorithm",
    "model_policy": "algorithm_rules",
    "model_ranking": "algorithm_ranking",
    "place": "position, rank, coordinates, order",
    "place_on_map": "refresh_map",
    "places": "positions, coordinates",
    "run_model": "embed",
    "said": "a noun for what it holds",
    "select_models": "select_algorithms",
    "share": "fraction",
    "told": "a noun for what it holds",
    "user_model_policy": "algorithm_rules",
}
"""Names that nothing may have: in SQL, in Python, and among options of the command; and what to use."""

PLAIN = {"asked", "design", "found", "given", "known", "place", "places", "said", "share", "told"}
"""Names of these that are plain words too, and may be in sentences."""

TOKEN = re.compile(r"--[a-z][a-z-]*|[a-z_]+")
"""What may be a name, in text: an option of the command, or a word."""


class Found(NamedTuple):
    """A word that was given up, and where."""

    path: str
    line: int
    word: str
    instead: str


def files(checkout: Path) -> Iterator[str]:
    """Yield the text files of the project that this is about."""
    listed = subprocess.run(["git", "ls-files"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    for path in listed.splitlines():
        if path.endswith(KINDS) and not path.startswith(ELSEWHERE) and (checkout / path).is_file():
            yield path


def words(path: str, text: str) -> Iterator[Found]:
    """Yield the words that a text should not hold."""
    pattern = re.compile("|".join(rf"(\b(?:{word})\b)" for word in WORDS), re.IGNORECASE)
    remedies = list(WORDS.values())
    for number, line in enumerate(text.splitlines(), 1):
        for match in pattern.finditer(line):
            yield Found(path, number, match[0], remedies[match.lastindex - 1])


def python_names(path: str, text: str) -> Iterator[Found]:
    """Yield the names in Python that nothing should have; an option of the command is one, too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
            name = node.value[2:].replace("-", "_")
        else:
            continue
        if name in NAMES:
            yield Found(path, node.lineno, name, NAMES[name])


def sql_names(path: str, text: str) -> Iterator[Found]:
    """Yield the names in SQL that nothing should have, outside comments and strings."""
    blank = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
    text = blank.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(text.splitlines(), 1):
        for name in re.findall(r"\b[a-z_]+\b", line):
            if name in NAMES and name != "found":  # a variable of PL/pgSQL, and a column of pix.doctor
                yield Found(path, number, name, NAMES[name])


def find(checkout: Path = CHECKOUT) -> list[Found]:
    """Return all words that were given up and are still there."""
    results: list[Found] = []
    for path in files(checkout):
        text = (checkout / path).read_text()
        results += words(path, text)
        if path.endswith(".py"):
            results += python_names(path, text)
        if path.endswith(".sql"):
            results += sql_names(path, text)
    return results


if __name__ == "__main__":
    for path, line, word, instead in find():
        print(f"{path}:{line}: {word} → {instead}")
