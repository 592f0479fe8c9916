"""Figures of the code's size: of this checkout, or of another one that is named.

    .pix/venv/bin/python tools/figures.py [--checkout FOLDER] [--tests]

Functions are read from the files of sql/, so that two versions can be compared without a server. Before version 0.8 a
function whose name begins with an underscore was internal.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import words

CREATE = re.compile(r"^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE)\s+(pix|pix_internal)\.(\w+)\s*\(", re.MULTILINE)
BODY = re.compile(r"AS (\$\w*\$)")


@dataclass
class Function:
    """A function of SQL: its name, its parameters, its lines, and its text."""

    schema: str
    name: str
    parameters: int
    lines: int
    text: str

    @property
    def is_internal(self) -> bool:
        return self.schema == "pix_internal" or self.name.startswith("_")


def parameters(text: str) -> int:
    """Count the parameters of a list that begins behind its parenthesis; results do not count."""
    depth, quoted, count, piece = 1, False, 0, ""
    for character in text:
        quoted ^= character == "'"
        depth += 0 if quoted else (character in "([") - (character in ")]")
        if depth == 0 or (depth == 1 and character == "," and not quoted):
            count += bool(piece.strip()) and piece.split()[0].upper() != "OUT"
            piece = ""
        else:
            piece += character
        if depth == 0:
            break
    return count


def sql_functions(folder: Path) -> list[Function]:
    """Read the functions that files of SQL create."""
    functions = []
    for path in sorted((folder / "sql").glob("*.sql")):
        text = path.read_text()
        for match in CREATE.finditer(text):
            body = BODY.search(text, match.end())
            end = text.index(body[1], body.end()) + len(body[1]) if body else match.end()
            whole = text[match.start() : end]
            count = parameters(text[match.end() :])
            functions.append(Function(match[1], match[2], count, whole.count("\n") + 1, whole))
    return functions


def callers(functions: list[Function]) -> Counter:
    """Count the functions that name each function."""
    named = Counter()
    for function in functions:
        for name in {other.name for other in functions} - {function.name}:
            named[name] += bool(re.search(rf"\b{name}\b", function.text))
    return named


def python_functions(folder: Path, paths: list[Path]) -> list[tuple[int, str]]:
    """Return the length of each function of Python, and where it is."""
    return [
        (node.end_lineno - node.lineno + 1, f"{path.relative_to(folder)}: {node.name}")
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def figures(folder: Path) -> dict[str, object]:
    """Return the figures of a checkout, by what they are of."""
    files = sorted((folder / "sql").glob("*.sql"))
    functions = sql_functions(folder)
    internal = [function for function in functions if function.is_internal]
    public = {function.name for function in functions if not function.is_internal}
    named = callers(functions)
    texts = "\n".join(path.read_text() for path in files)
    python = [path for part in ("plpython", "loader", "migrations", "tools") for path in (folder / part).rglob("*.py")]
    python = [path for path in python if path.parent.name != "versions"]  # these stay as they are
    tests = [path for part in ("tests", "benchmarks") for path in (folder / part).rglob("*.py")]
    widest = max(functions, key=lambda function: function.parameters)
    longest = max(functions, key=lambda function: function.lines)
    largest_sql = max(files, key=lines)
    largest_python, largest_test = max(python, key=lines), max(tests, key=lines)
    return {
        "lines of SQL": sum(map(lines, files)),
        "lines of REVOKE and GRANT": len(re.findall(r"^\s*(?:REVOKE|GRANT)\b", texts, re.MULTILINE)),
        "public functions": len(public),
        "internal functions": len(internal),
        "internal functions with one caller": sum(named[function.name] == 1 for function in internal),
        "parameters of the widest function": f"{widest.parameters} ({widest.name})",
        "functions of more than ten parameters": sum(function.parameters > 10 for function in functions),
        "largest file of SQL": f"{lines(largest_sql)} ({largest_sql.name})",
        "longest function of SQL": f"{longest.lines} ({longest.name})",
        "largest file of Python": f"{lines(largest_python)} ({largest_python.relative_to(folder)})",
        "largest file of tests": f"{lines(largest_test)} ({largest_test.relative_to(folder)})",
        "longest function of Python": "{} ({})".format(*max(python_functions(folder, python))),
        "words that were given up": len({hit.word.lower() for hit in words.find(folder)}),
    }


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def seconds(folder: Path, *tests: str) -> float:
    """Return how long tests take, two at a time, as `make test` runs them."""
    began = time.monotonic()
    command = [".pix/venv/bin/python", "-m", "pytest", "--quiet", "--numprocesses", "2", "--dist", "worksteal", *tests]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Print figures of the code's size.")
    parser.add_argument("--checkout", type=Path, default=words.CHECKOUT, help="Folder of the checkout; default: this.")
    parser.add_argument("--tests", action="store_true", help="Run the tests, too, and print how long they take.")
    options = parser.parse_args()
    for title, figure in figures(options.checkout.resolve()).items():
        print(f"{title}: {figure}")
    if options.tests:
        print(f"seconds of the unit tests: {seconds(options.checkout, 'tests/unit'):.0f}")
        print(f"seconds of all tests: {seconds(options.checkout):.0f}")


if __name__ == "__main__":
    main()
