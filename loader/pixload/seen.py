"""What a load has met so far."""

from __future__ import annotations

import sqlite3

from pixload.errors import PixError

CACHE_KB = 64 << 10


class Seen:
    """The keys of a load and where each came from first; to be used as a context manager.

    SQLite keeps them, in up to 64 MB of memory, and what is more in a temporary file that it removes: a million keys of
    ten characters take 60 MB together.
    """

    def __init__(self):
        self._store = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = off",
            f"PRAGMA cache_size = -{CACHE_KB}",
            "BEGIN",
            "CREATE TABLE seen (key BLOB PRIMARY KEY, source TEXT NOT NULL) WITHOUT ROWID",
        ):
            self._store.execute(statement)

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._store.close()

    def first_source(self, key: bytes, source: str) -> str | None:
        """Remember where a key comes from; return where it came from first, if it was met before.

        Raises
        ------
        PixError
            If there is no room for temporary files.
        """
        try:
            if self._store.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, source)).rowcount:
                return None
            return self._store.execute("SELECT source FROM seen WHERE key = ?", (key,)).fetchone()[0]
        except sqlite3.Error as error:
            raise PixError(
                f"The keys of this load cannot be kept in a temporary file: {error}.",
                "Make room for temporary files, or name another folder for them in SQLITE_TMPDIR.",
            ) from error
