"""The private PostgreSQL server, in the folder `.pix` of the checkout.

It listens on a unix socket in a folder that only its owner can enter, and on
a free loopback port for tools that need one (with passwords). It never
touches a cluster of the system. Started by root, it drops to `postgres`.
"""

from __future__ import annotations

import fcntl
import inspect
import os
import pwd
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from pixelplum import host
from pixload.errors import PixError

UNPRIVILEGED_USER = "postgres"
DATABASE = "pix"
MIN_VERSION = 13
SECONDS_TO_END = 60

INSTALL_HINT = "Install PostgreSQL with PL/Python (apt-get install postgresql postgresql-plpython3-15), or: make"


def python_path() -> str:
    """Return what PYTHONPATH of the postmaster must hold: the package, then the libraries."""
    package = Path(util.find_spec("pixelplum").origin).parents[1]
    return os.pathsep.join(dict.fromkeys([str(package), *(sysconfig.get_path(p) for p in ("purelib", "platlib"))]))


@dataclass
class PrivateServer:
    """A PostgreSQL server of one's own.

    Parameters
    ----------
    home : pathlib.Path
        The folder of all its state: pgdata and cache.
    binaries : pathlib.Path, optional
        Folder of PostgreSQL's programs. None: the newest installed by the
        distribution that has PL/Python.
    """

    home: Path
    binaries: Path | None = None

    @property
    def data(self) -> Path:
        return self.home / "pgdata"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def dsn(self) -> str:
        """How to reach it as its superuser."""
        return f"host={self._socket_folder()} port={self._port()} dbname={DATABASE} user=postgres"

    def is_running(self) -> bool:
        """Tell whether the postmaster is alive (a stale pid file does not count)."""
        if not self.data.is_dir():
            return False
        self._check_owner()
        return self._run("pg_ctl", "status", "-D", ".", check=False).returncode == 0

    def start(self) -> None:
        """Create the server if there is none, start it, and wait until it answers.

        Raises
        ------
        PixError
            If PostgreSQL is missing, or does not start: with the last lines of its log.
        """
        self._open_to_unprivileged_user()
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once: the second finds it running
            if not self.is_running():
                self._start()

    def _start(self) -> None:
        if not self.data.is_dir():
            self._initialize()
        self._write_address()
        started = self._run("pg_ctl", "start", "-w", "-t", "60", "-D", ".", "-l", self.log.name, check=False)
        if started.returncode != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:]) if self.log.exists() else ""
            raise PixError(f"PostgreSQL does not start:\n{tail or started.stderr}", f"The whole log is in {self.log}")
        self._create_database()

    def stop(self) -> None:
        """Stop it, ending its sessions; what runs is rolled back."""
        if not self.is_running():
            return
        # pg_ctl goes by the pid file, which goes before the process does: a start right after would meet the old one.
        try:
            process = os.pidfd_open(int((self.data / "postmaster.pid").read_text().split()[0]))
        except (FileNotFoundError, ProcessLookupError):
            return  # it ended by itself just now
        try:
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", ".")
            select.select([process], [], [], SECONDS_TO_END)
        finally:
            os.close(process)

    def destroy(self) -> None:
        """Stop it and remove its data and cache."""
        shutil.rmtree(self.home / "pgdata.new", ignore_errors=True)
        if not self.data.is_dir():
            return
        self.stop()
        for folder in (self._socket_folder(), self.data, self.home / "cache"):
            shutil.rmtree(folder, ignore_errors=True)

    def status(self) -> str:
        """Say in a few lines whether and where it runs."""
        if not self.data.is_dir():
            return "no server yet; create and start one: pix server start"
        if not self.is_running():
            return f"stopped; data in {self.data}; start it: pix server start"
        return f"running; data in {self.data}\nsocket {self._socket_folder()}, loopback port {self._port()}"

    def _initialize(self) -> None:
        major = int(re.search(r"(\d+)", self._run("postgres", "--version").stdout).group())
        if major < MIN_VERSION:
            raise PixError(f"PostgreSQL {major} is too old.", f"Install PostgreSQL {MIN_VERSION} or later.")
        new = self.home / "pgdata.new"  # gets its name when it is complete
        shutil.rmtree(new, ignore_errors=True)
        self._make_folder(new)
        self._make_folder(self.home / "cache")
        self._run(
            "initdb", "-D", ".", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
            "--auth-local=trust", "--auth-host=scram-sha-256", folder=new,
        )  # fmt: skip
        # trust: the socket is in a folder that nobody else can enter.
        cores = host.cores()
        configuration = f"""
            include = 'address.conf'
            cluster_name = 'pixelplum'
            max_connections = 50
            shared_buffers = 256MB
            max_wal_size = 4GB
            wal_level = minimal
            max_wal_senders = 0
            # every core computes features: the backend that asks, and a parallel worker for each other core
            max_worker_processes = {cores + 8}
            max_parallel_workers = {cores + 4}
            max_parallel_workers_per_gather = {max(cores - 1, 1)}
            jit = off
        """
        with (new / "postgresql.conf").open("a") as file:
            file.write(inspect.cleandoc(configuration) + "\n")
        new.rename(self.data)

    def _write_address(self) -> None:
        """Keep the port while it is free, so that a BI tool's settings last; else choose another."""
        address = self.data / "address.conf"
        port = self._port() if address.exists() else None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port or 0))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder = self._socket_folder()
        self._make_folder(folder)
        address.write_text(
            f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{folder}'\n"
            "unix_socket_permissions = 0700\n"
        )
        address.chmod(0o644)  # for the server, whatever root's umask; the folder is closed

    def _port(self) -> int:
        return int(re.search(r"^port = (\d+)$", (self.data / "address.conf").read_text(), re.M).group(1))

    def _socket_folder(self) -> Path:
        """A socket's path may have 107 bytes: a deep checkout has its socket folder in /tmp."""
        address = self.data / "address.conf"
        if address.exists():
            return Path(re.search(r"^unix_socket_directories = '(.*)'$", address.read_text(), re.M).group(1))
        folder = self.home / "socket"
        safe = re.fullmatch(r"[\w./-]+", str(folder), re.A) and len(str(folder)) <= 80
        return folder if safe else Path("/tmp") / f"pixelplum-{secrets.token_hex(8)}"  # noqa: S108 made 0700, own name

    def _create_database(self) -> None:
        connection = f"host={self._socket_folder()} port={self._port()} user=postgres dbname=postgres"
        exists = self._run("psql", "-XAtc", f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", connection)
        if exists.stdout.strip() != "1":
            self._run("psql", "-Xqc", f"CREATE DATABASE {DATABASE}", connection)

    def _make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(path, UNPRIVILEGED_USER, UNPRIVILEGED_USER)

    def _open_to_unprivileged_user(self) -> None:
        """Let `postgres` reach the checkout and read the package, if root starts the server there."""
        self.home.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return
        for folder in reversed([self.home, *self.home.parents]):
            if not folder.stat().st_mode & 0o001:
                self._grant("--x", folder)
        package = Path(util.find_spec("pixelplum").origin)
        if not package.stat().st_mode & 0o004:
            self._grant("rX", package.parents[1], "-R")

    def _grant(self, rights: str, folder: Path, *options: str) -> None:
        command = ["setfacl", *options, "-m", f"u:{UNPRIVILEGED_USER}:{rights}", folder]
        print(f"The server runs as {UNPRIVILEGED_USER}: {' '.join(map(str, command))}", file=sys.stderr)
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PixError(
                f"The server runs as {UNPRIVILEGED_USER}, who cannot enter {folder}.",
                f"Run: chmod o+x {folder}, or use a checkout elsewhere.",
            ) from error

    def _check_owner(self) -> None:
        """Refuse the server of another user: pg_ctl would not see that it runs."""
        owner = self.data.stat().st_uid
        if owner != (pwd.getpwnam(UNPRIVILEGED_USER).pw_uid if os.geteuid() == 0 else os.geteuid()):
            raise PixError(
                f"The server in {self.data} belongs to another user (number {owner}).",
                f"Work as the user who made it (root's belongs to {UNPRIVILEGED_USER}), or choose another --home.",
            )

    def _run(
        self, program: str, *arguments, check: bool = True, folder: Path | None = None
    ) -> subprocess.CompletedProcess:
        user = {}
        if os.geteuid() == 0:
            user = {"user": UNPRIVILEGED_USER, "group": UNPRIVILEGED_USER, "extra_groups": []}
        # They work in the data folder and call it ".": pg_ctl hands paths to a shell.
        command = [self._binaries() / program, *arguments]
        try:
            result = subprocess.run(
                command,
                env=self._environment(),
                cwd=folder or (self.data if self.data.is_dir() else "/"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                **user,
            )
        except KeyError as error:
            raise PixError(f"There is no user {UNPRIVILEGED_USER} to run the server.", INSTALL_HINT) from error
        if check and result.returncode != 0:
            raise PixError(f"{program} failed: {result.stderr.strip() or result.stdout.strip()}")
        return result

    def _environment(self) -> dict[str, str]:
        # A system PATH: the embedded Python would take its library from another python3 that comes first.
        return {
            "PATH": f"{self._binaries()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": python_path(),
            "PIX_CACHE": str(self.home / "cache"),
        }

    def _binaries(self) -> Path:
        if self.binaries is not None:
            return self.binaries
        libraries = Path("/usr/lib/postgresql").glob("*/lib/plpython3.so")
        versions = sorted((library.parents[1] for library in libraries), key=lambda folder: int(folder.name))
        if not versions:
            raise PixError("PostgreSQL with PL/Python is not installed here.", INSTALL_HINT)
        return versions[-1] / "bin"
