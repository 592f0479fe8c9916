"""One real server for the session, one migrated template database, a clone of it for each test.

The server is a private one, or that of `--dsn`, where tests make databases and roles of their own and drop them.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import psycopg2
import psycopg2.extras
import pytest

from pixload.conversion.onnx_files import read_onnx
from pixload.database import Database
from pixload.migration import migrate
from pixload.models import SHIPPED, import_model
from pixload.private_server import PrivateServer

os.umask(0o022)  # the server runs as another user than root, and reads what tests write

CHECKOUT = Path(__file__).parents[1]
DATA = CHECKOUT.parent / "shared" / "data"
PIX = Path(sys.executable).parent / "pix"

ROLES = {"rita": "pix_reader", "adam": "pix_app", "ada": "pix_admin", "nobody": None}
"""Login roles that tests work as, and the role each is a member of."""


def pytest_addoption(parser) -> None:
    parser.addoption("--dsn", help="Test on this server, as its superuser, in databases that are dropped afterwards.")
    parser.addoption("--calls", type=int, default=6, help="How often to call what is called while others write.")


@pytest.fixture(scope="session")
def data() -> Path:
    """Real images, metadata and models beside the checkout."""
    if not DATA.is_dir():
        pytest.skip(f"there is no {DATA}")
    return DATA


def execute(dsn: str, sql: str, parameters=None) -> list[tuple]:
    """Run SQL in a connection of its own, and return the rows."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@dataclass
class Server:
    """A server, as its superuser and as others see it.

    Databases and roles of tests have names of their own: tests may share a server with others.
    """

    owner_dsn: str
    token: str = field(default_factory=lambda: f"test_{secrets.token_hex(3)}")
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    def name(self, short: str) -> str:
        """The name of a database or role."""
        return f"{self.token}_{short}"

    def dsn(self, database: str, role: str | None = None) -> str:
        parameters = psycopg2.extensions.parse_dsn(self.owner_dsn) | {"dbname": database}
        login = {"user": self.name(role), "password": self.password} if role else {}
        return psycopg2.extensions.make_dsn(**parameters | login)

    def run(self, sql: str, parameters=None) -> list[tuple]:
        """Run SQL as the superuser, outside the databases of tests."""
        return execute(self.owner_dsn, sql, parameters)

    def drop(self, database: str) -> None:
        """Drop a database, ending its sessions."""
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        self.run(f"DROP DATABASE IF EXISTS {database}")

    def wait_for_recovery(self) -> None:
        """A server that lost a process to a signal ends its sessions, and recovers by itself; it tells nobody when."""
        deadline = time.monotonic() + 120
        while True:
            try:
                self.run("SELECT count(*) FROM gp_dist_random('gp_id')" if self.is_distributed else "SELECT 1")
            except psycopg2.Error:
                assert time.monotonic() < deadline, "the server did not recover"
                time.sleep(0.05)
            else:
                return

    def has_library(self, name: str) -> bool:
        """Whether the server's own Python finds a library, which may be another Python than that of the tests."""
        sql = (
            "CREATE FUNCTION pg_temp.is_found(name text) RETURNS boolean LANGUAGE plpython3u AS "
            "'from importlib.util import find_spec; return find_spec(name) is not None'; SELECT pg_temp.is_found(%s)"
        )
        return execute(self.dsn(self.name("template")), sql, (name,)) == [(True,)]

    @cached_property
    def is_distributed(self) -> bool:
        """Whether it spreads tables over segments."""
        return self.run("SELECT to_regclass('pg_catalog.gp_distribution_policy') IS NOT NULL") == [(True,)]


@pytest.fixture(scope="session")
def server(request):
    """The server of `--dsn`, or one that runs until the tests are done."""
    dsn = request.config.getoption("--dsn")
    if dsn:
        yield from prepared(Server(dsn))
        return
    folder = CHECKOUT / ".pix" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as home:
        private_server = PrivateServer(Path(home))
        private_server.start()
        yield from prepared(Server(private_server.dsn))
        private_server.destroy()


def prepared(server: Server):
    """Create the roles and the databases that tests clone; drop them afterwards."""
    groups = {group for (group,) in server.run("SELECT rolname FROM pg_roles WHERE rolname LIKE 'pix\\_%'")}
    try:
        for database in ("bare", "template"):
            server.run(f"CREATE DATABASE {server.name(database)} ENCODING 'UTF8' TEMPLATE template0")
        migrate(server.dsn(server.name("template")))
        for role, group in ROLES.items():
            membership = f"IN ROLE {group}" if group else ""
            server.run(f"CREATE ROLE {server.name(role)} LOGIN PASSWORD '{server.password}' {membership}")
        connection = psycopg2.connect(server.dsn(server.name("template"), "ada"))
        import_model(connection, "mini_inception", read_onnx(SHIPPED["mini_inception"]))
        connection.commit()
        connection.close()
        yield server
    finally:
        for (database,) in server.run("SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{server.token}%",)):
            server.drop(database)
        for role in ROLES:
            server.run(f"DROP ROLE IF EXISTS {server.name(role)}")
        for role in ("pix_admin", "pix_app", "pix_reader"):
            if role not in groups:
                server.run(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def segments(server) -> int:
    """Number of segments; the test is about them."""
    if not server.is_distributed:
        pytest.skip("this server has no segments")
    return server.run("SELECT count(*) FROM gp_segment_configuration WHERE role = 'p' AND content >= 0")[0][0]


@pytest.fixture(autouse=True)
def libraries(request) -> None:
    """Skip a test that is marked with optional libraries, where the server has not got them."""
    for marker in request.node.iter_markers("library"):
        for name in marker.args:
            if not request.getfixturevalue("server").has_library(name):
                pytest.skip(f"the server's Python has no {name}")


@pytest.fixture
def parallel_workers(server) -> None:
    """The test is about parallel workers."""
    if server.is_distributed:
        pytest.skip("a cluster shares work among segments, not parallel workers")


@pytest.fixture
def same_host(server) -> None:
    """The test kills processes of the server, or shares files with it."""
    host = psycopg2.extensions.parse_dsn(server.owner_dsn).get("host", "/")
    if not host.startswith("/") and host not in ("localhost", "127.0.0.1", "::1"):
        pytest.skip("the server runs on another host")


numbers = itertools.count(1)


@dataclass
class Clone:
    """A database of one test; connections are closed when the test is over."""

    server: Server
    name: str
    _open: list = field(default_factory=list)
    _sessions: dict = field(default_factory=dict)

    def dsn(self, role: str | None = None) -> str:
        return self.server.dsn(self.name, role)

    def connect(self, role: str = "ada", autocommit: bool = True):
        connection = psycopg2.connect(self.dsn(role))
        connection.autocommit = autocommit
        self._open.append(connection)
        return connection

    def query(self, sql: str, parameters=None, role: str = "ada") -> list[tuple]:
        """Run SQL as a role, and return the rows."""
        return execute(self.dsn(role), sql, parameters)

    def ask(self, sql: str, parameters=None, role: str = "ada") -> list[tuple]:
        """Run SQL in the one session that a role keeps, and return the rows."""
        with self.session(role).cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def session(self, role: str):
        """The connection that a role keeps for the whole test."""
        if role not in self._sessions:
            self._sessions[role] = self.connect(role)
        return self._sessions[role]

    def forget_sessions(self) -> None:
        """Open new sessions from now on: the server has ended those that there were."""
        self._sessions.clear()

    def value(self, sql: str, parameters=None, role: str = "ada"):
        return self.query(sql, parameters, role)[0][0]

    def database(self, role: str = "ada") -> Database:
        return Database(self.dsn(role), PrivateServer(Path("/nonexistent")))

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
def clone(server, request):
    """Return a function that clones a database for the test.

    For tests of native libraries, queries are compiled; after tests with several sessions, all that is derived agrees.
    """
    clones = []
    settings = ("jit = on", "jit_above_cost = 0") if request.node.get_closest_marker("native") else ()

    def make(template: str) -> Clone:
        clone = Clone(server, server.name(f"{next(numbers)}"))
        server.run(f"CREATE DATABASE {clone.name} TEMPLATE {server.name(template)}")
        for setting in settings:
            server.run(f"ALTER DATABASE {clone.name} SET {setting}")
        clones.append(clone)
        return clone

    yield make
    try:
        for clone in clones:
            clone.close()
            if request.node.get_closest_marker("sessions"):
                assert clone.query("SELECT * FROM pix.check_derived() WHERE NOT ok") == []
    finally:
        for clone in clones:
            server.drop(clone.name)


@pytest.fixture
def db(clone) -> Clone:
    """A migrated database with the model mini_inception."""
    return clone("template")


@pytest.fixture
def bare(clone) -> Clone:
    """An empty database."""
    return clone("bare")


SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"  # on a cluster, perhaps on a segment


@pytest.fixture
def until():
    """Return a function that waits until a query of one boolean is true."""

    def wait(db: Clone, condition: str, seconds: int = 60) -> None:
        deadline = time.monotonic() + seconds
        while not db.value(condition, role=None):
            assert time.monotonic() < deadline, f"still not true after {seconds} s: {condition}"
            db.query("SELECT pg_sleep(0.01)", role=None)

    return wait


class Barrier:
    """Holds up whoever writes a certain row, until it is released: a trigger that reads from a pipe.

    Locks would do on PostgreSQL, but Greenplum locks the whole table for some statements.
    """

    def __init__(self, db: Clone, table: str, item_id: str, folder: Path):
        self._pipe, self._pid_file, self._end = folder / "pipe", folder / "pid", None
        os.mkfifo(self._pipe)
        self._pid_file.touch()
        for path in (self._pipe, self._pid_file):
            path.chmod(0o666)
        db.query(
            f"""
            CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpython3u AS $$
            import os
            with open('{self._pid_file}', 'w') as file:
                file.write(str(os.getpid()))
            with open('{self._pipe}') as pipe:
                pipe.read()
            $$;
            CREATE TRIGGER hold BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.item_id = '{item_id}')
            EXECUTE FUNCTION public.hold()
            """,
            role=None,
        )

    def wait(self) -> int:
        """Wait until a process of the server is held up; return its id."""
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(os.open, self._pipe, os.O_WRONLY)
            try:
                self._end = opening.result(120)
            except TimeoutError:
                os.close(os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK))
                raise
        return int(self._pid_file.read_text())

    def release(self) -> None:
        """Let it go on, and whoever comes after it."""
        self._pipe.unlink()
        self._pipe.touch()
        os.close(self._end)


@pytest.fixture
def barrier(same_host):
    """Return a function that makes a barrier in a database."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield lambda db, table, item_id: Barrier(db, table, item_id, Path(folder))


@pytest.fixture(scope="session")
def boots(tmp_path_factory) -> Path:
    """A drawn catalogue of 60 boots."""
    from pixload.sample import draw_catalogue

    folder = tmp_path_factory.mktemp("boots")
    for _ in draw_catalogue(folder, 60, 7):
        pass
    return folder


@pytest.fixture(scope="session")
def stage(server):
    """Return a function that fills a database once, for tests to clone; it returns the database's name."""
    filled = set()

    def fill(name: str, template: str, work) -> str:
        if name not in filled:
            server.run(f"CREATE DATABASE {server.name(name)} TEMPLATE {server.name(template)}")
            filled.add(name)
            made = Clone(server, server.name(name))
            work(made)
            made.close()
        return name

    return fill


@pytest.fixture(scope="session")
def with_boots(stage, boots) -> str:
    return stage("loaded", "template", lambda db: db.pix("load", "images", boots / "images"))


@pytest.fixture(scope="session")
def with_features(stage, with_boots) -> str:
    return stage("extracted", with_boots, lambda db: db.query("CALL pix.extract_features()"))


@pytest.fixture(scope="session")
def with_labels(stage, with_features, boots) -> str:
    return stage("labeled", with_features, lambda db: db.pix("load", "labels", boots / "labels.csv"))


@pytest.fixture(scope="session")
def with_classifier(stage, with_labels) -> str:
    return stage("trained", with_labels, lambda db: db.query("SELECT pix.train_classifier('heels', 'heel')"))


@pytest.fixture
def loaded(clone, with_boots) -> Clone:
    """A database with the drawn boots loaded, nothing extracted."""
    return clone(with_boots)


@pytest.fixture
def extracted(clone, with_features) -> Clone:
    """A database with the features of the drawn boots."""
    return clone(with_features)


@pytest.fixture
def labeled(clone, with_labels) -> Clone:
    """Features and labels of the drawn boots."""
    return clone(with_labels)


@pytest.fixture
def trained(clone, with_classifier) -> Clone:
    """A classifier of their heels."""
    return clone(with_classifier)


@dataclass
class Catalogue:
    """Items c0000, c0001, … with random features of a foreign model, clouds: there are groups of alike ones."""

    db: Clone
    vectors: dict[str, np.ndarray]
    random: np.random.Generator

    def add(self, numbers) -> list[str]:
        """Add items, or give those that are there other features."""
        added = self.draw(numbers)
        self.store(added)
        return added

    def draw(self, numbers) -> list[str]:
        """Draw the features of items, without storing them."""
        centers = np.random.default_rng(1).normal(size=(40, DIMENSIONS))
        added = {f"c{n:04}": centers[n % 40] + 0.7 * self.random.normal(size=DIMENSIONS) for n in numbers}
        self.vectors |= {item_id: np.float32(vector) for item_id, vector in added.items()}
        return list(added)

    def store(self, item_ids: list[str]) -> None:
        """Write the features of items as they should be."""
        with self.db.session("ada").cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO pix.features AS f (item_id, model_name, vector) VALUES %s "
                "ON CONFLICT ON CONSTRAINT features_pkey DO UPDATE SET vector = excluded.vector",
                [(item_id, "clouds", psycopg2.Binary(self.vectors[item_id].tobytes())) for item_id in item_ids],
                page_size=500,
            )
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO pix.items (item_id, price, brand) VALUES %s ON CONFLICT DO NOTHING",
                [(item_id, int(item_id[1:]) % 100, f"brand {int(item_id[1:]) % 7}") for item_id in item_ids],
            )

    def remove(self, item_ids: list[str]) -> None:
        """Remove the features of items."""
        self.db.ask("DELETE FROM pix.features WHERE item_id = ANY(%s)", (item_ids,))
        for item_id in item_ids:
            del self.vectors[item_id]

    def expected(self, query: np.ndarray, k: int, metric: str, exclude=()) -> list[tuple[str, float]]:
        """The nearest items and their distances, by numpy alone."""
        names = sorted(set(self.vectors) - set(exclude))
        matrix, query = np.stack([self.vectors[name] for name in names]).astype(float), query.astype(float)
        if metric == "euclidean":
            distances = np.linalg.norm(matrix - query, axis=1)
        else:
            distances = -(matrix @ query)
            if metric == "cosine":
                distances = 1 + distances / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
        order = np.argsort(distances, kind="stable")[:k]
        return [(names[i], distances[i]) for i in order]


DIMENSIONS = 48


def fill_catalogue(db: Clone) -> None:
    db.query("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('clouds', %s, 'a test')", (DIMENSIONS,))
    Catalogue(db, {}, np.random.default_rng(7)).add(range(2000))
    db.ask("SELECT pix.pack_features('clouds')")


@pytest.fixture(scope="session")
def with_catalogue(stage) -> str:
    return stage("catalogue", "template", fill_catalogue)


@pytest.fixture
def catalogue(clone, with_catalogue) -> Catalogue:
    """2,000 items with features, packed."""
    made = Catalogue(clone(with_catalogue), {}, np.random.default_rng(7))
    made.draw(range(2000))
    return made


def voted(user: int, number: int) -> bool:
    """Whether voter 0, 1, … likes item c<number>: even ones like clouds 0 to 3, odd ones the others."""
    return (number % 40 < 4) == (user % 2 == 0)


VOTERS, THEIR_VOTES = 10, 30


def let_vote(db: Clone) -> None:
    db.query("SELECT pix.set_default_model('clouds')")
    random = np.random.default_rng(11)
    shown = [number for number in range(1800) if number % 40 < 8]
    votes = [
        {"user_id": f"u{user}", "item_id": f"c{number:04}", "liked": voted(user, number)}
        for user in range(VOTERS)
        for number in random.choice(shown, THEIR_VOTES, replace=False).tolist()
    ]
    assert db.query("SELECT DISTINCT status FROM pix.vote_batch(%s)", (json.dumps(votes),)) == [("logged",)]


@pytest.fixture(scope="session")
def with_voters(stage, with_catalogue) -> str:
    return stage("voters", with_catalogue, let_vote)


@pytest.fixture
def voters(clone, with_voters) -> Clone:
    """The catalogue, and ten users with thirty votes each on items of eight clouds: see `voted`."""
    return clone(with_voters)


@pytest.fixture(scope="session")
def with_photographs(stage, data) -> str:
    def load(db: Clone) -> None:
        graph = data / "models" / "mobilenet_v1_0.25_128" / "frozen_graph.pb"
        imported = db.pix(
            "model", "import", "mobilenet", "--graphdef", graph,
            "--input", "input:0", "--output", "MobilenetV1/Logits/AvgPool_1a/AvgPool:0",
        )  # fmt: skip
        assert "256 features an image" in imported.stdout
        loaded = db.pix("load", "images", data / "clothing", "--label-set", "kind")
        assert loaded.stdout == "3,068 new, 0 changed, 0 unchanged, 0 rejected\n"
        assert db.pix("extract", "--model", "mobilenet").stdout.startswith("3,068 extracted, 0 failed, 0 pending")

    return stage("photographs", "template", load)


@pytest.fixture
def photographs(clone, with_photographs) -> Clone:
    """3,068 photographs in ten kinds, with MobileNet's features."""
    return clone(with_photographs)


@pytest.fixture
def cache_folder(db, same_host) -> Path:
    """The cache folder of the host of the server, or of its coordinator."""
    return Path(db.value("SELECT split_part(found, ',', 1) FROM pix.doctor() WHERE \"check\" = 'cache' LIMIT 1"))


def shelves(db, sizes: dict[int, int], clustering: str = "shelves") -> None:
    """Make a clustering by hand: items s<cluster>-<number>, of so many in each cluster, with features."""
    db.ask(
        "INSERT INTO pix.models (model_name, dimensions, source) VALUES ('shelf', 4, 'a test') ON CONFLICT DO NOTHING"
    )
    items = [(f"s{cluster}-{number:02}", cluster, number) for cluster, size in sizes.items() for number in range(size)]
    values = tuple(map(list, zip(*items, strict=True)))
    rows = "unnest(%s, %s, %s) u (item_id, cluster, number)"
    db.ask(
        f"INSERT INTO pix.items (item_id, brand) SELECT item_id, 'brand ' || number %% 2 FROM {rows} "
        "ON CONFLICT DO NOTHING",
        values,
    )
    db.ask(
        "INSERT INTO pix.features (item_id, model_name, vector) "
        f"SELECT item_id, 'shelf', pix.from_array(ARRAY[cluster + 1, number, 1, 0]) FROM {rows} ON CONFLICT DO NOTHING",
        values,
    )
    db.ask("SELECT pix.pack_features('shelf')")
    db.ask(
        "INSERT INTO pix.clusterings "
        "(clustering, model_name, algorithm, k, parameters, packed_in, items, inertia, seconds) "
        "VALUES (%s, 'shelf', 'kmeans', %s, '{}', 1, %s, 0, 0)",
        (clustering, len(sizes), len(items)),
        role=None,
    )
    db.ask(
        "INSERT INTO pix.clusters (clustering, cluster, items, center, words) "
        "SELECT %s, u.cluster, u.size, pix.from_array(ARRAY[u.cluster + 1, 0, 1, 0]), '{}' "
        "FROM unnest(%s, %s) u (cluster, size)",
        (clustering, list(sizes), list(sizes.values())),
        role=None,
    )
    db.ask(
        "INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance) "
        f"SELECT item_id, %s, cluster, number FROM {rows}",
        (clustering, *values),
    )


@pytest.fixture(scope="session")
def with_shelves(stage) -> str:
    return stage("shelves", "template", lambda db: shelves(db, {0: 6, 1: 6, 2: 6}))


@pytest.fixture
def shop(clone, with_shelves):
    """Clusters 0, 1 and 2 of six items each."""
    return clone(with_shelves)


def labels_of(db, label_set: str) -> set[str]:
    return {label for (label,) in db.query("SELECT DISTINCT label FROM pix.labels WHERE label_set = %s", (label_set,))}
