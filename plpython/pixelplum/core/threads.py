"""Threads in a process that is a database's: signals are the main thread's business."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread

from pixelplum import host

CORES = host.cores()
SECONDS_BETWEEN = 0.05


@contextmanager
def signals_held() -> Iterator[Callable[[], AbstractContextManager]]:
    """Hold signals back; threads that are started in it never get any.

    The server's signal handlers are made for its own, only thread.

    Yields
    ------
    callable
        Makes a context in which the thread that called hears signals nevertheless.
    """

    @contextmanager
    def heard() -> Iterator[None]:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield heard
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def all_cores(most: int = CORES) -> Iterator[Callable[[], AbstractContextManager]]:
    """Let libraries that are loaded use threads on all cores: nothing else runs in parallel.

    Parameters
    ----------
    most : int, default `CORES`
        How many threads are worth their while, at most.

    Yields
    ------
    callable
        As `signals_held`.
    """
    from threadpoolctl import threadpool_limits  # slow to import

    with signals_held() as heard, threadpool_limits(max(1, min(CORES, most))):
        yield heard


def in_parallel(work: Callable[[int], None], pieces: int) -> None:
    """Do pieces of work, which release the interpreter's lock, on all cores.

    Parameters
    ----------
    work : callable
        Takes the number of a piece, from 0; pieces whose numbers are the same modulo the cores that there are pieces
        for are done one after another. What it raises is raised here, when all threads have ended the piece they are
        at.
    pieces : int
        How many there are.
    """
    workers = max(1, min(CORES, pieces))

    failures: list[BaseException] = []
    threads: list[Thread] = []
    ended: list[Event] = []

    def some(first: int) -> None:
        try:
            for piece in range(first, pieces, workers):
                if failures:
                    return
                work(piece)
        except BaseException as failure:
            failures.append(failure)

    def run(first: int) -> None:
        try:
            some(first)
        finally:
            ended[first - 1].set()

    with signals_held():
        try:
            for first in range(1, workers):
                ended.append(Event())
                threads.append(Thread(target=run, args=(first,)))
                threads[-1].start()
            some(0)
        except BaseException as failure:
            failures.append(failure)
        _wait([event for event, thread in zip(ended, threads, strict=False) if thread.ident is not None], failures)
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failures:
        raise failures[0]


def _wait(events: list[Event], failures: list[BaseException]) -> None:
    """Wait for events; an exception from elsewhere, to end this, comes between two looks, and is a failure.

    Python takes a thread for ended whose `join` such an exception interrupts.
    """
    while True:
        try:
            for event in events:
                while not event.wait(SECONDS_BETWEEN):
                    pass
            return
        except BaseException as failure:
            failures.append(failure)
