"""All against all: the neighbors of every item, and pairs of items that look the same.

The vectors of some blocks are compared with those of every block: by threads, where blocks are mapped; on segments,
where they are stored. What is near is ranked here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pixelplum.core.search import neighbor_graph, vectors
from pixelplum.core.search.blocks import Block
from pixelplum.core.search.metrics import METRICS
from pixelplum.core.threads import in_parallel
from pixelplum.errors import FeaturesKeepChanging, NotPacked, TooManyPairs, UnusableArgument, literal
from pixelplum.server import packing
from pixelplum.server.blocks import Packed, read_with_blocks
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver

MOST_PAIRS = 1_000_000
MOST_BYTES = 1_000_000_000
"""Of what is found in all blocks for some queries, on segments."""
MOST_CANDIDATES = 250_000_000
"""Bytes of what is found for the queries of one part of a graph."""
CANDIDATE_BYTES = 6
QUERIES = 4000
QUERY_BYTES = 32 << 20
"""Vectors that are compared together: they make the reading of every block worth its while."""
PIECE = 16
"""Queries that a core ranks at a time."""
MOST_STARTS = 3
ROW = np.dtype(np.uint16)
"""Blocks have a thousand rows at most."""
PAIR = np.dtype(np.int32)

GRAPH = """
SELECT g.k, g.metric, g.packed_in, g.model_checksum, g.done, g.seconds FROM pix.neighbor_graphs g
WHERE g.model_name = $model_name::text
"""
FORGET_GRAPH = "DELETE FROM pix.neighbor_graphs g WHERE g.model_name = $model_name::text"
START_GRAPH = """
INSERT INTO pix.neighbor_graphs (model_name, model_checksum, packed_in, k, metric, done, blocks, items, seconds)
VALUES ($model_name::text, $checksum::text, $packed_in::int, $k::int, $metric::text, '{}', $blocks::int, $items::int8,
    0)
"""
CONTINUE_GRAPH = """
UPDATE pix.neighbor_graphs g
SET done = $done::int[], seconds = $seconds::float8,
    finished_at = CASE WHEN $is_finished::bool THEN $moment::timestamptz END
WHERE g.model_name = $model_name::text
"""
FORGET_NEIGHBORS = """
DELETE FROM pix.neighbors n WHERE n.model_name = $model_name::text AND n.item_id IN (SELECT unnest($item_ids::text[]))
"""
FORGET_NEIGHBORS_OF_OTHERS = """
DELETE FROM pix.neighbors n WHERE n.model_name = $model_name::text AND NOT EXISTS (
    SELECT FROM pix.features f
    WHERE f.item_id = n.item_id AND f.model_name = $model_name AND f.packed_in <= $packed_in::int
)
"""
STORE_NEIGHBORS = """
INSERT INTO pix.neighbors (item_id, model_name, rank, neighbor_id, distance)
SELECT u.item_id, $model_name::text, u.rank, u.neighbor_id, u.distance
FROM unnest($item_ids::text[], $ranks::int[], $neighbor_ids::text[], $distances::float8[])
    u (item_id, rank, neighbor_id, distance)
"""
PACKED = "SELECT max(p.checksum) AS blocks_key FROM pix_internal.packs p WHERE p.model_name = $model_name::text"
ITEMS = "SELECT coalesce(max(p.items), 0) FROM pix_internal.packs p WHERE p.model_name = $model_name::text"
IS_UNPACKED = """
SELECT EXISTS (SELECT FROM pix.current_features f WHERE f.model_name = $model_name::text AND f.packed_in IS NULL)
    OR EXISTS (SELECT FROM pix_internal.block_entries($model_name) e WHERE e.live < e.items OR e.misplaced > 0)
"""
# The queries are selected in the statement: a constant of megabytes would be sent as text.
COMPARED = """
SELECT b.block, {function} AS part FROM pix_internal.feature_blocks b
WHERE b.model_name = $model_name::text AND b.block >= $first_block::int ORDER BY b.block
"""
QUERIES_OF = """
(SELECT string_agg(q.vectors, '' ORDER BY q.block) FROM pix_internal.feature_blocks q
    WHERE q.model_name = $model_name::text AND q.block = ANY ($queried::int[])), $count::int
"""
NEAREST = f"pix_internal.nearest_in_block({QUERIES_OF}, b.vectors, b.norms, $k::int, $metric::text)"
ALIKE = f"pix_internal.alike_in_block({QUERIES_OF}, b.vectors, b.norms, $max_distance::float8)"

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How vectors are compared with a block.

    Parameters
    ----------
    in_block : callable
        Takes queries and a block that is mapped, and returns two arrays.
    function : str
        Computes them on a segment, as bytes.
    read : callable
        Takes these, and how many queries there were, and returns the arrays.
    values : dict
        What `function` names.
    """

    in_block: Callable[[np.ndarray, Block], Pair]
    function: str
    read: Callable[[bytes, int], Pair]
    values: dict


@driver
def compare_some(
    database: Database, model_name: str, k: int, metric: str, is_packed: bool = False, starts: int = 0
) -> dict | None:
    """Store the neighbors of the next items: a part of ``pix.build_neighbor_graph``.

    Two calls at once take turns, and share the work.

    Returns
    -------
    dict or None
        What the next call is to be given besides; None: the graph is finished.
    """
    if not is_packed:
        packing.pack(database, database.model(model_name))
        return {"is_packed": True}
    begun = time.monotonic()
    name = {"model_name": model_name}
    database.lock("neighbor_graphs", model_name)
    database.lock("packs", model_name)  # blocks stay as they are while they are compared
    model = database.model(model_name)
    pack = packing.find_pack(database, model)
    _, packed = read_with_blocks(database, PACKED, **name)
    found_bytes = CANDIDATE_BYTES * (min(k, 996) + neighbor_graph.SPARE) * len(packed.blocks)
    if packing.BLOCK_ROWS * found_bytes > MOST_BYTES:
        raise UnusableArgument(
            f"k is {k}, too large for a graph of {pack.items} items",
            hint="Use a smaller k; pix.nearest has no such limit.",
        )
    graph = database.row(GRAPH, **name)
    request = {"k": k, "metric": metric, "packed_in": pack.packed_in, "model_checksum": model.checksum}
    if graph is None or any(graph[key] != value for key, value in request.items()):
        starts += 1
        if starts > MOST_STARTS:
            raise FeaturesKeepChanging(
                f"The features of model {literal(model_name)} are packed again before the graph is finished"
            )
        database.run(FORGET_GRAPH, **name)
        database.run(
            START_GRAPH, checksum=model.checksum, packed_in=pack.packed_in, k=k, metric=metric,
            blocks=len(packed.blocks), items=pack.items, **name,
        )  # fmt: skip
        graph = {"done": [], "seconds": 0.0}
    done = graph["done"]
    left = list(queries(packed, model, MOST_CANDIDATES // found_bytes, done))
    if not left:
        return None
    with database.progress(f"neighbor graph of {model_name}") as progress:
        progress(len(done) / len(packed.blocks))
        store_neighbors(database, model, packed, left[0], k, metric)
    is_finished = len(left) == 1
    if is_finished:
        database.run(FORGET_NEIGHBORS_OF_OTHERS, packed_in=pack.packed_in, **name)
    moment = database.value("SELECT clock_timestamp()")
    database.run(
        CONTINUE_GRAPH, done=done + left[0], seconds=graph["seconds"] + time.monotonic() - begun,
        is_finished=is_finished, moment=moment, **name,
    )  # fmt: skip
    return None if is_finished else {"is_packed": True, "starts": starts}


def find_duplicates(
    plpy, cache: dict, model_name: str | None, max_distance: float, may_write: bool
) -> list[tuple[str, str, float]]:
    """Return the pairs of items that look the same: ``pix.duplicate_pair`` rows."""
    database = Database(plpy, cache)
    model = database.model(model_name)
    name = {"model_name": model.model_name}
    if not may_write and database.value(IS_UNPACKED, **name):
        raise NotPacked(
            f"Features of model {literal(model.model_name)} have come or changed since they were packed, and nothing "
            "can be written here",
            hint=f"Where it can: SELECT * FROM pix.pack_features({literal(model.model_name)});",
        )
    if not database.value(ITEMS, **name):
        return []
    _, packed = read_with_blocks(database, PACKED, **name)
    comparison = Comparison(
        lambda some, block: neighbor_graph.alike_in_block(some, block.vectors, block.norms, max_distance), ALIKE,
        lambda part, count: tuple(np.frombuffer(part, PAIR).reshape(2, -1)), {"max_distance": max_distance},
    )  # fmt: skip
    pairs: list[tuple[str, str, float]] = []
    for queried in queries(packed, model, QUERIES, []):
        parts = compare(database, model, packed, queried, comparison, first_block=queried[0])
        if sum(len(numbers) for _, (numbers, _) in parts) > 2 * MOST_PAIRS + QUERIES:
            raise TooManyPairs
        for pair in alike(packed, queried, parts, max_distance):
            pairs.append(pair)
            if len(pairs) > MOST_PAIRS:
                raise TooManyPairs
    return pairs


def queries(packed: Packed, model: Model, most: int, done: list[int]) -> Iterator[list[int]]:
    """Yield the blocks whose vectors are compared with all together, but for those that are done.

    Parameters
    ----------
    most : int
        Vectors at a time, besides what memory allows; one block at least.
    """
    most = min(QUERIES, QUERY_BYTES // (4 * model.dimensions), most)
    some: list[int] = []
    count = 0
    for number, block in packed.by_number.items():
        if number in done:
            continue
        if some and count + len(block.norms) > most:
            yield some
            some, count = [], 0
        some.append(number)
        count += len(block.norms)
    if some:
        yield some


def compare(
    database: Database, model: Model, packed: Packed, queried: list[int], comparison: Comparison, first_block: int = 1
) -> list[tuple[int, Pair]]:
    """Compare the vectors of some blocks with every block from a number on: numbers of these, and what was found."""
    blocks = [(number, block) for number, block in packed.by_number.items() if number >= first_block]
    count = sum(len(packed.block(number).norms) for number in queried)
    if database.is_distributed:
        rows = database.rows(
            COMPARED.format(function=comparison.function), model_name=model.model_name, first_block=first_block,
            queried=queried, count=count, **comparison.values,
        )  # fmt: skip
        return [(row["block"], comparison.read(row["part"], count)) for row in rows]
    results: list[Pair | None] = [None] * len(blocks)

    def work() -> None:
        some = np.concatenate([packed.block(number).vectors for number in queried])

        def compare_block(position: int) -> None:
            results[position] = comparison.in_block(some, blocks[position][1])

        in_parallel(compare_block, len(blocks))

    database.work(work)
    return [(number, result) for (number, _), result in zip(blocks, results, strict=True)]


def store_neighbors(database: Database, model: Model, packed: Packed, queried: list[int], k: int, metric: str) -> None:
    """Store the neighbors of the items of some blocks."""
    comparison = Comparison(
        lambda some, block: neighbor_graph.nearest_in_block(some, block.vectors, block.norms, k, metric), NEAREST,
        read_neighbors, {"k": k, "metric": metric},
    )  # fmt: skip
    parts = compare(database, model, packed, queried, comparison)
    neighbors = database.work(lambda: rank(packed, queried, parts, k, metric))
    item_ids = [packed.item_at(position) for position in positions_of(packed, queried)]
    database.run(FORGET_NEIGHBORS, model_name=model.model_name, item_ids=item_ids)
    database.run(STORE_NEIGHBORS, model_name=model.model_name, **neighbors)


def rank(packed: Packed, queried: list[int], parts: list[tuple[int, Pair]], k: int, metric: str) -> dict[str, list]:
    """Rank what `nearest_in_block` found for the items of some blocks, by true distances.

    Returns
    -------
    dict
        Lists of equal length: item_ids, ranks, neighbor_ids, distances. An item without direction has no neighbors
        by cosine.
    """
    numbers = np.array([number for number, _ in parts])
    asking = positions_of(packed, queried)
    which, rows = neighbor_graph.merged([part for _, part in parts], k)
    candidates = [
        list(zip(blocks, rows_of, strict=True))
        for blocks, rows_of in zip(numbers[which].tolist(), (rows.astype(int) + 1).tolist(), strict=True)
    ]
    distances = np.empty(which.shape)
    has_direction = np.empty(len(asking), bool)

    def measure(piece: int) -> None:
        some = slice(piece * PIECE, (piece + 1) * PIECE)
        own = packed.vectors(asking[some])
        near = packed.vectors([position for positions in candidates[some] for position in positions])
        distances[some] = vectors.distances(own, near.reshape(len(own), -1, own.shape[1]), metric)
        has_direction[some] = own.any(axis=1)

    in_parallel(measure, -(-len(asking) // PIECE))
    answer: dict[str, list] = {"item_ids": [], "ranks": [], "neighbor_ids": [], "distances": []}
    for number, query in enumerate(asking):
        if METRICS[metric].compares_directions and not has_direction[number]:
            continue
        ranking = zip(distances[number].tolist(), candidates[number], strict=True)
        ranked = sorted((distance, packed.item_at(position)) for distance, position in ranking if position != query)[:k]
        answer["item_ids"] += [packed.item_at(query)] * len(ranked)
        answer["ranks"] += range(1, len(ranked) + 1)
        answer["neighbor_ids"] += [item_id for _, item_id in ranked]
        answer["distances"] += [distance for distance, _ in ranked]
    return answer


def positions_of(packed: Packed, numbers: list[int]) -> list[tuple[int, int]]:
    """Return the positions of the vectors of some blocks, one after another."""
    return [(number, row) for number in numbers for row in range(1, len(packed.block(number).norms) + 1)]


def alike(
    packed: Packed, queried: list[int], parts: list[tuple[int, Pair]], max_distance: float
) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs, each once, that `alike_in_block` found and that are as near as they should be."""
    asking = positions_of(packed, queried)
    for number, (pair_queries, rows) in parts:
        for query in np.unique(pair_queries):
            position = asking[query]
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
                    first, second = sorted((packed.item_at(position), packed.item_at(other)))
                    yield first, second, distance


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


def read_neighbors(part: bytes, count: int) -> Pair:
    """Read what `nearest_in_block` returned for some queries."""
    size = len(part) // (ROW.itemsize + 4)
    distances = np.frombuffer(part, np.float32, size).reshape(count, -1)
    return np.frombuffer(part, ROW, offset=distances.nbytes).reshape(count, -1), distances


def alike_in_block(
    plpy, cache: dict, queries: bytes, number: int, block: bytes, norms: bytes, max_distance: float
) -> bytes:
    """Compare queries with a block; see `neighbor_graph.alike_in_block`. Both results follow one another."""
    matrix = vectors.matrix(queries, len(queries) // 4 // number)
    similarities = neighbor_graph.alike_in_block(
        matrix, vectors.matrix(block, matrix.shape[1]), vectors.from_bytes(norms), max_distance
    )
    # Each pair may be found from both sides, and every vector finds itself.
    if len(similarities[0]) > 2 * MOST_PAIRS + number:
        raise TooManyPairs
    return b"".join(part.tobytes() for part in similarities)
