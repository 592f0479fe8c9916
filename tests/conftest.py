"""Options of the tests, and where their fixtures are."""

import pixelplum.server  # noqa: F401 - as in a backend, libraries use one thread, and do not wait spinning

pytest_plugins = [f"tests.fixtures.{subject}" for subject in ("servers", "barriers", "images", "catalogue", "shelves")]


def pytest_addoption(parser) -> None:
    parser.addoption("--dsn", help="Test on this server, as its superuser, in databases that are dropped afterwards.")
    parser.addoption("--calls", type=int, default=6, help="How often to call what is called while others write.")
