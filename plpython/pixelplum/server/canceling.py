"""Long calls of libraries that can be canceled.

A backend looks whether it shall end its statement only where PostgreSQL's own
code runs, and libraries work for seconds without it. So they work in a thread,
while the main one looks.
"""

from __future__ import annotations

import ctypes
import functools
import select
import sys
from collections.abc import Callable
from threading import Event, Thread

from pixelplum.core.threads import signals_held

SECONDS_BETWEEN = 0.05
LOST_CLIENT = "ClientConnectionLost"
WISHES = ("QueryCancelPending", "ProcDiePending", LOST_CLIENT)
"""Variables of the server that its signal handlers set, or what finds that nobody listens."""


class Canceled(BaseException):
    """The server has been asked to end the statement."""  # not an Exception: libraries catch those


def is_wanted() -> bool:
    """Tell whether the server has been asked to end this statement, or this process; or has nobody to answer."""
    notice_lost_client()
    return any(ctypes.c_int.in_dll(ctypes.pythonapi, name).value for name in WISHES)


def notice_lost_client() -> None:
    """Let the server end this process where its client has hung up.

    The server itself looks only when it has something to send, or is told to with client_connection_check_interval.
    """
    port = ctypes.c_void_p.in_dll(ctypes.pythonapi, "MyProcPort").value
    if not port:  # in a parallel worker, which has no client
        return
    client = select.poll()
    client.register(ctypes.c_int.from_address(port).value, select.POLLRDHUP)  # the socket is what a Port begins with
    if client.poll(0):
        for name in (LOST_CLIENT, "InterruptPending"):
            ctypes.c_int.in_dll(ctypes.pythonapi, name).value = 1


def cancellable(body: Callable) -> Callable:
    """Let a body be canceled between any two steps that Python takes in it.

    It works in a thread, and so it must not use `plpy`, with one exception: what it is given as the argument
    ``on_progress`` may be called, and is called by the main thread.

    Parameters
    ----------
    body : callable
        As `server.call` calls it.

    Returns
    -------
    callable
        Raises `Canceled` in the place of a result.
    """

    @functools.wraps(body)
    def run(plpy, cache: dict, *arguments):
        return in_thread(lambda: body(plpy, cache, *arguments))

    return run


def in_thread(work: Callable, on_progress: Callable[[float], None] | None = None):
    """Work in a thread, which is ended when the server wants to; see `cancellable`.

    Parameters
    ----------
    work : callable
        Takes no argument; or, with `on_progress`, a callable that takes the fraction that is done.
    on_progress : callable, optional
        Called with that fraction by the main thread.

    Returns
    -------
    object
        What the work returns.
    """
    outcome: list = [None, Canceled()]
    done = [0.0]
    ended, asked_to_end = Event(), Event()

    def report(part: float) -> None:
        done[0] = part

    def try_work() -> None:
        try:
            outcome[:] = (work() if on_progress is None else work(report)), None
        except BaseException as failure:
            outcome[1] = failure
        finally:
            ended.set()

    def stop() -> None:
        if end(thread):
            asked_to_end.set()

    def watch() -> None:
        reported = 0.0
        while not ended.wait(SECONDS_BETWEEN) and thread.is_alive():
            if is_wanted():
                stop()
            elif on_progress is not None and done[0] > reported:
                reported = done[0]
                on_progress(reported)

    with signals_held() as heard:
        thread = Thread(target=try_work)
        thread.start()
        try:
            while thread.is_alive() and not ended.is_set():
                try:
                    with heard():
                        watch()
                except KeyboardInterrupt:
                    forget_interrupts()  # it is heard all the same, by `is_wanted`
        finally:
            # A thread that is left behind can take the process along when that ends.
            while not ended.wait(SECONDS_BETWEEN) and thread.is_alive():
                stop()
            thread.join()
    if asked_to_end.is_set() and outcome[1] is not None:
        raise Canceled from outcome[1]  # numpy, for one, takes it for an error of its own and raises another
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def end(thread: Thread) -> bool:
    """Raise `Canceled` in a thread, and tell whether that was possible: not at the moment in one that imports."""
    if is_importing(thread):  # half a module would be left, and what comes later fails: the next look is soon
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Canceled))
    return True


def is_importing(thread: Thread) -> bool:
    """Tell whether a thread is in the middle of an import."""
    frame = sys._current_frames().get(thread.ident)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def forget_interrupts() -> None:
    """Let pass what interrupts Python for a wish that has been heard.

    Greenplum's PL/Python has the interpreter raise KeyboardInterrupt when it comes to it, once for each signal, and a
    wish can be two: the second one would end the session's next statement, which nobody wants to end.
    """
    while True:
        try:
            for _ in range(1000):  # the interpreter looks for it at each turn
                pass
        except KeyboardInterrupt:
            continue
        return
