"""Look-alikes: candidates from blocks or an index, then true distances."""

from __future__ import annotations

from pixelplum.core import nearest, vectors
from pixelplum.server.blocks import kept


def candidates(
    plpy, cache: dict, key: str, queries: bytes, number: int, count: int, metric: str
) -> list[str | None] | None:
    """Find items that may be the nearest.

    Parameters
    ----------
    key : str
        What to search: blocks or an index, as they were opened.
    queries : bytes
        Packed vectors, one after another.
    number : int
        How many.
    count : int
        How many candidates are wanted for each.
    metric : str
        As for `pixelplum.core.vectors.distances`.

    Returns
    -------
    list of str or None
        For each query equally many, filled up with None; or None if this backend has not opened what to search.
    """
    searchable = kept(cache, key)
    if searchable is None:
        return None
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    found = searchable.search(matrix, count, metric)
    width = max(map(len, found))
    item_id = searchable.item_id
    return [name for row in found for name in [*map(item_id, row.tolist()), *[None] * (width - len(row))]]


def rank(
    plpy, cache: dict, queries: bytes, number: int, names: list[str | None], found: list[str | None] | None,
    item_ids: list[str] | None, packed: bytes | None, scanned_queries: list[int] | None, scanned_ids: list[str] | None,
    scanned_distances: list[float] | None, k: int, metric: str, is_all: bool,
) -> list[tuple] | None:  # fmt: skip
    """Rank what was found by true distances.

    Parameters
    ----------
    queries : bytes
        Packed vectors, one after another.
    number : int
        How many.
    names : list of str or None
        The items that the queries belong to, which are not their own neighbours.
    found : list of str or None
        As `candidates` returns them, or None where nothing was searched.
    item_ids : list of str or None
        Those of them that may be answers.
    packed : bytes or None
        Their vectors.
    scanned_queries, scanned_ids, scanned_distances : list or None
        Items that were compared already: with which query (from 1), which item, at what distance.
    k : int
        How many are wanted for each.
    metric : str
        As for `pixelplum.core.vectors.distances`.
    is_all : bool
        Whether there are no further candidates.

    Returns
    -------
    list of (str or None, int, str, float) or None
        Name, rank, item_id, distance, by query and rank; None if a query needs more candidates.
    """
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    others: list[list[tuple[float, str]]] = [[] for _ in range(number)]
    if scanned_queries:
        for query, item_id, distance in zip(scanned_queries, scanned_ids, scanned_distances, strict=True):
            others[query - 1].append((distance, item_id))
    width = len(found or ()) // number
    row_of = {item_id: row for row, item_id in enumerate(item_ids or ())}
    stored = vectors.matrix(packed, matrix.shape[1]) if row_of else None
    answer = []
    for query, name in enumerate(names):
        own = [i for i in (found or ())[query * width : (query + 1) * width] if i in row_of and i != name]
        if not is_all and len(own) < k:
            return None
        ranked = others[query]
        if own:
            rows = [row_of[item_id] for item_id in own]
            ranked = ranked + nearest.rank(matrix[query], own, stored[rows], k, metric)
        answer += [(name, place, item_id, distance) for place, (distance, item_id) in enumerate(sorted(ranked)[:k], 1)]
    return answer
