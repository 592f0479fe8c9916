"""Work in a process of its own: what a library does not let go of for seconds can be ended there."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import warnings
from collections.abc import Callable
from typing import NoReturn

SECONDS_BETWEEN = 0.05
PR_SET_PDEATHSIG = 1
LONGEST_MESSAGE = 4000


def in_child(work: Callable[[], object]) -> None:
    """Do some work in a copy of this process, which sees what this one has in memory, and leaves files only.

    Parameters
    ----------
    work : callable
        It must not touch what belongs to a server: connections, locks, shared memory.

    Raises
    ------
    OSError
        If it fails, with what it says. An exception that comes from elsewhere ends it too.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of threads, which the copy does not have
        child = os.fork()
    if child == 0:
        _be_child(work, writer, parent)
    os.close(writer)
    status = None
    try:
        while not select.select([reader], [], [], SECONDS_BETWEEN)[0]:  # an exception comes between two looks
            pass
        message = os.read(reader, LONGEST_MESSAGE).decode(errors="replace")  # nothing, if it just ends
        _, status = os.waitpid(child, 0)
    finally:
        os.close(reader)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if status != 0:
        raise OSError(message or f"The process that did it ended with status {status}")


def _be_child(work: Callable[[], object], writer: int, parent: int) -> NoReturn:
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive whoever waits for it
        if os.getppid() == parent:
            work()
            status = 0
    except BaseException as failure:
        os.write(writer, str(failure).encode()[:LONGEST_MESSAGE])
    finally:
        os._exit(status)  # nothing of the server's is tidied up here
