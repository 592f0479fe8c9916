"""K-means and maps: 50,000 × 2,048 in 25 clusters, 3,696 × 2,048 by t-SNE, against scikit-learn in memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import psycopg2
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score

from benchmarks.classification import store
from benchmarks.tools import compare, execute, seconds
from benchmarks.vectors import catalogue

MODEL, FEW = "look", "few"
K = 25
MAPPED = 3696


def run(bench) -> None:
    items, _ = catalogue()
    store(bench, MODEL, items, np.zeros(len(items), int))
    some = items[np.random.default_rng(1).choice(len(items), MAPPED, replace=False)]
    store(bench, FEW, some, np.zeros(len(some), int))
    for model in (MODEL, FEW):
        execute(bench, "SELECT pix.pack_features(%s)", (model,))
    execute(bench, "VACUUM ANALYZE pix.features")
    kmeans(bench, items)
    assignment(bench, len(items))
    others(bench)
    tsne(bench, some)


def kmeans(bench, items: np.ndarray) -> None:
    """Ten starts against ten starts; then one against one, from the same seed points."""
    peaks, fits = [], []

    def ours(n_init: int) -> float:
        begun = time.perf_counter()
        peaks.append(peak_memory(bench, f"SELECT pix.fit_clusters('bench', '{MODEL}', k => {K}, n_init => {n_init})"))
        return time.perf_counter() - begun

    def theirs(**options) -> float:
        return seconds(lambda: fits.append(KMeans(K, **options).fit(items)))

    a, b, ratio = compare(lambda: ours(10), lambda: theirs(n_init=10, random_state=7), 1)
    tell(bench, "10 starts each", a, b, ratio, fits[-1])
    ours(1)
    ((parameters,),) = execute(bench, "SELECT parameters FROM pix.clusterings WHERE clustering = 'bench'")
    seeds = items[[int(item_id[-7:]) for item_id in parameters["seeds"]]]
    a, b, ratio = compare(lambda: ours(1), lambda: theirs(init=seeds, n_init=1), 3)
    tell(bench, "one start, the same seed points", a, b, ratio, fits[-1])
    if all(peaks):
        print(
            f"  a backend's own memory and that of the files it maps, at most: {max(peaks) / 1e6:,.0f} MB, "
            f"{max(peaks) / items.nbytes:.2f} × the matrix (goal: below 1.2)"
        )


def tell(bench, what: str, ours: float, theirs: float, ratio: float, fit: KMeans) -> None:
    ((inertia, parameters),) = execute(
        bench, "SELECT inertia, parameters FROM pix.clusterings WHERE clustering = 'bench'"
    )
    print(
        f"  k-means, {what}: {ours:.1f} s ({parameters['rounds']} rounds), inertia {inertia:,.0f}; scikit-learn "
        f"{theirs:.1f} s ({fit.n_iter_} rounds), {fit.inertia_:,.0f}: ratio {ratio:.2f} (goal: at most 1.2), "
        f"inertia {100 * (inertia / fit.inertia_ - 1):+.3f} % (goal: within 1 % from the same points)"
    )


def assignment(bench, items: int) -> None:
    times = []
    for _ in range(3):
        execute(bench, "DELETE FROM pix.cluster_members")
        execute(bench, "UPDATE pix.clusterings SET packed_in = 0")
        times.append(seconds(lambda: execute(bench, "SELECT pix.refresh_clusters('bench')")))
    print(f"  assigning {items:,} items: {median(times):.2f} s (goal: below 3)")


def others(bench) -> None:
    for algorithm in ("minibatch_kmeans", "gaussian_mixture", "ward"):
        taken = seconds(
            lambda name=algorithm: execute(
                bench, f"SELECT pix.fit_clusters('other', '{MODEL}', '{name}', k => {K}, n_init => 1)"
            )
        )
        ((k, inertia),) = execute(bench, "SELECT k, inertia FROM pix.clusterings WHERE clustering = 'other'")
        print(f"  {algorithm}, n_init 1: {taken:.1f} s, {k} clusters, inertia {inertia:,.0f}")
    ours, again = (
        dict(execute(bench, f"SELECT item_id, cluster FROM pix.cluster_members WHERE clustering = '{name}'"))
        for name in ("bench", "other")
    )
    rand = adjusted_rand_score([ours[item_id] for item_id in again], list(again.values()))
    print(f"  k-means and the tree's lowest level agree: adjusted Rand index {rand:.3f}")


def tsne(bench, items: np.ndarray) -> None:
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"SELECT pix.fit_map('warm', '{FEW}', 'pca')")  # imports, which the peer has behind it too

    def theirs() -> None:
        TSNE(random_state=7).fit_transform(PCA(50, random_state=7).fit_transform(items))

    a, b, ratio = compare(
        lambda: seconds(lambda: cursor.execute(f"SELECT pix.fit_map('bench', '{FEW}')")), lambda: seconds(theirs), 3
    )
    ((trust,),) = execute(bench, "SELECT trustworthiness FROM pix.maps WHERE map = 'bench'")
    print(
        f"  t-SNE of {len(items):,}: {a:.1f} s, trustworthiness {trust:.3f}; bare scikit-learn {b:.1f} s: "
        f"ratio {ratio:.2f} (goal: at most 1.1)"
    )
    connection.close()


def peak_memory(bench, sql: str) -> int:
    """Run SQL; return the most that its backend had of its own and in mapped files, or 0 where that cannot be seen.

    The server's shared memory, which every backend has, is not counted.
    """
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    status = Path(f"/proc/{connection.info.backend_pid}/status")
    peak = 0
    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
        running = pool.submit(cursor.execute, sql)
        while not running.done():
            if status.exists():
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                peak = max(peak, sum(int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssFile")))
            time.sleep(0.05)
        running.result()
    connection.close()
    return peak
