"""Look-alikes in 50,000 × 2,048: exact, HNSW, Annoy, projected, against numpy, scikit-learn and pgvector."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import psycopg2

from benchmarks.classification import store
from benchmarks.tools import CORES, execute, seconds
from benchmarks.vectors import catalogue
from pixelplum.core.search.neighbor_graph import merged, nearest_in_block

K = 10
MODEL = "look"

# Every query runs inside SQL, as in a function of the user's own; the plan is kept, as there.
TIMED = """
DO $$
DECLARE
    q record;
    t timestamptz;
    ids text[];
BEGIN
    FOR q IN SELECT * FROM bench_queries ORDER BY number LOOP
        t := clock_timestamp();
        SELECT array_agg(item_id) INTO ids FROM {search};
        INSERT INTO bench_answers
        VALUES ('{name}', q.number, ids, 1000 * EXTRACT(EPOCH FROM clock_timestamp() - t));
    END LOOP;
END
$$
"""


def run(bench) -> None:
    items, queries = catalogue()
    norms = np.linalg.norm(items, axis=1)
    proximity = (queries @ items.T) / norms
    truth = [set(row) for row in np.argpartition(-proximity, K, axis=1)[:, :K]]
    store(bench, MODEL, items, np.zeros(len(items), int))
    taken = seconds(lambda: execute(bench, f"SELECT pix.pack_features('{MODEL}')"))
    execute(bench, "VACUUM ANALYZE pix.features")
    print(f"  packing {len(items):,} vectors: {taken:.1f} s")
    load_queries(bench, queries)

    exact(bench, items, norms, queries, truth)
    hnsw = index(bench, truth, "hnsw", "hnsw", "goal: recall ≥ 0.99, median ≤ 1.0, 95 % ≤ 3 ms")
    index(bench, truth, "annoy", "annoy", "goal: recall ≥ 0.95")
    index(bench, truth, "projected", "exact", "goal: recall ≥ 0.99", project_to=256)
    index(bench, truth, "projected hnsw", "hnsw", "goal as for hnsw", project_to=256, parameters='{"rerank": 16}')
    index(bench, truth, "int8", "hnsw", "", parameters='{"dtype": "int8"}')
    pgvector(bench, truth, hnsw)
    overhead(bench, queries)
    first_query(bench)
    scikit_learn(bench, queries)
    graph(bench, items, norms)


def load_queries(bench, queries: np.ndarray) -> None:
    execute(
        bench,
        "CREATE TABLE bench_queries AS SELECT n AS number, NULL::real[] AS features FROM generate_series(1, 0) n",
    )
    execute(bench, "CREATE TABLE bench_answers (name text, number integer, item_ids text[], ms double precision)")
    connection = psycopg2.connect(bench.dsn)
    with connection, connection.cursor() as cursor:
        for number, query in enumerate(queries):
            cursor.execute("INSERT INTO bench_queries VALUES (%s, %s)", (number, query.tolist()))
    connection.close()


def measured(
    bench, truth: list[set[int]], name: str, search: str, before: str = "SELECT 1"
) -> tuple[float, float, float]:
    """Ask all queries twice in one connection; return recall, median and 95 % quantile of the second time."""
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(before)
        for _ in range(2):
            cursor.execute("DELETE FROM bench_answers WHERE name = %s", (name,))
            cursor.execute(TIMED.format(search=search, name=name))
        cursor.execute("SELECT item_ids, ms FROM bench_answers WHERE name = %s ORDER BY number", (name,))
        answers = cursor.fetchall()
    connection.close()
    hits = sum(
        len({int(item_id[-7:]) for item_id in ids} & true) for (ids, _), true in zip(answers, truth, strict=True)
    )
    times = [ms for _, ms in answers]
    return hits / (K * len(truth)), median(times), float(np.quantile(times, 0.95))


def search(index_name: str | None) -> str:
    index = f"'{index_name}'" if index_name else "NULL"
    return f"pix.nearest_to_vector(q.features, {K}, '{MODEL}', index_name => {index})"


def exact(bench, items: np.ndarray, norms: np.ndarray, queries: np.ndarray, truth: list[set[int]]) -> None:
    recall, middle, most = measured(bench, truth, "exact", search(None))
    products = [1000 * seconds(lambda q=query: items @ q) for query in queries[:100]][10:]
    print(
        f"  exact: recall {recall:.4f}, median {middle:.2f} ms, 95 % {most:.2f} ms; numpy's product alone, "
        f"{CORES} cores: {median(products):.2f} ms, ratio {middle / median(products):.2f} (goal: at most 1.3)"
    )


def index(
    bench,
    truth: list[set[int]],
    name: str,
    algorithm: str,
    goal: str,
    project_to: int | None = None,
    parameters: str = "{}",
) -> tuple[float, float]:
    ((built, size),) = execute(
        bench,
        "SELECT build_seconds, size_bytes FROM pix.build_index(%s, %s, %s, 'cosine', %s, %s)",
        (name, MODEL, algorithm, parameters, project_to),
    )
    recall, middle, most = measured(bench, truth, name, search(name))
    print(
        f"  {name}: recall {recall:.4f}, median {middle:.2f} ms, 95 % {most:.2f} ms, built in {built:.1f} s, "
        f"{size / 1e6:.0f} MB{f' ({goal})' if goal else ''}"
    )
    return recall, middle


def pgvector(bench, truth: list[set[int]], ours: tuple[float, float]) -> None:
    if not execute(bench, "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
        print("  pgvector is not installed here")
        return
    execute(bench, "CREATE EXTENSION vector")
    execute(bench, "SET synchronous_commit = off")
    begun = time.perf_counter()
    execute(
        bench,
        "CREATE TABLE bench_pgvector AS SELECT item_id, pix.to_array(vector)::vector::halfvec(2048) AS v "
        f"FROM pix.features WHERE model_name = '{MODEL}'",
    )
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '2GB'")
        cursor.execute(f"SET max_parallel_maintenance_workers = {CORES - 1}")
        begun = time.perf_counter()
        cursor.execute(
            "CREATE INDEX ON bench_pgvector USING hnsw (v halfvec_cosine_ops) WITH (m = 16, ef_construction = 128)"
        )
        built = time.perf_counter() - begun
        cursor.execute("ALTER TABLE bench_queries ADD v halfvec(2048)")
        cursor.execute("UPDATE bench_queries SET v = features::vector::halfvec(2048)")
        cursor.execute("VACUUM ANALYZE bench_pgvector")
    connection.close()
    recall, middle = 0.0, 0.0
    for ef in (20, 40, 64, 100, 160, 250):
        recall, middle, _ = measured(
            bench, truth, "pgvector", f"(SELECT item_id FROM bench_pgvector ORDER BY v <=> q.v LIMIT {K}) x",
            before=f"SET hnsw.ef_search = {ef}",
        )  # fmt: skip
        print(f"  pgvector, ef_search {ef}: recall {recall:.4f}, median {middle:.2f} ms, built in {built:.1f} s")
        if recall >= ours[0]:
            break
    print(f"  hnsw against pgvector at equal recall: ratio {ours[1] / middle:.2f} (goal: at most 0.6)")


def overhead(bench, queries: np.ndarray) -> None:
    """What a call costs beyond the search itself: a catalogue of a hundred vectors, where that is nothing."""
    store(bench, "few", queries[:100], np.zeros(100, int))
    execute(bench, "SELECT pix.pack_features('few')")
    execute(bench, "SELECT pix.build_index('few', 'few')")
    connection = psycopg2.connect(bench.dsn)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION pg_temp.times() RETURNS double precision[] LANGUAGE plpgsql AS $$
            DECLARE
                t timestamptz;
                ms double precision[] := '{}';
                ids text[];
            BEGIN
                FOR i IN 1 .. 1000 LOOP
                    t := clock_timestamp();
                    SELECT array_agg(item_id) INTO ids
                    FROM pix.nearest('few-' || to_char(i % 100, 'FM0000000'), 10, 'few', index_name => 'few');
                    ms := ms || 1000 * EXTRACT(EPOCH FROM clock_timestamp() - t)::double precision;
                END LOOP;
                RETURN ms[500:];
            END
            $$
            """
        )
        cursor.execute("SELECT pg_temp.times()")
        (times,) = cursor.fetchone()
    connection.close()
    print(f"  the call's own overhead: {median(times):.2f} ms (goal: at most 0.3 ms)")


def first_query(bench) -> None:
    """A new connection's first query, when the files are there."""
    times = []
    for number in range(7):
        connection = psycopg2.connect(bench.dsn)
        with connection.cursor() as cursor:
            sql = f"SELECT * FROM pix.nearest('{MODEL}-000000{number}', 10, '{MODEL}', index_name => 'hnsw')"
            times.append(1000 * seconds(lambda c=cursor, s=sql: c.execute(s)))
        connection.close()
    print(f"  a second connection's first query: median {median(times):.0f} ms (goal: at most 150 ms)")


def scikit_learn(bench, queries: np.ndarray) -> None:
    """Brute force at the client: fetch everything once, then ask."""
    from sklearn.neighbors import NearestNeighbors

    begun = time.perf_counter()
    rows = execute(bench, f"SELECT vector FROM pix.features WHERE model_name = '{MODEL}'")
    matrix = np.stack([np.frombuffer(vector, np.float32) for (vector,) in rows])
    neighbors = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(matrix)
    fetched = time.perf_counter() - begun
    times = [1000 * seconds(lambda q=query: neighbors.kneighbors(q[np.newaxis])) for query in queries[:20]]
    print(f"  scikit-learn at the client: {fetched:.1f} s to fetch all vectors, then {median(times):.1f} ms a query")


def graph(bench, items: np.ndarray, norms: np.ndarray) -> None:
    def ours() -> float:
        execute(bench, "DELETE FROM pix.neighbor_graphs")
        return seconds(lambda: execute(bench, f"CALL pix.build_neighbor_graph('{MODEL}', {K})"))

    def peer(count: int = len(items)) -> float:
        """numpy, on all cores by its own threads: 4,000 queries against blocks of 1,000, merged and sorted."""
        begun = time.perf_counter()
        for start in range(0, count, 4000):
            asking = items[start : start + 4000]
            parts = [
                nearest_in_block(asking, items[b : b + 1000], norms[b : b + 1000], K, "cosine")
                for b in range(0, count, 1000)
            ]
            merged(parts, K)
        return time.perf_counter() - begun

    peer(4000)  # warm
    numpy_alone, whole = peer(), ours()
    execute(
        bench,
        f"DELETE FROM pix.features WHERE model_name = '{MODEL}' AND right(item_id, 7)::integer >= {len(items) // 2}",
    )
    execute(bench, f"SELECT pix.pack_features('{MODEL}')")
    half = ours()
    print(
        f"  neighbor graph of {len(items):,} × {K}: {whole:.1f} s, numpy in blocks {numpy_alone:.1f} s, ratio "
        f"{whole / numpy_alone:.2f} (goal: at most 1.3); of half as many {half:.1f} s, {whole / half:.1f} times less "
        "(goal: at least 1/4 of it)"
    )
