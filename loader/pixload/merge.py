"""COPY into a staging table, then one merge, a batch at a time.

A batch is committed whole: a load that is killed has lost at most one batch,
and loading again finds the committed rows unchanged.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pixload.sources.rows import Reject

BATCH_ROWS = 2000
BATCH_BYTES = 16 << 20


@dataclass(frozen=True)
class Target:
    """A table that rows are merged into.

    Parameters
    ----------
    table : str
        Its name, with schema.
    key : tuple of str
        The columns that identify a row, item_id first.
    values : tuple of str
        The columns that a load may change.
    compared : tuple of str
        A row counts as changed if one of these differs.
    moment : str, optional
        The column that holds the time of the last change.
    extra : tuple of str
        Text columns that only the staging table has, for `also`.
    also : tuple of bytes
        Statements that run on each batch after the merge; the batch is in
        pg_temp.staging.
    """

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    compared: tuple[str, ...]
    moment: str | None = None
    extra: tuple[str, ...] = ()
    also: tuple[bytes, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row that is added, in order."""
        return self.key + self.values + self.extra


@dataclass
class Summary:
    """What a load did, in rows."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name):,} {field.name}" for field in fields(self))


class Merge:
    """A load in progress, on one connection; to be used as a context manager.

    Parameters
    ----------
    connection : psycopg2 connection
        Its transactions are committed batch by batch.
    target : Target
        Where rows go.
    rejects : Rejects
        Where rows go that cannot be loaded.
    """

    def __init__(self, connection, target: Target, rejects: Rejects):
        self.summary = Summary()
        self._connection = connection
        self._cursor = connection.cursor()
        self._target = target
        self._rejects = rejects
        self._batch = io.BytesIO()
        self._rows = 0
        self._create_staging()

    def __enter__(self) -> Merge:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.flush()
            self._rejects.close()

    def add(self, source: str, *values) -> None:
        """Add a row: where it comes from, then a value per column of the target."""
        try:
            line = "\t".join(map(copy_text, (source, *values))).encode()
        except ValueError as error:  # half a surrogate pair, or NaN in JSON
            self.reject(Reject(source, values[0], f"cannot be stored: {error}"))
            return
        self._batch.write(line)
        self._batch.write(b"\n")
        self._rows += 1
        if self._rows >= BATCH_ROWS or self._batch.tell() >= BATCH_BYTES:
            self.flush()

    def reject(self, reject: Reject) -> None:
        """Note a row that cannot be loaded."""
        self.summary.rejected += 1
        self._rejects.write(reject)

    def flush(self) -> None:
        """Copy, merge and commit what was added."""
        if not self._rows:
            return
        columns = ", ".join(("source_of_row", *self._target.columns))
        self._batch.seek(0)
        self._cursor.copy_expert(f"COPY pg_temp.staging ({columns}) FROM STDIN", self._batch)
        self._reject_duplicates()
        self._merge()
        self._connection.commit()
        self._batch = io.BytesIO()
        self._rows = 0

    def _create_staging(self) -> None:
        target = self._target
        key = ", ".join(target.key)
        extra = "".join(f", {column} text" for column in target.extra)
        self._cursor.execute(
            f"""
            DROP TABLE IF EXISTS pg_temp.staging, pg_temp.seen;
            CREATE TEMP TABLE staging (
                position bigint GENERATED ALWAYS AS IDENTITY, source_of_row text,
                is_new boolean DEFAULT true, is_changed boolean DEFAULT false{extra},
                LIKE {target.table} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
            );
            CREATE TEMP TABLE seen AS SELECT {key}, ''::text AS source_of_row FROM {target.table} WITH NO DATA;
            CREATE INDEX ON pg_temp.seen ({key});
            """
        )
        self._connection.commit()

    def _reject_duplicates(self) -> None:
        """Keep the first row of a key in this load, and reject the others."""
        key = ", ".join(self._target.key)
        self._cursor.execute(
            f"""
            SELECT s.position, s.source_of_row, s.{self._target.key[0]},
                coalesce(e.source_of_row, f.source_of_row)
            FROM pg_temp.staging s
            LEFT JOIN pg_temp.seen e USING ({key})
            JOIN (
                SELECT DISTINCT ON ({key}) {key}, position, source_of_row
                FROM pg_temp.staging ORDER BY {key}, position
            ) f USING ({key})
            WHERE e.source_of_row IS NOT NULL OR f.position < s.position
            ORDER BY s.position
            """
        )
        duplicates = self._cursor.fetchall()
        for _, source, item_id, first in duplicates:
            self.reject(Reject(source, item_id, f"the item_id was already loaded from {first}"))
        self._cursor.execute(
            f"""
            DELETE FROM pg_temp.staging WHERE position = ANY(%s);
            INSERT INTO pg_temp.seen SELECT {key}, source_of_row FROM pg_temp.staging
            """,
            ([position for position, *_ in duplicates],),
        )

    def _merge(self) -> None:
        target = self._target
        key, written = ", ".join(target.key), (*target.values, *filter(None, [target.moment]))
        columns = ", ".join((*target.key, *written))
        staged, stored = (", ".join(f"{row}.{column}" for column in target.compared) for row in "st")
        self._cursor.execute(
            f"""
            UPDATE pg_temp.staging s SET is_new = false, is_changed = ROW({staged}) IS DISTINCT FROM ROW({stored})
            FROM {target.table} t WHERE {" AND ".join(f"t.{c} = s.{c}" for c in target.key)};
            INSERT INTO {target.table} ({columns}) SELECT {columns} FROM pg_temp.staging WHERE is_new OR is_changed
            ON CONFLICT ({key}) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in written)}
            """
        )
        for statement in target.also:
            self._cursor.execute(statement)
        self._cursor.execute(
            """
            SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE is_changed),
                count(*) FILTER (WHERE NOT is_new AND NOT is_changed) FROM pg_temp.staging
            """
        )
        new, changed, unchanged = self._cursor.fetchone()
        self._cursor.execute("TRUNCATE pg_temp.staging")
        self.summary.new += new
        self.summary.changed += changed
        self.summary.unchanged += unchanged


class Rejects:
    """A CSV file of what could not be loaded; it is made when the first row comes.

    Parameters
    ----------
    path : pathlib.Path
        Where it goes; one of an earlier load is replaced.
    """

    def __init__(self, path: Path):
        self.path = path
        path.unlink(missing_ok=True)
        self._file = None

    def write(self, reject: Reject) -> None:
        """Add a row: source, item_id, reason."""
        if self._file is None:
            self._file = self.path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
            self._writer = csv.writer(self._file)
            self._writer.writerow([field.name for field in fields(Reject)])
        self._writer.writerow(astuple(reject))
        self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()


ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(value) -> str:
    """Write a value in the text format of COPY; dicts and lists become JSON."""
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return str(value).translate(ESCAPES)
