"""Downloads: several at once, politely, in order, and none larger than allowed."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from threading import Event, Lock
from typing import TypeVar
from urllib.parse import urlsplit

from urllib3 import HTTPResponse, PoolManager, Retry, Timeout
from urllib3 import exceptions as faults

from pixload.sources.folders import too_large

USER_AGENT = "pixelplum"
CHUNK = 1 << 16
MAX_SECONDS = 300
"""A download takes no longer, even if the server sends a byte now and then."""
MAX_RETRY_AFTER = 60

T = TypeVar("T")


class DownloadError(Exception):
    """A download that failed; the message is the reason."""


@dataclass
class Downloader:
    """How images are downloaded.

    Parameters
    ----------
    user_agent : str
        What servers are told.
    simultaneous : int
        Downloads at once; twice as many are held in memory.
    per_second : float
        Requests a second to one host.
    connect_timeout, read_timeout : float
        Seconds without an answer after which an attempt has failed.
    backoff : float
        Seconds before the second retry; the first comes at once, and each
        later one after twice the time.
    """

    user_agent: str = USER_AGENT
    simultaneous: int = 8
    per_second: float = 10
    connect_timeout: float = 5
    read_timeout: float = 30
    backoff: float = 0.5

    def __post_init__(self):
        self._pace = Pace(self.per_second)
        self._stopped = Event()
        attempts = {"connect": 3, "read": 3, "status": 3, "redirect": 5, "other": 0}
        self._pool = PoolManager(
            maxsize=self.simultaneous,
            headers={"User-Agent": self.user_agent},
            timeout=Timeout(connect=self.connect_timeout, read=self.read_timeout),
            retries=_Retry(
                None, **attempts, status_forcelist=(429, 500, 502, 503, 504), backoff_factor=self.backoff,
                raise_on_status=False,
            ),
        )  # fmt: skip

    def download_in_order(
        self, entries: Iterable[T], url_of: Callable[[T], str | None], max_bytes: int
    ) -> Iterator[tuple[T, Future | None]]:
        """Download what entries name, ahead of the caller.

        Yields
        ------
        tuple
            Each entry, in order, with the result of `download`, or with
            None if it has no URL.
        """
        window = deque()
        self._stopped.clear()
        executor = ThreadPoolExecutor(self.simultaneous, thread_name_prefix="download")
        try:
            for entry in entries:
                url = url_of(entry)
                window.append((entry, url and executor.submit(self.download, url, max_bytes)))
                if len(window) >= 2 * self.simultaneous:
                    yield window.popleft()
            while window:
                yield window.popleft()
        finally:
            self._stopped.set()  # Python waits for threads before it ends
            executor.shutdown(wait=False, cancel_futures=True)

    def download(self, url: str, max_bytes: int) -> bytes:
        """Download one file.

        Raises
        ------
        DownloadError
            If that fails, in spite of retries where they may help.
        """
        try:
            self._pace.wait(urlsplit(url).hostname)
            with self._pool.request("GET", url, preload_content=False) as response:
                if response.status != 200:
                    raise DownloadError(f"HTTP {response.status} {response.reason or ''}".strip())
                return self._read(response, max_bytes)
        except (faults.HTTPError, HTTPException, OSError, ValueError) as error:
            raise DownloadError(_reason(error)) from error

    def _read(self, response: HTTPResponse, max_bytes: int) -> bytes:
        if (response.length_remaining or 0) > max_bytes:
            raise DownloadError(too_large(response.length_remaining, max_bytes))
        deadline = time.monotonic() + MAX_SECONDS
        content = io.BytesIO()
        while chunk := response.read1(CHUNK):
            if content.tell() + len(chunk) > max_bytes:
                raise DownloadError(f"more than {max_bytes:,} bytes")
            if self._stopped.is_set():
                raise DownloadError("stopped")
            if time.monotonic() > deadline:
                raise DownloadError(f"not complete after {MAX_SECONDS} s")
            content.write(chunk)
        return content.getvalue()


class Pace:
    """Spreads the requests to each host over time.

    Parameters
    ----------
    per_second : float
        Requests a second to one host.
    """

    def __init__(self, per_second: float):
        self._interval = 1 / per_second
        self._free_at = {}
        self._lock = Lock()

    def wait(self, host: str) -> None:
        """Sleep until the host may be asked again."""
        with self._lock:
            now = time.monotonic()
            if len(self._free_at) > 1000:
                self._free_at = {host: moment for host, moment in self._free_at.items() if moment > now}
            turn = max(now, self._free_at.get(host, now))
            self._free_at[host] = turn + self._interval
        time.sleep(turn - now)


class _Retry(Retry):
    def get_retry_after(self, response: HTTPResponse) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, MAX_RETRY_AFTER)


def _reason(error: Exception) -> str:
    if isinstance(error, faults.MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, faults.NameResolutionError):
        return "the host's name cannot be resolved"
    if isinstance(error, faults.NewConnectionError):
        return f"no connection: {error.__cause__ or error}"
    if isinstance(error, faults.TimeoutError):
        return "timed out"
    return f"{error}" or type(error).__name__
