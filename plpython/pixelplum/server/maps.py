"""Maps: laid out on the coordinator from principal components, and extended by further items."""

from __future__ import annotations

import time

import numpy as np

from pixelplum.core.clustering import maps, projections
from pixelplum.core.search.vectors import FLOAT32, from_bytes, matrix
from pixelplum.errors import MapOutdated, TooFewPoints, UnusableArgument, literal
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver
from pixelplum.server.model_blocks import ClustersOf, ModelBlocks, Sample
from pixelplum.server.projections import SAMPLED

COMPONENTS = 50
"""What t-SNE and UMAP look at."""

PROJECTION = """
SELECT p.mean, substr(p.axes, 1, 4 * $components::int * $dimensions::int) AS axes FROM pix_internal.projections p
WHERE p.model_name = $model_name::text AND p.model_checksum IS NOT DISTINCT FROM $checksum::text
    AND p.components >= least($components, $dimensions, $items::int8) AND p.items >= least($sampled::int8, $items) / 2
"""
FITTED = "SELECT m.* FROM pix.find_map($name::text) m"
STAYING = """
SELECT o.item_id, o.x, o.y FROM pix.map_points o JOIN pix.features f ON f.item_id = o.item_id
WHERE o.map = $name::text AND f.model_name = $model_name::text AND f.packed_in <= $packed_in::int
"""
FORGET_POINTS = """
DELETE FROM pix.map_points p WHERE p.map = $name::text AND p.item_id NOT IN (SELECT unnest($kept::text[]))
"""
STORE_POINTS = """
INSERT INTO pix.map_points (item_id, map, x, y)
SELECT u.item_id, $name::text, u.x, u.y FROM unnest($item_ids::text[], $xs::float8[], $ys::float8[]) u (item_id, x, y)
"""
STORE = """
INSERT INTO pix.maps (map, model_name, model_checksum, algorithm, clustering, cluster, perplexity, seed, packed_in,
    items, trustworthiness, seconds)
VALUES ($name::text, $model_name::text, $checksum::text, $algorithm::text, $clustering::text, $cluster::int,
    $perplexity::float8, $seed::int, $packed_in::int, $items::int8, $trustworthiness::float8, $seconds::float8)
"""


@driver
def fit_map(
    database: Database, name: str, model_name: str | None, algorithm: str, clustering: str | None, cluster: int | None,
    perplexity: float | str | None, seed: int,
) -> None:  # fmt: skip
    """Lay out items, and store where they are: the body of ``pix.fit_map``."""
    begun = time.monotonic()
    clusters = shown_clusters(database, clustering, cluster)
    model = database.model(model_name or (clusters and clusters.model_name))
    if clusters and clusters.model_name != model.model_name:
        raise UnusableArgument(
            f"Clustering {literal(clustering)} is of model {literal(clusters.model_name)}, not of "
            f"{literal(model.model_name)}",
            hint="Leave model_name out.",
        )
    database.lock("maps", name)
    with database.progress(f"map {name}") as progress:
        blocks = ModelBlocks(database, model)
        given_perplexity = None if perplexity is None else float(perplexity)  # JSON has no NaN: it comes as text
        used_perplexity = maps.check(algorithm, given_perplexity, blocks.count(clusters))
        seen = components(blocks, clusters, seed)
        points = database.work(
            lambda on_progress: maps.fit(seen.vectors, algorithm, used_perplexity, seed, on_progress), progress
        )
        trustworthiness = database.work(lambda: maps.measure(seen.vectors, points, seed))
        database.run(FORGET_POINTS, name=name, kept=[])
        store_points(database, name, seen.item_ids, points)
        database.run("DELETE FROM pix.maps m WHERE m.map = $name::text", name=name)
        database.run(
            STORE, name=name, model_name=model.model_name, checksum=model.checksum, algorithm=algorithm,
            clustering=clustering, cluster=cluster, perplexity=used_perplexity, seed=seed,
            packed_in=blocks.pack.packed_in, items=len(seen.item_ids), trustworthiness=trustworthiness,
            seconds=time.monotonic() - begun,
        )  # fmt: skip


@driver
def refresh_map(database: Database, name: str) -> int:
    """Place items that are new on a map, and return how many: the body of ``pix.refresh_map``."""
    database.lock("maps", name)
    fitted = database.row(FITTED, name=name)
    clusters = shown_clusters(database, fitted["clustering"], fitted["cluster"])
    model = database.model(fitted["model_name"])
    if model.checksum != fitted["model_checksum"]:
        raise MapOutdated(
            f"Map {literal(name)} is of an earlier version of model {literal(model.model_name)}", hint=fit_again(fitted)
        )
    blocks = ModelBlocks(database, model)
    seen = components(blocks, clusters, fitted["seed"])
    stay = {
        row["item_id"]: (row["x"], row["y"])
        for row in database.rows(STAYING, name=name, model_name=model.model_name, packed_in=fitted["packed_in"])
    }
    is_new = np.array([item_id not in stay for item_id in seen.item_ids])
    item_ids = [item_id for item_id in seen.item_ids if item_id not in stay]
    kept = [item_id for item_id in seen.item_ids if item_id in stay]
    if item_ids:
        if len(kept) < max(maps.FEWEST, 3 * (fitted["perplexity"] or 0)):
            raise TooFewPoints(
                f"Of the items of map {literal(name)}, {len(kept)} are left: too few to place others among them",
                hint=fit_again(fitted),
            )
        mapped = np.array([stay[item_id] for item_id in kept], float)
        points = database.work(
            lambda: maps.extend(
                seen.vectors[is_new], seen.vectors[~is_new], mapped, fitted["algorithm"], fitted["perplexity"],
                fitted["seed"],
            )
        )  # fmt: skip
    database.run(FORGET_POINTS, name=name, kept=kept)
    if item_ids:
        store_points(database, name, item_ids, points)
    database.run(
        "UPDATE pix.maps m SET packed_in = $packed_in::int WHERE m.map = $name::text",
        packed_in=blocks.pack.packed_in, name=name,
    )  # fmt: skip
    return len(item_ids)


def shown_clusters(database: Database, clustering: str | None, cluster: int | None) -> ClustersOf | None:
    """Return the clusters that a map shows the items of; None: it shows all items."""
    if clustering is None:
        return None
    fitted = "pix.find_clustering($clustering::text)"
    model_name = database.value(f"SELECT c.model_name FROM {fitted} c", clustering=clustering)
    database.row(f"SELECT pix_internal.check_clustering({fitted})", clustering=clustering)
    leaves = database.value(
        "SELECT pix.leaf_clusters($clustering::text, $cluster::int8)", clustering=clustering, cluster=cluster
    )
    return ClustersOf(clustering, leaves, model_name)


def components(blocks: ModelBlocks, clusters: ClustersOf | None, seed: int) -> Sample:
    """Return principal components of the items of a map."""
    database, model = blocks.database, blocks.model
    stored = clusters is None and database.row(
        PROJECTION, model_name=model.model_name, checksum=model.checksum, components=COMPONENTS,
        dimensions=model.dimensions, items=blocks.pack.items, sampled=SAMPLED,
    )  # fmt: skip
    if stored:
        mean = from_bytes(stored["mean"])
        return blocks.coordinates(mean, matrix(stored["axes"], len(mean)), clusters)
    sample = blocks.sample(SAMPLED, seed, clusters)
    pca = database.work(lambda: projections.principal_components(sample.vectors, COMPONENTS, seed))
    return blocks.coordinates(pca.mean_.astype(FLOAT32), pca.components_.astype(FLOAT32), clusters)


def store_points(database: Database, name: str, item_ids: list[str], points: np.ndarray) -> None:
    """Store where items are on a map."""
    xs, ys = points.T.tolist()
    database.run(STORE_POINTS, name=name, item_ids=item_ids, xs=xs, ys=ys)


def fit_again(fitted: dict) -> str:
    """Return the hint for a map that has to be made again."""
    arguments = ", ".join(literal(fitted[name]) for name in ("map", "model_name", "algorithm"))
    return f"Make it again: SELECT * FROM pix.fit_map({arguments});"
