"""Look-alikes: candidates from blocks or an index, then true distances."""

from __future__ import annotations

from pixelplum.core.search import exact, vectors
from pixelplum.server.blocks import kept, locations

MOST_AT_ONCE = 1_000_000
"""Candidates for several queries together."""


def find_candidates(
    plpy, cache: dict, key: str, blocks_key: str, queries: bytes, number: int, count: int, metric: str
) -> list[str | None] | None:
    """Find items that may be the nearest.

    Parameters
    ----------
    key : str
        What to search: blocks or an index, as they were opened.
    blocks_key : str
        The blocks, which `rank_neighbors` will need.
    queries : bytes
        Packed vectors, one after another.
    number : int
        How many.
    count : int
        How many candidates are wanted for each.
    metric : str
        As for `pixelplum.core.search.vectors.distances`.

    Returns
    -------
    list of str or None
        For each query equally many, filled up with None; or None if this backend has not opened what to search.
    """
    vectors.check_queries(queries, number, metric)
    blocks, searchable = kept(cache, blocks_key), kept(cache, key)
    if searchable is None or blocks is None:
        return None
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    hits = searchable.search(matrix, count, metric)
    width = max(map(len, hits))
    if number > 1 and number * width > MOST_AT_ONCE:
        return [None] * number  # countless ties: one query at a time can have them all
    item_id = searchable.item_id
    return [name for row in hits for name in [*map(item_id, row.tolist()), *[None] * (width - len(row))]]


def rank_neighbors(
    plpy, cache: dict, blocks_key: str | None, queries: bytes, names: list[str | None],
    candidate_ids: list[str | None] | None,
    located: dict | None, scanned: list[dict] | None, k: int, metric: str, is_all: bool,
) -> list[tuple] | None:  # fmt: skip
    """Rank what was found by true distances.

    Parameters
    ----------
    blocks_key : str or None
        The blocks that hold the candidates' vectors, as they were opened.
    queries : bytes
        Packed vectors, one after another.
    names : list of str or None
        The items that the queries belong to, which are not their own neighbors; of each query one.
    candidate_ids : list of str or None
        As `find_candidates` returns them, or None where nothing was searched.
    located : dict or None
        Those of them that may be answers, and where their vectors are.
    scanned : list of dict or None
        Items that were compared already: rank is the query (from 1), neighbor_id the item, at what distance.
    k : int
        How many are wanted for each.
    metric : str
        As for `pixelplum.core.search.vectors.distances`.
    is_all : bool
        Whether there are no further candidates.

    Returns
    -------
    list of (str or None, int, str, float) or None
        Name, rank, item_id, distance, by query and rank; None if a query needs more candidates.
    """
    matrix = vectors.matrix(queries, len(queries) // 4 // len(names))
    others: list[list[tuple[float, str]]] = [[] for _ in names]
    for pair in scanned or ():
        others[pair["rank"] - 1].append((pair["distance"], pair["neighbor_id"]))
    width = len(candidate_ids or ()) // len(names)
    place_of = dict(zip(located["item_ids"] or (), locations(located), strict=True)) if located else {}
    stored = kept(cache, blocks_key) if place_of else None
    answer = []
    for query, name in enumerate(names):
        own = [i for i in (candidate_ids or ())[query * width : (query + 1) * width] if i in place_of and i != name]
        if not is_all and len(own) < k:
            return None
        ranked = others[query]
        if own:
            ranked = ranked + exact.rank(matrix[query], own, stored.vectors([place_of[i] for i in own]), k, metric)
        answer += [(name, rank, item_id, distance) for rank, (distance, item_id) in enumerate(sorted(ranked)[:k], 1)]
    return answer
