"""One real server for the session, one migrated template database, a clone of it for each test."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from pixload.cluster import Cluster
from pixload.conversion import read_onnx
from pixload.database import Database
from pixload.migration import migrate
from pixload.models import SHIPPED, import_model

os.umask(0o022)  # the server runs as another user than root, and reads what tests write

CHECKOUT = Path(__file__).parents[1]
DATA = CHECKOUT.parent / "shared" / "data"
PIX = Path(sys.executable).parent / "pix"

ROLES = {"rita": "pix_reader", "adam": "pix_app", "ada": "pix_admin", "nobody": None}
"""Login roles that tests work as, and the role each is a member of."""


@pytest.fixture(scope="session")
def data() -> Path:
    """Real pictures, metadata and models beside the checkout."""
    if not DATA.is_dir():
        pytest.skip(f"there is no {DATA}")
    return DATA


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A server that runs until the tests are done."""
    folder = CHECKOUT / ".pix" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as home:
        cluster = Cluster(Path(home))
        cluster.start()
        yield cluster
        cluster.destroy()


@dataclass(frozen=True)
class Server:
    """A server, as its superuser and as others see it."""

    owner_dsn: str
    cache: Path

    def dsn(self, database: str, role: str | None = None) -> str:
        parameters = psycopg2.extensions.parse_dsn(self.owner_dsn) | {"dbname": database}
        return psycopg2.extensions.make_dsn(**parameters | ({"user": role} if role else {}))

    def run(self, sql: str) -> None:
        connection = psycopg2.connect(self.dsn("postgres"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()


@pytest.fixture(scope="session")
def server(cluster) -> Server:
    server = Server(cluster.dsn, cluster.home / "cache")
    server.run("CREATE DATABASE bare")
    server.run("CREATE DATABASE template")
    migrate(server.dsn("template"))
    for role, group in ROLES.items():
        server.run(f"CREATE ROLE {role} LOGIN {f'IN ROLE {group}' if group else ''}")
    connection = psycopg2.connect(server.dsn("template", "ada"))
    import_model(connection, "mini_inception", read_onnx(SHIPPED["mini_inception"]))
    connection.commit()
    connection.close()
    return server


numbers = itertools.count(1)


@dataclass
class Clone:
    """A database of one test; connections are closed when the test is over."""

    server: Server
    name: str

    def __post_init__(self):
        self._open = []

    def dsn(self, role: str | None = None) -> str:
        return self.server.dsn(self.name, role)

    def connect(self, role: str = "ada", autocommit: bool = True):
        connection = psycopg2.connect(self.dsn(role))
        connection.autocommit = autocommit
        self._open.append(connection)
        return connection

    def query(self, sql: str, parameters=None, role: str = "ada") -> list[tuple]:
        """Run SQL as a role, and return the rows."""
        connection = psycopg2.connect(self.dsn(role))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def value(self, sql: str, parameters=None, role: str = "ada"):
        return self.query(sql, parameters, role)[0][0]

    def database(self, role: str = "ada") -> Database:
        return Database(self.dsn(role), Cluster(Path("/nonexistent")))

    def pix(self, *arguments, role: str | None = "ada", check: bool = True, **options) -> subprocess.CompletedProcess:
        """Run the command as a user would."""
        result = subprocess.run(
            [PIX, *map(str, arguments)], env=os.environ | {"PIX_DSN": self.dsn(role)}, capture_output=True, text=True,
            **options,
        )  # fmt: skip
        if check:
            assert result.returncode == 0, result.stderr
        return result

    def close(self) -> None:
        for connection in self._open:
            connection.close()


@pytest.fixture
def clone(server):
    """Return a function that clones a database for the test."""
    clones = []

    def make(template: str) -> Clone:
        clone = Clone(server, f"test_{next(numbers)}")
        server.run(f"CREATE DATABASE {clone.name} TEMPLATE {template}")
        clones.append(clone)
        return clone

    yield make
    for clone in clones:
        clone.close()
        server.run(f"DROP DATABASE IF EXISTS {clone.name} WITH (FORCE)")


@pytest.fixture
def db(clone) -> Clone:
    """A migrated database with the model mini_inception."""
    return clone("template")


@pytest.fixture
def bare(clone) -> Clone:
    """An empty database."""
    return clone("bare")


@pytest.fixture
def until():
    """Return a function that waits until a query of one boolean is true."""

    def wait(db: Clone, condition: str, seconds: int = 60) -> None:
        deadline = time.monotonic() + seconds
        while not db.value(condition, role=None):
            assert time.monotonic() < deadline, f"still not true after {seconds} s: {condition}"
            db.query("SELECT pg_sleep(0.01)", role=None)

    return wait


def wait_for_recovery(cluster: Cluster) -> None:
    """The server ends all sessions when one is killed, and recovers by itself; it tells nobody when it is done."""
    deadline = time.monotonic() + 120
    while True:
        try:
            psycopg2.connect(cluster.dsn).close()
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, "the server did not recover"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def boots(tmp_path_factory) -> Path:
    """A drawn catalogue of 60 boots."""
    from pixload.sample import draw_catalogue

    folder = tmp_path_factory.mktemp("boots")
    for _ in draw_catalogue(folder, 60, 7):
        pass
    return folder


@pytest.fixture
def loaded(db, boots) -> Clone:
    """A database with the drawn boots loaded, nothing extracted."""
    db.pix("load", "images", boots / "pictures")
    return db


@pytest.fixture
def extracted(loaded) -> Clone:
    """A database with the features of the drawn boots."""
    loaded.query("CALL pix.extract_features()")
    return loaded
