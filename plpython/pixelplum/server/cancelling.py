"""Long calls of libraries that can be cancelled.

A backend looks whether it shall end its statement only where PostgreSQL's own
code runs, and libraries work for seconds without it. So they work in a thread,
while the main one looks.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from threading import Thread

from pixelplum.core.threads import signals_held

SECONDS_BETWEEN = 0.05
WISHES = ("QueryCancelPending", "ProcDiePending")
"""Variables of the server that its signal handlers set."""


class Cancelled(BaseException):
    """The server has been asked to end the statement."""  # not an Exception: libraries catch those


def is_wanted() -> bool:
    """Tell whether the server has been asked to end this statement, or this process."""
    return any(ctypes.c_int.in_dll(ctypes.pythonapi, name).value for name in WISHES)


def cancellable(body: Callable) -> Callable:
    """Let a body be cancelled between any two steps that Python takes in it.

    It works in a thread, and so it must not use `plpy`, with one exception: what it is given as the argument
    ``tell`` may be called, and is called by the main thread.

    Parameters
    ----------
    body : callable
        As `server.call` calls it.

    Returns
    -------
    callable
        Raises `Cancelled` in the place of a result.
    """

    @functools.wraps(body)
    def run(plpy, cache: dict, *arguments):
        return in_thread(lambda: body(plpy, cache, *arguments))

    return run


def in_thread(work: Callable, tell: Callable[[float], None] | None = None):
    """Work in a thread, which is ended when the server wants to; see `cancellable`.

    Parameters
    ----------
    work : callable
        Takes no argument; or, where there is something to tell, a callable that takes the share that is done.
    tell : callable, optional
        Called with that share by the main thread.

    Returns
    -------
    object
        What the work returns.
    """
    outcome: list = [None, None]
    done = [0.0]

    def share(part: float) -> None:
        done[0] = part

    def try_work() -> None:
        try:
            outcome[0] = work() if tell is None else work(share)
        except BaseException as failure:
            outcome[1] = failure

    with signals_held() as heard:
        thread = Thread(target=try_work)
        thread.start()
        with heard():
            told = 0.0
            while thread.is_alive():
                thread.join(SECONDS_BETWEEN)
                if is_wanted():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread.ident), ctypes.py_object(Cancelled)
                    )
                elif tell is not None and done[0] > told and thread.is_alive():
                    told = done[0]
                    tell(told)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
