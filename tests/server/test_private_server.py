"""The private server: started, stopped, crashed, moved, and missing parts."""

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg2
import pytest

from pixload.errors import PixError
from pixload.migration import migrate
from pixload.private_server import UNPRIVILEGED_USER, PrivateServer


@pytest.fixture
def own(tmp_path):
    """A server of the test's own."""
    private_server = PrivateServer(tmp_path / "home")
    yield private_server
    private_server.destroy()


def postmaster(private_server: PrivateServer) -> psutil.Process:
    return psutil.Process(int((private_server.data / "postmaster.pid").read_text().split()[0]))


def answers(private_server: PrivateServer) -> bool:
    connection = psycopg2.connect(private_server.dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        results = cursor.fetchone() == (1,)
    connection.close()
    return results


def test_life_of_a_server(own):
    assert "no server yet" in own.status()
    own.start()
    assert answers(own)
    assert "running" in own.status()
    own.start()  # a second time is not an error
    own.stop()
    assert "stopped" in own.status()
    own.stop()
    own.start()
    assert answers(own)
    own.destroy()
    assert not own.data.exists()
    assert not list(own.home.rglob("*.network"))


def test_commands(tmp_path):
    pix = [Path(sys.executable).parent / "pix", "--home", tmp_path / "home"]

    environment = {name: value for name, value in os.environ.items() if name != "PIX_DSN"}

    def run(*arguments):
        return subprocess.run([*pix, *arguments], capture_output=True, text=True, env=environment)

    stopped = run("migrate")
    assert stopped.returncode == 1
    assert "pix server start" in stopped.stderr
    assert "running" in run("server", "start").stdout
    try:
        assert run("migrate").returncode == 0
        assert run("psql", "--", "-Atc", "SELECT count(*) FROM pix.items").stdout == "0\n"
        assert run("doctor").returncode == 0
    finally:
        assert run("server", "stop").returncode == 0
        assert run("server", "destroy", "--yes").returncode == 0


def test_killed_server_starts_again_and_has_lost_nothing(own):
    own.start()
    connection = psycopg2.connect(own.dsn)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    connection.commit()
    process = postmaster(own)
    family = [process, *process.children()]
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)
    assert not own.is_running()
    own.start()
    connection = psycopg2.connect(own.dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    connection.close()


def test_start_that_was_killed_is_made_good(own):
    leftover = own.home / "pgdata.new"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("15\n")  # what initdb writes first
    own.start()
    assert answers(own)
    assert not leftover.exists()


def test_two_starts_at_once(own):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: own.start(), range(2)))
    assert answers(own)


def test_taken_port_is_replaced(own):
    own.start()
    own.stop()
    port = int(own._port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        own.start()
        assert own._port() != port
        assert answers(own)


def test_free_port_is_kept(own):
    own.start()
    port = own._port()
    own.stop()
    own.start()
    assert own._port() == port


def test_only_the_owner_can_enter(own):
    own.start()
    socket_folder = Path(psycopg2.extensions.parse_dsn(own.dsn)["host"])
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(own.dsn, host="127.0.0.1")


def test_root_drops_its_rights(own):
    own.start()
    expected = UNPRIVILEGED_USER if os.geteuid() == 0 else psutil.Process().username()
    assert postmaster(own).username() == expected


def test_deep_folder_gets_a_socket_that_fits(tmp_path):
    private_server = PrivateServer(tmp_path / ("deep" * 30) / "home")
    try:
        private_server.start()
        assert answers(private_server)
        folder = Path(psycopg2.extensions.parse_dsn(private_server.dsn)["host"])
        assert folder.is_relative_to("/tmp")
    finally:
        private_server.destroy()
    assert not folder.exists()


def test_odd_folder_names(tmp_path):
    private_server = PrivateServer(tmp_path / 'it\'s a "folder" ü')
    try:
        private_server.start()
        assert answers(private_server)
    finally:
        private_server.destroy()


def test_configuration_that_does_not_start_shows_the_log(own):
    own.start()
    own.stop()
    with (own.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(PixError, match="no_such_setting"):
        own.start()


@pytest.fixture
def without_plpython(tmp_path):
    """A PostgreSQL installation that lacks PL/Python: it finds its files relative to its programs."""
    binaries = PrivateServer(tmp_path)._binaries()
    fraction = Path(
        subprocess.run([binaries / "pg_config", "--sharedir"], capture_output=True, text=True).stdout.strip()
    )
    root = tmp_path / "installation"
    copies = root / binaries.relative_to("/")
    copies.mkdir(parents=True)
    for program in ("postgres", "initdb", "pg_ctl", "psql"):
        (copies / program).write_bytes((binaries / program).read_bytes())
        (copies / program).chmod(0o755)
    (copies.parent / "lib").symlink_to(binaries.parent / "lib")
    copied_share = root / fraction.relative_to("/")
    copied_share.mkdir(parents=True)
    for entry in fraction.iterdir():
        if entry.name != "extension":
            (copied_share / entry.name).symlink_to(entry)
    (copied_share / "extension").mkdir()
    for entry in (fraction / "extension").iterdir():
        if not entry.name.startswith("plpython3u"):
            (copied_share / "extension" / entry.name).symlink_to(entry)
    private_server = PrivateServer(tmp_path / "home", copies)
    yield private_server
    private_server.destroy()


def test_server_without_plpython(without_plpython):
    without_plpython.start()
    with pytest.raises(PixError, match="no PL/Python") as caught:
        migrate(without_plpython.dsn)
    assert "postgresql-plpython3" in caught.value.hint


def test_no_server_at_all(tmp_path):
    pix = Path(sys.executable).parent / "pix"
    result = subprocess.run([pix, "--dsn", f"host={tmp_path} dbname=pix", "extract"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "Is the server running" in result.stderr
    assert "Traceback" not in result.stderr
