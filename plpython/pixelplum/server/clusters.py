"""Clusterings: fitted over blocks, stored, and asked which cluster a vector is in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pixelplum.core.clustering import clusters, kmeans, mixtures, projections
from pixelplum.core.clustering.algorithms import ALGORITHMS
from pixelplum.core.clustering.numbered import NumberedClusters, identify
from pixelplum.core.search.vectors import FLOAT32, from_bytes, matrix
from pixelplum.errors import TooFewDistinct, literal
from pixelplum.server import packing
from pixelplum.server.cluster_descriptions import describe_clusters
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver
from pixelplum.server.model_blocks import ModelBlocks, Sample
from pixelplum.server.priors import refresh_priors
from pixelplum.server.vectors import matrix_of, places_of

TRIED = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200)
"""Numbers of clusters among which one is chosen."""
SAMPLED = 3000
"""Items that starts are drawn from, or more for many clusters."""

Progress = Callable[[float], None]

FITTED = """
SELECT c.model_name, c.packed_in, c.dimensions, s.content
FROM pix.find_clustering($clustering::text) c JOIN pix_internal.clustering_states s ON s.clustering = c.clustering
"""
CLUSTERS = """
SELECT c.cluster, c.parent, c.height, c.center FROM pix.clusters c JOIN pix.clusterings f ON f.clustering = c.clustering
WHERE c.clustering = $clustering::text AND f.model_name = $model_name::text
    AND f.model_checksum IS NOT DISTINCT FROM $checksum::text AND f.dimensions IS NOT DISTINCT FROM $dimensions::int[]
ORDER BY c.cluster
"""
ASSIGNED = """
SELECT unnest(d.item_ids) AS item_id, unnest((d.assigned).clusters) AS cluster,
    unnest((d.assigned).distances) AS distance
FROM (
    SELECT b.item_ids, pix_internal.assign_to_clusters(b.vectors, b.items, $state::bytea) AS assigned
    FROM pix_internal.feature_blocks b
    WHERE b.model_name = $model_name::text AND ($packed_after::int = 0 OR b.block IN (
        SELECT f.block FROM pix.features f WHERE f.model_name = $model_name AND f.packed_in > $packed_after
    ))
    OFFSET 0
) d
"""
FORGET_OLDER = """
DELETE FROM pg_temp.pix_assigned a USING pix.features f
WHERE f.item_id = a.item_id AND f.model_name = $model_name::text AND f.packed_in <= $packed_after::int
"""
MOVED = """
SELECT CASE WHEN EXISTS (SELECT FROM pix.clusterings c WHERE c.clustering = $clustering::text) THEN (
    SELECT count(*) FROM pg_temp.pix_assigned a JOIN pix.cluster_members m ON m.item_id = a.item_id
    WHERE m.clustering = $clustering AND m.cluster <> a.cluster
) END
"""
FORGET_MEMBERS = "DELETE FROM pix.cluster_members m WHERE m.clustering = $clustering::text"
FORGET_MEMBERS_THAT_CHANGED = """
DELETE FROM pix.cluster_members m WHERE m.clustering = $clustering::text AND (
    NOT EXISTS (
        SELECT FROM pix.features f
        WHERE f.item_id = m.item_id AND f.model_name = $model_name::text AND f.packed_in IS NOT NULL
    ) OR EXISTS (SELECT FROM pg_temp.pix_assigned a WHERE a.item_id = m.item_id)
)
"""
STORE_MEMBERS = """
INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance)
SELECT a.item_id, $clustering::text, a.cluster, a.distance FROM pg_temp.pix_assigned a
"""
FORGET = "DELETE FROM pix.clusterings c WHERE c.clustering = $clustering::text"
STORE = """
INSERT INTO pix.clusterings (clustering, model_name, model_checksum, algorithm, k, dimensions, parameters, packed_in,
    items, inertia, moved, seconds)
VALUES ($clustering::text, $model_name::text, $checksum::text, $algorithm::text, $k::int, $dimensions::int[],
    $notes::jsonb, $packed_in::int, $items::int8, $inertia::float8, $moved::int8, $seconds::float8)
"""


@driver
def fit_clusters(
    database: Database, clustering: str, model_name: str | None, algorithm: str, k: int | None, n_init: int, seed: int,
    dimensions: list[int] | None, max_k: int,
) -> None:  # fmt: skip
    """Fit a clustering, put every item into a cluster, and store both: the body of ``pix.fit_clusters``."""
    begun = time.monotonic()
    model = database.model(model_name)
    database.lock("clusterings", clustering)
    with database.progress(f"clustering {clustering}") as progress:
        blocks = ModelBlocks(database, model, dimensions)
        refuse_too_many(k, blocks)
        sample = blocks.sample(max(SAMPLED, 10 * (k or max_k)), seed)
        curve = [] if k else try_ks(blocks, sample, max_k, seed, progress)
        store_curve(database, clustering, curve)
        used_k = k or max(curve, key=lambda point: (point["silhouette"], -point["k"]))["k"]
        state, notes = fit_state(blocks, sample, algorithm, used_k, n_init, seed, progress)
        before = stored_clusters(database, clustering, model, dimensions)
        state, numbered = identify(state, ALGORITHMS[algorithm].is_tree, before)
        assign_blocks(database, model, 0, state.pack())
        moved = count_moved(database, clustering)
        database.run("SELECT pix_internal.lock_arms()")
        database.run(FORGET_MEMBERS, clustering=clustering)
        database.run(STORE_MEMBERS, clustering=clustering)
        store_state(database, clustering, state)
        describe_clusters(database, clustering, numbered)
        database.run(FORGET, clustering=clustering)
        database.run(
            STORE, clustering=clustering, model_name=model.model_name, checksum=model.checksum, algorithm=algorithm,
            k=len(state.centers), dimensions=dimensions, packed_in=blocks.pack.packed_in, items=blocks.pack.items,
            inertia=database.value("SELECT sum(a.distance ^ 2) FROM pg_temp.pix_assigned a"), moved=moved,
            notes=json.dumps(notes | {"k": k, "seed": seed}), seconds=time.monotonic() - begun,
        )  # fmt: skip
        count_votes(database, clustering)


@driver
def refresh_clusters(database: Database, clustering: str) -> int:
    """Put new items into the clusters of a clustering, and return how many: the body of ``pix.refresh_clusters``."""
    database.lock("clusterings", clustering)
    fitted = database.row(FITTED, clustering=clustering)
    database.row("SELECT pix_internal.check_clustering(pix.find_clustering($clustering::text))", clustering=clustering)
    model = database.model(fitted["model_name"])
    pack = packing.pack(database, model)
    assign_blocks(database, model, fitted["packed_in"], fitted["content"])
    database.run("SELECT pix_internal.lock_arms()")
    database.run(FORGET_MEMBERS_THAT_CHANGED, clustering=clustering, model_name=model.model_name)
    assigned = database.run(STORE_MEMBERS, clustering=clustering)
    numbered = stored_clusters(database, clustering, model, fitted["dimensions"])
    describe_clusters(database, clustering, numbered)
    database.run(
        "UPDATE pix.clusterings c SET packed_in = $packed_in::int WHERE c.clustering = $clustering::text",
        packed_in=pack.packed_in, clustering=clustering,
    )  # fmt: skip
    database.run("SELECT pix_internal.add_up_arms($clustering::text, NULL)", clustering=clustering)
    return assigned


def refuse_too_many(k: int | None, blocks: ModelBlocks) -> None:
    """Refuse more clusters than there are items."""
    if k is not None and k > blocks.pack.items:
        raise TooFewDistinct(
            f"{k} clusters are more than the {blocks.pack.items} items with features of model "
            f"{literal(blocks.model.model_name)}",
            hint=f"Use k => {blocks.pack.items} or less.",
        )


def try_ks(blocks: ModelBlocks, sample: Sample, max_k: int, seed: int, progress: Progress) -> list[dict]:
    """Return k, silhouette and inertia of k-means with several numbers of clusters.

    Raises
    ------
    TooFewDistinct
        If there are none to choose among.
    """
    items = blocks.pack.items
    tried = [k for k in TRIED if k <= max_k and k < items]
    if not tried:
        raise TooFewDistinct(
            f"There is nothing to choose among for {items} items", hint="Load and extract more images."
        )
    distinct = kmeans.count_distinct(sample.vectors)
    tried = [k for k in tried if k <= distinct]
    if not tried:
        raise TooFewDistinct(
            "All features are the same, or nearly so", hint="See whether their model tells images apart."
        )
    fit = run_kmeans(blocks, sample, tried, seed, progress)

    def measure() -> list[dict]:
        curve = []
        for run in fit.runs:
            state = clusters.FittedState(run.centers, run.members)
            silhouette, spread = clusters.measure(sample.vectors, state)
            curve.append({"k": len(run.centers), "silhouette": silhouette, "inertia": spread * items})
        return curve

    return blocks.database.work(measure)


def fit_state(
    blocks: ModelBlocks, sample: Sample, algorithm: str, k: int, n_init: int, seed: int, progress: Progress
) -> tuple[clusters.FittedState, dict]:
    """Fit clusters: what puts vectors into them, and what is said of the fit."""
    chosen, work = ALGORITHMS[algorithm], blocks.database.work
    notes = {"n_init": n_init}
    if chosen.by_rounds:
        run = run_kmeans(blocks, sample, [k] * n_init, seed, progress).best(k)
        notes |= {
            "rounds": run.rounds,
            "converged": not run.is_active and run.rounds < kmeans.MOST_ROUNDS,
            "seeds": [sample.item_ids[seed] for seed in run.seeds],
        }
        return clusters.FittedState(run.centers, run.members, dimensions=blocks.places), notes
    if chosen.by_batches:
        parts = blocks.parts()
        centers, rounds = work(lambda: kmeans.fit_minibatches(parts, sample.vectors, k, n_init, seed))
        return clusters.FittedState(centers, np.ones(k), dimensions=blocks.places), notes | {"rounds": rounds}
    components = min(10, max(2, blocks.pack.items // 60))
    pca = work(lambda: projections.principal_components(sample.vectors, components, seed))
    mean, axes = pca.mean_.astype(FLOAT32), pca.components_.astype(FLOAT32)
    coordinates = blocks.coordinates(mean, axes).vectors
    mixture, rounds, converged = work(lambda: mixtures.fit(coordinates, mean, axes, k, n_init, seed))
    return replace(mixture, dimensions=blocks.places), notes | {"rounds": rounds, "converged": converged}


def run_kmeans(blocks: ModelBlocks, sample: Sample, ks: list[int], seed: int, progress: Progress) -> kmeans.KMeans:
    """Do rounds of k-means until all runs have ended."""
    fit = blocks.database.work(lambda: kmeans.KMeans(sample.vectors, ks, seed))
    rounds = 0
    while fit.advance(blocks.sums(fit.trial())):
        rounds += 1
        progress(rounds / kmeans.MOST_ROUNDS)
    return fit


def assign_blocks(database: Database, model: Model, packed_after: int, state: bytes) -> None:
    """Put the vectors that were packed after some packing into clusters, in the temporary table pix_assigned."""
    database.create_temporary(
        "pix_assigned", ASSIGNED, "item_id", model_name=model.model_name, packed_after=packed_after, state=state
    )
    if packed_after > 0:
        database.run(FORGET_OLDER, model_name=model.model_name, packed_after=packed_after)
    database.run("ANALYZE pg_temp.pix_assigned")


def stored_clusters(
    database: Database, clustering: str, model: Model, dimensions: list[int] | None
) -> NumberedClusters | None:
    """Return the clusters of a clustering, if they are of this model as it is, in these dimensions."""
    rows = database.rows(
        CLUSTERS, clustering=clustering, model_name=model.model_name, checksum=model.checksum, dimensions=dimensions
    )
    if not rows:
        return None
    numbers, parents, heights, centers = zip(*(row.values() for row in rows), strict=True)
    return NumberedClusters(list(numbers), list(parents), list(heights), matrix_of(b"".join(centers), len(centers)))


def count_moved(database: Database, clustering: str) -> int | None:
    """Return how many items are to be in another cluster than before; None: there was no such clustering."""
    return database.value(MOVED, clustering=clustering)


def store_curve(database: Database, clustering: str, curve: list[dict]) -> None:
    """Store what was measured of numbers of clusters, in the place of what there was."""
    database.run("DELETE FROM pix.cluster_curves c WHERE c.clustering = $clustering::text", clustering=clustering)
    for point in curve:
        database.run(
            "INSERT INTO pix.cluster_curves (clustering, k, silhouette, inertia) "
            "VALUES ($clustering::text, $k::int, $silhouette::float8, $inertia::float8)",
            clustering=clustering, **point,
        )  # fmt: skip


def store_state(database: Database, clustering: str, state: clusters.FittedState) -> None:
    """Store what puts vectors into clusters."""
    table = "pix_internal.clustering_states"
    database.run(f"DELETE FROM {table} d WHERE d.clustering = $clustering::text", clustering=clustering)
    database.run(
        f"INSERT INTO {table} (clustering, content) VALUES ($clustering::text, $content::bytea)",
        clustering=clustering, content=state.pack(),
    )  # fmt: skip


def count_votes(database: Database, clustering: str) -> None:
    """Count votes for the clusters that items are in now; priors, if there are any, are fitted again as they were."""
    database.run("SELECT pix_internal.add_up_arms($clustering::text, NULL)", clustering=clustering)
    prior = database.row(
        "SELECT p.algorithm, p.strength_cap FROM pix.arm_priors p WHERE p.clustering = $clustering::text LIMIT 1",
        clustering=clustering,
    )
    if prior:
        refresh_priors(database, clustering, **prior)


def kmeans_sums(
    plpy, cache: dict, vectors: bytes, items: int, dimensions: list[int] | None, centers: bytes, counts: list[int],
    origin: bytes,
) -> bytes:  # fmt: skip
    """Compare a block with centers; see `kmeans.Trial.sums`."""
    point = from_bytes(origin)
    trial = kmeans.Trial(matrix(centers, len(point)), counts, point)
    return trial.sums(clusters.looked_at(matrix_of(vectors, items), places_of(dimensions))).tobytes()


def add_kmeans_sums(plpy, cache: dict, a: bytes, b: bytes) -> bytes:
    """Add up what was found in different blocks."""
    return (np.frombuffer(a) + np.frombuffer(b)).tobytes()


def assign_to_clusters(plpy, cache: dict, vectors: bytes, items: int, state: bytes) -> dict:
    """Return the cluster of each vector of a block, and its distance to the center."""
    fitted = clusters.FittedState.unpack(state)
    labels, distances = fitted.assign(matrix_of(vectors, items))
    return {"clusters": fitted.numbers[labels].tolist(), "distances": distances.tolist()}
