"""The database, as drivers use it: functions that people call, each of which computes in several steps and writes.

A driver has this one object. Tests give it another that answers from memory.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pixelplum.core.threads import CORES
from pixelplum.server.canceling import in_thread, notice_lost_client

SHARED_BY_WORKERS = {
    "min_parallel_table_scan_size": "0", "parallel_setup_cost": "0", "parallel_tuple_cost": "0",
    "enable_indexscan": "off", "enable_bitmapscan": "off", "enable_nestloop": "off", "jit": "off",
}  # fmt: skip
"""Settings for statements that parallel workers share. Features lie in TOAST or are small, so that their tables look
small too: any size is worth a worker."""

LONGEST_NAME = 63
"""Bytes of an application's name; the server would cut a longer one, and give notice of it."""
MOST_PLANS = 300
"""Statements whose plans a session keeps."""

PARAMETER = re.compile(r"\$(\w+)(?:::((?:\w+\.)?\w+(?:\[\])?))?|\$\$")
"""A parameter of a statement, whose type follows where it is named, once at least; or a dollar that is meant."""


@dataclass(frozen=True)
class Model:
    """A row of pix.models, as far as drivers need it."""

    model_name: str
    checksum: str | None
    dimensions: int


class Database:
    """Statements, and what all drivers do before, between and after them.

    Parameters
    ----------
    plpy : module
        PL/Python's access to the database.
    cache : dict
        The backend's GD: plans, and blocks and indexes that it keeps open.
    caller : str, default 'drive'
        The SQL function that called, whose settings decide on plans.
    """

    def __init__(self, plpy, cache: dict, caller: str = "drive"):
        self._plpy = plpy
        self._plans: OrderedDict[str, tuple[Any, list[str]]] = cache.setdefault(("plans", caller), OrderedDict())
        self.cache = cache

    def rows(self, statement: str, **values) -> list[dict]:
        """Run a statement, and return its rows.

        Parameters
        ----------
        statement : str
            With ``$name::type`` where a value belongs, and ``$name`` where it belongs again. SQL that comes from
            elsewhere is made `plain` first.
        **values
            What is written there.
        """
        return list(self._run(statement, values))

    def row(self, statement: str, **values) -> dict | None:
        """Return the first row of a statement, or None."""
        rows = self._run(statement, values)
        return rows[0] if len(rows) else None

    def value(self, statement: str, **values):
        """Return the first value of the first row of a statement."""
        return next(iter(self._run(statement, values)[0].values()))

    def run(self, statement: str, **values) -> int:
        """Run a statement that writes, or locks, and return how many rows it wrote."""
        return self._run(statement, values).nrows()

    def returned(self, statement: str, **values):
        """Run a statement that writes, and return the first value that it returns, or None."""
        row = self.row(statement, **values)
        return row and next(iter(row.values()))

    def hold(self, *tables: str) -> None:
        """Be the only one to write tables, where an error that comes from another writer could not be taken back.

        So it is on Greenplum. Work that is done with `attempt` begins with it.
        """

    def _run(self, statement: str, values: dict):
        notice_lost_client()
        if statement not in self._plans:
            text, names, types = numbered(statement)
            self._plans[statement] = self._plpy.prepare(text, types), names
            if len(self._plans) > MOST_PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(statement)
        plan, names = self._plans[statement]
        return self._plpy.execute(plan, [values[name] for name in names])

    @cached_property
    def is_distributed(self) -> bool:
        """Whether tables are spread over segments."""
        return self.value("SELECT pix_internal.is_distributed()")

    def create_temporary(self, table: str, query: str, distributed_by: str, **values) -> None:
        """Store the rows of a query until the end of the transaction, in the place of what the table had.

        That is planned in parallel, and what only selects is not.
        """
        if self.value("SELECT to_regclass($table::text) IS NOT NULL", table=f"pg_temp.{table}"):
            self.run(f"DROP TABLE pg_temp.{table}")
        clause = f" DISTRIBUTED BY ({distributed_by})" if self.is_distributed else ""
        self.run(f"CREATE TEMP TABLE {table} ON COMMIT DROP AS {query}{clause}", **values)

    @contextmanager
    def workers(self, leader_works: bool = True) -> Iterator[None]:
        """Let parallel workers, as many as there are cores for, share what tables are created from.

        Parameters
        ----------
        leader_works : bool, default True
            Whether this backend does a part too. Where much is found in a row, it must be there to read.
        """
        workers = 0 if self.is_distributed else CORES - leader_works
        settings = SHARED_BY_WORKERS | {
            "max_parallel_workers_per_gather": str(workers),
            "parallel_leader_participation": "on" if leader_works else "off",
        }
        with self.settings(settings):
            yield

    @contextmanager
    def settings(self, settings: dict[str, str]) -> Iterator[None]:
        """Have some settings for a while."""
        before = self.rows(
            "SELECT n AS name, current_setting(n) AS setting FROM unnest($names::text[]) n", names=list(settings)
        )
        self._set(settings)
        yield
        self._set({row["name"]: row["setting"] for row in before})

    def _set(self, settings: dict[str, str]) -> None:
        """Change settings until the end of the transaction."""
        self.rows(
            "SELECT set_config(s.name, s.value, true) FROM unnest($names::text[], $settings::text[]) s (name, value)",
            names=list(settings), settings=list(settings.values()),
        )  # fmt: skip

    def warn(self, message: str) -> None:
        """Send a warning to the client."""
        self._plpy.warning(message)

    def lock(self, subject: str, name: str) -> None:
        """Take turns with others who write this, until the end of the transaction."""
        self.run("SELECT pix_internal.lock($subject::text, $name::text)", subject=subject, name=name)

    @contextmanager
    def rolled_back(self, is_wanted: bool) -> Iterator[None]:
        """Take back, if that is wanted, what is written in here; what was computed stays."""
        with self._taken_back() if is_wanted else nullcontext():
            yield

    @contextmanager
    def _taken_back(self) -> Iterator[None]:
        try:
            with self._plpy.subtransaction():
                yield
                raise _RollBack
        except _RollBack:
            pass

    def attempt(self, work: Callable[[], None], *sqlstates: str) -> bool:
        """Do some work, and take it back if it ends with one of some SQLSTATEs; tell whether it did not."""
        from pixelplum.server import reported  # which needs what is here

        try:
            with self._attempted():
                work()
        except self._plpy.SPIError as error:
            if reported(error)["sqlstate"] not in sqlstates:
                raise
            return False
        return True

    def _attempted(self) -> AbstractContextManager:
        return self._plpy.subtransaction()

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[float], None]]:
        """Name work that is under way where pix.builds reads it.

        Yields
        ------
        callable
            Takes the fraction that is done.
        """
        name_before = self.value("SELECT current_setting('application_name')")

        def report(fraction: float) -> None:
            name = f"pix: {100 * fraction:.0f} % of {title}".encode()[:LONGEST_NAME].decode(errors="ignore")
            self._set({"application_name": name})

        report(0)
        yield report
        self._set({"application_name": name_before})

    def work(self, work: Callable, on_progress: Callable[[float], None] | None = None):
        """Compute something in a thread, so that a wish to cancel is noticed; see `canceling.in_thread`."""
        return in_thread(work, on_progress)

    def model(self, model_name: str | None) -> Model:
        """Return a model, or the default one."""
        return Model(
            **self.row(
                "SELECT m.model_name, m.checksum, m.dimensions FROM pix.find_model($model_name::text) m",
                model_name=model_name,
            )
        )


def plain(sql: str) -> str:
    """Return SQL whose dollars do not become parameters of a statement that it becomes a part of."""
    return sql.replace("$", "$$")


class _RollBack(Exception):
    """What ends a subtransaction."""


def numbered(statement: str) -> tuple[str, list[str], list[str]]:
    """Return a statement as PL/Python wants it, and the names and types of its parameters in their order.

    Raises
    ------
    ValueError
        If a parameter has no type anywhere.
    """
    types: dict[str, str] = {}
    for name, type_name in PARAMETER.findall(statement):
        if name:
            types[name] = types.get(name) or type_name
    if not all(types.values()):
        raise ValueError(f"A parameter has no type: {types}")
    names = list(types)
    text = PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}" if match[1] else "$", statement)
    return text, names, list(types.values())
