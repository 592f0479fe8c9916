"""Retraining on stored features, against scikit-learn alone; and classifying all items from stored features."""

from __future__ import annotations

import tempfile
import time
from statistics import median

import numpy as np
import psycopg2

from benchmarks.tools import CORES, compare, execute, seconds

ITEMS, DIMENSIONS, CLASSES = 3068, 2048, 10
MANY = 200_000
MANY_DIMENSIONS = 256
ROUNDS = 3


def vectors(items: int, dimensions: int, classes: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return sparse positive features, as the last layer of a network gives them, and the classes they come from."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=items)
    centers = random.gamma(0.3, 1.0, (classes, dimensions))
    return np.float32(random.gamma(0.5, 1.0, (items, dimensions)) * (0.7 + 0.6 * centers[labels])), labels


def store(bench, model_name: str, matrix: np.ndarray, labels: np.ndarray) -> None:
    """Store features, their model and their labels."""
    connection = psycopg2.connect(bench.dsn)
    with connection, connection.cursor() as cursor, tempfile.TemporaryFile("w+", dir=bench.home) as rows:
        for number, vector in enumerate(matrix):
            rows.write(f"{model_name}-{number:07}\t{model_name}\t\\\\x{vector.tobytes().hex()}\n")
        rows.seek(0)
        cursor.execute(
            "INSERT INTO pix.models (model_name, dimensions, source) VALUES (%s, %s, 'benchmark')",
            (model_name, matrix.shape[1]),
        )
        cursor.copy_expert("COPY pix.features (item_id, model_name, vector) FROM STDIN", rows)
        cursor.execute(
            "INSERT INTO pix.items (item_id) SELECT item_id FROM pix.features WHERE model_name = %s", [model_name]
        )
        cursor.execute(
            "INSERT INTO pix.labels (item_id, label_set, label) "
            "SELECT item_id, %s, 'class ' || (%s)[right(item_id, 7)::integer + 1] FROM pix.features "
            "WHERE model_name = %s",
            (model_name, labels.tolist(), model_name),
        )
    connection.close()
    execute(bench, "ANALYZE pix.features, pix.labels, pix.items")


def retraining(bench) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    matrix, labels = vectors(ITEMS, DIMENSIONS, CLASSES)
    store(bench, "few", matrix, labels)

    def ours() -> float:
        return seconds(lambda: execute(bench, "SELECT pix.train_classifier('few', 'few', 'few')"))

    def peer() -> float:
        """One fit of one strength on the same number of items, features in memory."""
        scaled = StandardScaler().fit_transform(matrix[: ITEMS * 8 // 10])
        with threadpool_limits(1):
            return seconds(lambda: LogisticRegression(C=0.01).fit(scaled, labels[: ITEMS * 8 // 10]))

    taken, one_fit, ratio = compare(ours, peer, ROUNDS)
    (accuracy,) = execute(bench, "SELECT accuracy FROM pix.classifier_metrics WHERE evaluation = 'test'")[0]
    print(
        f"  retraining on {ITEMS:,} × {DIMENSIONS:,}: {taken:.1f} s in a new connection (goal: under 10 s), "
        f"one fit of scikit-learn alone {one_fit:.1f} s, ratio {ratio:.1f}; test accuracy {accuracy:.2f}"
    )


def classifying(bench) -> None:
    matrix, labels = vectors(MANY, MANY_DIMENSIONS, CLASSES)
    store(bench, "many", matrix, labels)
    execute(bench, "DELETE FROM pix.labels WHERE label_set = 'many' AND right(item_id, 7)::integer >= 3068")
    execute(bench, "SELECT pix.train_classifier('many', 'many', 'many')")
    workers = bench.segments or CORES
    cores = min(workers, CORES)

    def speed() -> float:
        execute(bench, "TRUNCATE pix.predictions")
        return speed_again()

    def speed_again() -> float:
        return MANY / seconds(lambda: execute(bench, "SELECT pix.classify_all('many')")) / cores

    def bare() -> float:
        """The matrix product and the softmax alone, features in memory, in blocks of 1,000."""
        weights = np.random.default_rng(7).normal(size=(MANY_DIMENSIONS, CLASSES)).astype(np.float32)
        begun = time.perf_counter()
        for block in np.split(matrix, MANY // 1000):
            scores = block @ weights
            exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
            (exponentials.max(axis=1) / exponentials.sum(axis=1)).argmax()
        return MANY / (time.perf_counter() - begun)

    ours, peer, ratio = compare(speed, bare, ROUNDS)
    again = median(speed_again() for _ in range(ROUNDS))
    print(
        f"  classify_all of {MANY:,} × {MANY_DIMENSIONS}: {ours:,.0f} items/s per core, writing included "
        f"(goal: at least 50,000); {again:,.0f} if unchanged; numpy alone {peer:,.0f}, ratio {ratio:.3f}"
    )


def run(bench) -> None:
    retraining(bench)
    classifying(bench)
    execute(bench, "TRUNCATE pix.features, pix.labels, pix.items, pix.predictions")
