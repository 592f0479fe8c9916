"""Drivers on Greenplum: what they write is written outside of PL/Python.

PL/Python runs each statement in a subtransaction. Those processes of Greenplum that only read take what a running
subtransaction has written for what was taken back, and note so in its rows: other people's queries at the same time can
lose it for good, though it is committed [1]_. So a driver works in a thread of its own, which hands over each statement
that writes: a cursor of PL/pgSQL fetches it, runs it, and fetches the next.

.. [1] https://github.com/greenplum-db/gpdb/issues/17275
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Any

from pixelplum.core.threads import signals_held
from pixelplum.errors import PixelplumError
from pixelplum.server import reported
from pixelplum.server.canceling import SECONDS_BETWEEN, Canceled, end, forget_interrupts, is_wanted
from pixelplum.server.database import PARAMETER, Database, Model, numbered
from pixelplum.server.drivers import call_driver

RETURNED = "SELECT pg_catalog.current_setting('pix.returned') AS returned"
SECONDS_BETWEEN_REPORTS = 1.0

Step = list[str | None]
"""What PL/pgSQL is to do: run or return, a statement, and its values; else result or failure, and what it is."""


class Desk:
    """Where a driver's thread asks for what only the main thread may do."""

    def __init__(self):
        self._asked, self._answered, self._left = Event(), Event(), Event()
        self._request: Callable | Step | None = None
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._is_closed = False

    def ask(self, request: Callable | Step):
        """Have something done, and return what came of it."""
        self._request = request
        self._answered.clear()
        self._asked.set()
        while not self._answered.wait(SECONDS_BETWEEN):  # what is to end this thread comes between two looks
            pass
        if self._is_closed:
            raise Canceled
        value, failure = self._outcome
        if failure is not None:
            raise failure
        return value

    def leave(self) -> None:
        """Ask for nothing more."""
        self._left.set()
        self._asked.set()

    def next_request(self, thread: Thread) -> Callable | Step | None:
        """Wait for what a thread asks for, and end it if the server wants to; None: it has left."""
        while not self._left.is_set():
            try:
                if self._asked.wait(SECONDS_BETWEEN) and not self._left.is_set():
                    return self._request
                if is_wanted():
                    end(thread)
            except KeyboardInterrupt:
                forget_interrupts()  # it is heard all the same, by `is_wanted`
        return None

    def answer(self, value: Any = None, failure: BaseException | None = None) -> None:
        """Let the thread that asks go on."""
        self._outcome = value, failure
        self._asked.clear()
        self._answered.set()

    def close(self, thread: Thread) -> None:
        """End a thread, whatever it is at. One that is left behind can take the process along when that ends."""
        self._is_closed = True
        self._answered.set()
        if thread.ident is None:  # it was never started
            return
        while not self._left.wait(SECONDS_BETWEEN):
            end(thread)
        thread.join()


class DistributedDatabase(Database):
    """The database, as a driver's thread has it; see `Database`."""

    def __init__(self, plpy, cache: dict, caller: str, desk: Desk):
        super().__init__(plpy, cache, caller)
        self._desk = desk
        self._subtransaction = None

    def _run(self, statement: str, values: dict):
        return self._desk.ask(partial(super()._run, statement, values))

    def run(self, statement: str, **values) -> int:
        if self._subtransaction is not None:
            return super().run(statement, **values)
        return int(self._desk.ask(handed("run", statement, values)))

    def returned(self, statement: str, **values):
        if self._subtransaction is not None:
            return super().returned(statement, **values)
        return self._desk.ask(handed("return", statement, values)) or None  # a setting cannot be NULL

    def hold(self, *tables: str) -> None:
        self.rows("SELECT pix_internal.require_read_committed()")
        self.rows(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")

    def model(self, model_name: str | None) -> Model:
        # Where parameters are planned as constants, a stable function of them is called while the statement is planned,
        # and sees what was before a driver waited for its lock.
        with self.settings({"plan_cache_mode": "force_generic_plan"}):
            return super().model(model_name)

    def warn(self, message: str) -> None:
        self._desk.ask(partial(super().warn, message))

    def work(self, work: Callable, on_progress: Callable[[float], None] | None = None):
        if on_progress is None:
            return work()
        reported_at = monotonic()

        def report(fraction: float) -> None:
            nonlocal reported_at
            if monotonic() - reported_at > SECONDS_BETWEEN_REPORTS:
                reported_at = monotonic()
                on_progress(fraction)

        return work(report)

    def _attempted(self) -> AbstractContextManager:
        return nullcontext()  # a statement that reads is a subtransaction of its own

    @contextmanager
    def _taken_back(self) -> Iterator[None]:
        self._desk.ask(self._begin)
        try:
            yield
        finally:
            self._desk.ask(self._take_back)

    def _begin(self) -> None:
        subtransaction = self._plpy.subtransaction()
        subtransaction.__enter__()
        self._subtransaction = subtransaction

    def _take_back(self) -> None:
        if self._subtransaction is not None:
            subtransaction, self._subtransaction = self._subtransaction, None
            subtransaction.__exit__(Canceled, None, None)

    def close(self, thread: Thread) -> None:
        """End a driver's thread, and leave no subtransaction open; for the main thread."""
        self._desk.close(thread)
        self._take_back()


def handed(kind: str, statement: str, values: dict) -> Step:
    """Return a statement whose parameters are elements of one array of text, as PL/pgSQL can be given any number."""
    _, names, types = numbered(statement)
    elements = {
        name: f"($1)[{n}]::{type_name}" for n, (name, type_name) in enumerate(zip(names, types, strict=True), 1)
    }
    text = PARAMETER.sub(lambda match: elements[match[1]] if match[1] else "$", statement)
    return [kind, text, *(text_of(values[name]) for name in names)]


def text_of(value: Any) -> str | None:
    """Return a value as the server reads it from text."""
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return f"\\x{value.hex()}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "{" + ",".join(map(_element, value)) + "}"
    return str(value)


def _element(value: Any) -> str:
    text = text_of(value)
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def steps(plpy, cache: dict, caller: str, name: str, arguments: str) -> Iterator[Step]:
    """Run a driver, and yield what is to be run for it, step by step; at last what it returns, or fails with."""
    desk = Desk()
    database = DistributedDatabase(plpy, cache, caller, desk)
    outcome: list = [None, Canceled()]

    def work() -> None:
        try:
            outcome[:] = call_driver(database, name, arguments), None
        except BaseException as failure:
            outcome[1] = failure
        finally:
            desk.leave()

    thread = Thread(target=work)
    try:
        with signals_held():
            thread.start()
        while (request := desk.next_request(thread)) is not None:
            if callable(request):
                serve(desk, request)
            else:
                yield request
                desk.answer(plpy.execute(RETURNED)[0]["returned"])
    finally:
        # A wish to cancel interrupts Python, once or twice, at whatever it calls next.
        try:
            database.close(thread)
        except KeyboardInterrupt:
            try:
                database.close(thread)
            except KeyboardInterrupt:
                database.close(thread)
    result, failure = outcome
    if failure is None:
        yield ["result", result]
    elif isinstance(failure, PixelplumError):
        yield ["failure", str(failure), failure.sqlstate, None, failure.hint]
    elif isinstance(failure, plpy.SPIError):
        fields = reported(failure)
        yield ["failure", str(failure), *(fields.get(key) for key in ("sqlstate", "detail", "hint"))]
    elif not isinstance(failure, Canceled):
        raise failure


def serve(desk: Desk, request: Callable) -> None:
    """Do what a driver's thread asks for."""
    try:
        value, failure = request(), None
    except Exception as error:
        value, failure = None, error
    desk.answer(value, failure)


def fail(plpy, cache: dict, failure: Step) -> None:
    """End a statement with what a driver failed with."""
    message, sqlstate, detail, hint = failure
    fields = {"detail": detail, "hint": hint}
    plpy.error(message, sqlstate=sqlstate, **{name: text for name, text in fields.items() if text})
