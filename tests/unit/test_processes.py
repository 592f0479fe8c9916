"""Work in a process of its own."""

import ctypes
import os
import time
from threading import Thread

import pytest

from pixelplum.core.processes import in_child


def test_it_sees_what_there_is_and_leaves_files(tmp_path):
    numbers = list(range(1000))
    in_child(lambda: (tmp_path / "sum").write_text(f"{sum(numbers)} {os.getpid() != os.getppid()}"))
    assert (tmp_path / "sum").read_text() == "499500 True"


def test_what_it_says_when_it_fails():
    def fail() -> None:
        raise ValueError("no room left")

    with pytest.raises(OSError, match="no room left"):
        in_child(fail)


def test_a_child_that_dies():
    with pytest.raises(OSError, match="ended with status 9"):
        in_child(lambda: os.kill(os.getpid(), 9))


def test_an_exception_from_elsewhere_ends_it(tmp_path):
    """As a wish to cancel does, although one call of C would last a minute."""
    caught: list[BaseException] = []

    os.mkfifo(tmp_path / "pid")

    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        ctypes.CDLL(None).sleep(60)

    def run() -> None:
        try:
            in_child(work)
        except BaseException as failure:
            caught.append(failure)

    thread = Thread(target=run)
    thread.start()
    pid = int((tmp_path / "pid").read_text())
    begun = time.monotonic()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
    thread.join()
    assert time.monotonic() - begun < 2
    assert [type(failure) for failure in caught] == [KeyboardInterrupt]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
