"""The walks that docs/explanation.md writes down are those that calls take."""

import ast
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.helpers import CHECKOUT, execute

SOURCES = """
SELECT p.pronamespace::regnamespace || '.' || p.proname, p.prosrc, array(
    SELECT t.tgrelid::regclass::text FROM pg_trigger t WHERE t.tgfoid = p.oid
)
FROM pg_proc p WHERE p.prokind <> 'a' AND p.pronamespace IN ('pix'::regnamespace, 'pix_internal'::regnamespace)
"""
FOLLOW = """
CREATE FUNCTION public.follow() RETURNS void LANGUAGE plpython3u AS $$
import sys, threading
calls = GD["calls"] = set()
def note(frame, event, argument):
    module = frame.f_globals.get("__name__") or ""
    if event == "call" and module.startswith("pixelplum."):
        calls.add(module + "." + frame.f_code.co_qualname)
sys.setprofile(note)
threading.setprofile(note)
$$;
CREATE FUNCTION public.followed() RETURNS text[] LANGUAGE plpython3u AS $$
import sys, threading
sys.setprofile(None)
threading.setprofile(None)
return sorted(GD.pop("calls"))
$$;
GRANT EXECUTE ON FUNCTION public.follow(), public.followed() TO PUBLIC;
"""
FIRST_ITEM = "(SELECT min(item_id) FROM pix.features)"
LAST_ITEM = "(SELECT max(item_id) FROM pix.features)"
CALLS = {
    "An image to its feature row": ["CALL pix.extract_features()"],
    "A query to its answer": [f"SELECT * FROM pix.nearest({FIRST_ITEM})"],
    "A vote to a recommendation": [
        f"SELECT pix.vote('walker', {FIRST_ITEM}, true)",
        f"SELECT pix.vote('walker', {LAST_ITEM}, false)",
        "SELECT * FROM pix.recommend('walker', 3)",
    ],
    "A fit to its stored clusters": ["SELECT * FROM pix.fit_clusters('walked', k => 3, n_init => 1)"],
}


def walks() -> dict[str, list[tuple[int, str]]]:
    """Of each walk its functions, and how deep they stand."""
    text = (CHECKOUT / "docs/explanation.md").read_text()
    section = re.search(r"\n## Four walks\n(.*?)\n## ", text, re.DOTALL).group(1)
    titles = re.split(r"\*\*(.+)\*\*", section)[1:]
    return {
        title: [(len(indent) // 2, name) for indent, name in re.findall(r"^( *)- `([\w.]+)`: \S", body, re.MULTILINE)]
        for title, body in zip(titles[::2], titles[1::2], strict=True)
    }


def steps(walk: list[tuple[int, str]]) -> Iterator[tuple[str | None, str]]:
    """Each function of a walk, and the one that it stands below."""
    above: list[str] = []
    for depth, name in walk:
        del above[depth:]
        yield above[-1] if above else None, name
        above.append(name)


def is_sql(name: str) -> bool:
    return name.startswith(("pix.", "pix_internal."))


def python_function(name: str) -> Callable:
    """Of the server's package, or else of the core."""
    for package in ("pixelplum.server", "pixelplum.core", "pixelplum"):
        with suppress(ImportError, AttributeError):
            return pkgutil.resolve_name(f"{package}.{name}")
    raise LookupError(name)


def python_text(name: str) -> str:
    """The source of a Python function, and of the constants that it names."""
    function = python_function(name)
    source = textwrap.dedent(inspect.getsource(function))
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id.isupper()}
    return "\n".join([source, *(str(function.__globals__.get(constant)) for constant in names)])


@pytest.fixture(scope="module")
def sources(server):
    """Of each SQL function its body, and the tables that it is a trigger of."""
    if server.is_distributed:
        pytest.skip("Greenplum counts votes without a trigger")
    return {name: (body, tables) for name, body, tables in execute(server.dsn(server.name("template")), SOURCES)}


def test_walks_are_four():
    assert list(walks()) == list(CALLS)
    assert all(len(walk) > 10 for walk in walks().values())


@pytest.mark.parametrize("title", CALLS)
def test_each_function_calls_what_stands_below_it(sources, title):
    for caller, name in steps(walks()[title]):
        if caller is None:
            assert name in sources
            continue
        text = sources[caller][0] if is_sql(caller) else python_text(caller)
        if is_sql(name):
            called = re.search(rf"\b{name}\(", text) or any(table in text for table in sources[name][1])
        elif is_sql(caller):
            called = f"'{name}'" in text
        else:
            called = re.search(rf"\b{name.rpartition('.')[2]}\(", text)
        assert called, (caller, name)


@pytest.mark.parametrize("title", CALLS)
def test_calls_pass_each_function(loaded, server, title):
    """What Python functions are called is looked at while they are."""
    if server.is_distributed:
        pytest.skip("what runs on segments is not seen from here")
    loaded.query(FOLLOW, role=None)
    loaded.ask("SET max_parallel_workers = 0")
    if title != "An image to its feature row":
        loaded.ask("CALL pix.extract_features()")
    loaded.ask("SELECT public.follow()")
    for call in CALLS[title]:
        loaded.ask(call)
    ((called,),) = loaded.ask("SELECT public.followed()")
    functions = [python_function(name) for _, name in walks()[title] if not is_sql(name)]
    passed = {f"{function.__module__}.{function.__qualname__}" for function in functions}
    assert passed <= set(called), passed - set(called)
