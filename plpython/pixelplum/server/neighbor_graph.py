"""The neighbor graph, and pairs of items that look the same."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search import neighbor_graph, vectors
from pixelplum.core.search.metrics import METRICS
from pixelplum.core.threads import in_parallel
from pixelplum.errors import TooManyPairs
from pixelplum.server.blocks import Packed, kept

MOST_PAIRS = 1_000_000
PIECE = 16
"""Queries that a core ranks at a time."""
ROW = np.dtype(np.uint16)
"""Blocks have a thousand rows at most."""


def nearest_in_block(
    plpy, cache: dict, queries: bytes, number: int, block: bytes, norms: bytes, k: int, metric: str
) -> bytes:
    """Compare queries with a block; see `neighbor_graph.nearest_in_block`.

    Proximities come first, then rows: the server, which would compress the result, gives up on numbers without pattern.
    """
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    rows, distances = neighbor_graph.nearest_in_block(
        matrix, vectors.matrix(block, matrix.shape[1]), vectors.from_bytes(norms), k, metric
    )
    return distances.tobytes() + rows.astype(ROW).tobytes()


def alike_in_block(
    plpy, cache: dict, queries: bytes, number: int, block: bytes, norms: bytes, max_distance: float
) -> bytes:
    """Compare queries with a block; see `neighbor_graph.alike_in_block`. Both results follow one another."""
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    similarities = neighbor_graph.alike_in_block(
        matrix, vectors.matrix(block, matrix.shape[1]), vectors.from_bytes(norms), max_distance
    )
    if (
        len(similarities[0]) > 2 * MOST_PAIRS + number
    ):  # each may be found from both sides, and every vector finds itself
        raise TooManyPairs
    return b"".join(part.tobytes() for part in similarities)


def merge_neighbors(
    plpy, cache: dict, key: str, queried: list[int], numbers: list[int], parts: list[bytes], k: int, metric: str
) -> dict:
    """Rank what `nearest_in_block` found for the items of some blocks, by true distances.

    Parameters
    ----------
    key : str
        The blocks, as they were opened.
    queried : list of int
        Numbers of the blocks whose vectors were the queries, one after another.
    numbers : list of int
        Numbers of the blocks that they were compared with.
    parts : list of bytes
        What was found in each of these.
    k : int
        How many neighbors are wanted.
    metric : str
        As for `pixelplum.core.search.vectors.distances`.

    Returns
    -------
    dict
        Lists of equal length: item_ids, ranks, neighbor_ids, distances. An item without direction has no neighbors
        by cosine.
    """
    packed: Packed = kept(cache, key)
    queries = [(number, row) for number in queried for row in range(1, len(packed.block(number).norms) + 1)]
    which, rows = neighbor_graph.merged([_unpacked(part, len(queries)) for part in parts], k)
    candidates = [
        list(zip(blocks, rows_of, strict=True))
        for blocks, rows_of in zip(np.array(numbers)[which].tolist(), (rows + 1).tolist(), strict=True)
    ]
    distances = np.empty(which.shape)
    has_direction = np.empty(len(queries), bool)

    def measure(piece: int) -> None:
        some = slice(piece * PIECE, (piece + 1) * PIECE)
        asking = packed.vectors(queries[some])
        near = packed.vectors([position for positions in candidates[some] for position in positions])
        distances[some] = vectors.distances(asking, near.reshape(len(asking), -1, asking.shape[1]), metric)
        has_direction[some] = asking.any(axis=1)

    in_parallel(measure, -(-len(queries) // PIECE))
    answer: dict[str, list] = {"item_ids": [], "ranks": [], "neighbor_ids": [], "distances": []}
    for number, query in enumerate(queries):
        if METRICS[metric].compares_directions and not has_direction[number]:
            continue
        ranking = zip(distances[number].tolist(), candidates[number], strict=True)
        ranked = sorted((distance, packed.item_at(position)) for distance, position in ranking if position != query)[:k]
        answer["item_ids"] += [packed.item_at(query)] * len(ranked)
        answer["ranks"] += range(1, len(ranked) + 1)
        answer["neighbor_ids"] += [item_id for _, item_id in ranked]
        answer["distances"] += [distance for distance, _ in ranked]
    return answer


def merge_pairs(
    plpy,
    cache: dict,
    key: str,
    queried: list[int],
    numbers: list[int],
    parts: list[bytes],
    max_distance: float,
    existing: int,
) -> dict:
    """Return the pairs that `alike_in_block` found and that are as near as they should be, by true distances.

    Parameters
    ----------
    key, queried, numbers, parts
        As for `merge_neighbors`.
    max_distance : float
        Cosine distance.
    existing : int
        How many pairs were found before.

    Returns
    -------
    dict
        Lists of equal length: item_ids, duplicate_ids, distances.

    Raises
    ------
    TooManyPairs
        If there are more than a million in all.
    """
    packed: Packed = kept(cache, key)
    queries = [(number, row) for number in queried for row in range(1, len(packed.block(number).norms) + 1)]
    answer: dict[str, list] = {"item_ids": [], "duplicate_ids": [], "distances": []}
    for number, part in zip(numbers, parts, strict=True):
        pair_queries, rows = np.frombuffer(part, np.int32).reshape(2, -1)
        for query in np.unique(pair_queries):
            position = queries[query]
            # Each pair once: the query is the one that comes first.
            positions = [
                (number, row) for row in (rows[pair_queries == query] + 1).tolist() if (number, row) > position
            ]
            vector = packed.vectors([position])[0]
            if not positions or not vector.any():
                continue
            distances = vectors.distances(vector, packed.vectors(positions), "cosine")
            for other, distance in zip(positions, distances.tolist(), strict=True):
                if distance <= max_distance + 1e-12:
                    names = sorted((packed.item_at(position), packed.item_at(other)))
                    answer["item_ids"].append(names[0])
                    answer["duplicate_ids"].append(names[1])
                    answer["distances"].append(distance)
            if existing + len(answer["item_ids"]) > MOST_PAIRS:
                raise TooManyPairs
    return answer


def raise_too_many_pairs(plpy, cache: dict) -> None:
    """Say that there are too many pairs."""
    raise TooManyPairs


def _unpacked(part: bytes, queries: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(part) // (ROW.itemsize + 4)
    distances = np.frombuffer(part, np.float32, size).reshape(queries, -1)
    return np.frombuffer(part, ROW, offset=distances.nbytes).reshape(queries, -1), distances
