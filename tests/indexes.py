"""Indexes of every kind over the catalogue, and what they miss."""

from __future__ import annotations

import pytest

METRICS = ["cosine", "euclidean", "dot"]
KINDS = {
    "exact": ("exact", "{}", None, 1.0),
    "annoy": ("annoy", "{}", None, 0.95),
    "hnsw": ("hnsw", "{}", None, 0.95),
    "hnsw of float32": ("hnsw", '{"dtype": "float32"}', None, 0.95),
    "hnsw of int8": ("hnsw", '{"dtype": "int8"}', None, 0.95),
    "projected": ("exact", "{}", 24, 0.95),
    "projected hnsw": ("hnsw", "{}", 24, 0.95),
    "projected annoy": ("annoy", "{}", 24, 0.95),
}
QUERIES = 40


def build(db, kind: str, metric: str, name: str = "fast"):
    algorithm, parameters, project_to, bar = KINDS[kind]
    db.ask("SELECT pix.build_index(%s, 'clouds', %s, %s, %s, %s)", (name, algorithm, metric, parameters, project_to))
    return bar


def nearest_many(db, item_ids: list[str], k: int, metric: str, index_name: str | None):
    rows = db.ask(
        "SELECT * FROM pix.nearest_many(%s, %s, 'clouds', %s, %s)", (item_ids, k, metric, index_name), role="rita"
    )
    results = {item_id: [] for item_id in item_ids}
    for item_id, rank, neighbor_id, distance in rows:
        results[item_id].append((neighbor_id, distance))
        assert rank == len(results[item_id])
    return results


def recall(catalogue, metric: str, index_name: str | None = "fast", k: int = 10) -> float:
    """The fraction of the true neighbors, as numpy has them, that are found; what is found has its true distance."""
    queries = sorted(catalogue.vectors)[:: max(1, len(catalogue.vectors) // QUERIES)]
    neighbors = nearest_many(catalogue.db, queries, k, metric, index_name)
    hits = 0
    for query in queries:
        everything = dict(catalogue.expected(catalogue.vectors[query], 10**6, metric, [query]))
        farthest = sorted(everything.values())[k - 1]
        assert len(neighbors[query]) == k
        for neighbor_id, distance in neighbors[query]:
            assert distance == pytest.approx(everything[neighbor_id], abs=1e-6)
            hits += everything[neighbor_id] <= farthest + 1e-9
    return hits / (k * len(queries))
