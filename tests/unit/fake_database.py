"""A database that answers from memory, for drivers that run without a server."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pixelplum.core.search import blocks
from pixelplum.server.blocks import Packed, keep
from pixelplum.server.database import Database

PACK = "the blocks"


class Result(list):
    """Rows as PL/Python returns them."""

    def nrows(self) -> int:
        return len(self)


class FakeDatabase(Database):
    """Answers statements by a part of their text, and remembers what was run.

    Parameters
    ----------
    answers : dict of str to list of dict, or to callable
        Rows for statements that hold the text; or what computes them from the statement's values. What is not named
        has no rows.
    """

    def __init__(self, answers: dict[str, list[dict] | Callable[..., list[dict]]], is_distributed: bool = False):
        super().__init__(None, {})
        self.answers = {"is_distributed": [{"is": is_distributed}], "current_setting": [{"name": "psql"}]} | answers
        self.statements: list[tuple[str, dict]] = []

    def _run(self, statement: str, values: dict) -> Result:
        self.statements.append((statement, values))
        rows = next((rows for text, rows in self.answers.items() if text in statement), [])
        return Result(rows(**values) if callable(rows) else rows)

    def work(self, work: Callable, on_progress: Callable | None = None):
        return work() if on_progress is None else work(on_progress)

    def values_of(self, text: str) -> list[dict]:
        """Return the values of statements that were run and hold a text, in their order."""
        return [values for statement, values in self.statements if text in statement]

    def position(self, text: str) -> int:
        """Return when the first statement that holds a text was run."""
        return next(number for number, (statement, _) in enumerate(self.statements) if text in statement)


def with_vectors(vectors: np.ndarray, answers: dict, is_distributed: bool = False, parts: int = 3) -> FakeDatabase:
    """A database whose only model, 'looks', has these features, packed in blocks: items i0, i1, …"""
    item_ids = [f"i{number}" for number in range(len(vectors))]
    database = FakeDatabase(
        {
            "pix.find_model($model_name::text) m": [
                {"model_name": "looks", "checksum": "c", "dimensions": vectors.shape[1]}
            ],
            "to_regclass": [{"is_there": False}],
            "min(f.item_id)": [{"damaged": None}],
            "block_entries": [{"changed": [], "misplaced": [], "small": [], "removed": 0, "moved": 0}],
            "f.packed_in IS NULL": [{"unpacked": 0}],
            "coalesce(max(p.packed_in)": [{"packed_in": 4, "items": len(vectors), "blocks": parts}],
            "find_pack": [{"packed_in": 4, "items": len(vectors), "checksum": PACK}],
            "ORDER BY md5": [{"item_ids": item_ids, "vectors": vectors.tobytes()}],
        }
        | answers,
        is_distributed,
    )
    mapped = {}
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
        names, content = [item_ids[row] for row in rows], vectors[rows].tobytes()
        packed = blocks.pack(names, content, blocks.norms(names, content))
        mapped[number] = blocks.Block(packed, len(rows), vectors.shape[1])
    keep(database.cache, PACK, Packed(mapped))
    return database
