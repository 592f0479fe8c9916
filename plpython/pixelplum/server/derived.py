"""Whatever is derived, compared with what it is derived from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pixelplum.errors import IndexBroken, VectorError, literal
from pixelplum.server.blocks import open_index
from pixelplum.server.database import Database

PACKS = """
SELECT m.model_name, m.dimensions, p.items, p.blocks, p.checksum
FROM pix.models m JOIN pix_internal.packs p ON p.model_name = m.model_name ORDER BY m.model_name
"""
LISTED = """
SELECT coalesce(sum(b.items), 0)::int8 AS items, count(*) AS blocks, encode(sha256(convert_to(coalesce(
    string_agg(b.block || ' ' || b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex') AS checksum
FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text
"""
MISPLACED = "SELECT coalesce(sum(e.misplaced), 0)::int8 FROM pix_internal.block_entries($model_name::text) e"
DAMAGED = """
SELECT count(*) FROM (
    SELECT b.checksum, b.norms, b.items, b.item_ids, pix_internal.describe_block(b.item_ids, b.vectors) AS described
    FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text
    OFFSET 0
) d
WHERE (d.described).checksum <> d.checksum OR (d.described).norms <> d.norms OR d.items <> cardinality(d.item_ids)
"""
OTHER_VECTORS = """
SELECT count(*) FROM (
    SELECT b.block, u.ordinal,
        substr(b.vectors, 4 * $dimensions::int * (u.ordinal - 1) + 1, 4 * $dimensions) AS vector
    FROM pix_internal.feature_blocks b CROSS JOIN LATERAL generate_series(1, b.items) u (ordinal)
    WHERE b.model_name = $model_name::text
) e
JOIN pix.features f
    ON f.model_name = $model_name AND f.packed_in IS NOT NULL AND f.block = e.block AND f.position = e.ordinal
WHERE f.vector <> e.vector
"""
INDEXES = """
SELECT i.* FROM pix.indexes i
JOIN pix.models m ON m.model_name = i.model_name AND m.checksum IS NOT DISTINCT FROM i.model_checksum
ORDER BY i.index_name
"""
STORED = """
SELECT coalesce(sum(octet_length(p.content)), 0)::int8 FROM pix_internal.index_parts p
WHERE p.checksum IN ($checksum::text, $state_checksum::text)
"""
INDEXED = """
SELECT f.item_id FROM pix.current_features f WHERE f.model_name = $model_name::text AND f.packed_in <= $packed_in::int
"""
CLUSTERINGS = """
SELECT c.* FROM pix.clusterings c
JOIN pix.models m ON m.model_name = c.model_name AND m.checksum IS NOT DISTINCT FROM c.model_checksum
ORDER BY c.clustering
"""
MISCOUNTED = """
SELECT count(*) FROM pix.clusters c
LEFT JOIN (
    SELECT m.cluster, count(*) AS items FROM pix.cluster_members m WHERE m.clustering = $clustering::text
    GROUP BY m.cluster
) m ON m.cluster = c.cluster
WHERE c.clustering = $clustering AND c.height IS NULL AND c.items <> coalesce(m.items, 0)
"""
# Of two centers at the same distance either is right, but for rounding; a clustering without a state was made by hand.
MISASSIGNED = """
SELECT count(*) FROM (
    SELECT f.item_id, (a.assigned).distances[f.position] AS distance
    FROM pix.current_features f
    JOIN (
        SELECT b.block, pix_internal.assign_to_clusters(b.vectors, b.items, (
            SELECT d.content FROM pix_internal.clustering_states d WHERE d.clustering = $clustering::text
        )) AS assigned
        FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text
        OFFSET 0
    ) a ON a.block = f.block
    WHERE f.model_name = $model_name AND f.packed_in <= $packed_in::int
) s
LEFT JOIN pix.cluster_members m ON m.clustering = $clustering AND m.item_id = s.item_id
WHERE s.distance IS NOT NULL AND (m.item_id IS NULL OR abs(m.distance - s.distance) > 1e-4 * (1 + s.distance))
"""
ARMS = """
SELECT count(*) FROM (
    SELECT a.user_id, a.clustering, a.cluster, a.votes,
        a.likes * pix_internal.decay($half_life::float8, now() - a.as_of) AS likes,
        a.dislikes * pix_internal.decay($half_life, now() - a.as_of) AS dislikes
    FROM pix.arms a
) a
FULL JOIN (
    SELECT o.user_id, m.clustering, m.cluster, count(*) AS votes,
        sum(greatest(o.value, 0) * pix_internal.decay($half_life, now() - o.voted_at)) AS likes,
        sum(greatest(-o.value, 0) * pix_internal.decay($half_life, now() - o.voted_at)) AS dislikes
    FROM pix.opinions o JOIN pix.cluster_members m ON m.item_id = o.item_id
    GROUP BY o.user_id, m.clustering, m.cluster
) d ON d.user_id = a.user_id AND d.clustering = a.clustering AND d.cluster = a.cluster
WHERE coalesce(a.votes, 0) <> coalesce(d.votes, 0)
    OR abs(coalesce(a.likes, 0) - coalesce(d.likes, 0)) > 1e-6 * (1 + coalesce(d.likes, 0))
    OR abs(coalesce(a.dislikes, 0) - coalesce(d.dislikes, 0)) > 1e-6 * (1 + coalesce(d.dislikes, 0))
"""
RECOMMENDATIONS = """
SELECT count(*) FROM pix.recommendations r WHERE NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = r.item_id)
"""
PREDICTIONS = """
SELECT count(*) FROM pix.predictions p
WHERE NOT EXISTS (SELECT FROM pix.features f WHERE f.item_id = p.item_id)
    OR NOT EXISTS (SELECT FROM pix.classifiers c WHERE c.classifier = p.classifier)
"""


Check = tuple[str, bool, str, str | None]
"""A row of ``pix.check_derived``: what was checked, whether it is right, what there is, and the remedy."""


def check_derived(plpy, cache: dict) -> list[Check]:
    """Compare everything with what it is derived from: the body of ``pix.check_derived``.

    Being called by a stable function, it sees everything as of one moment.
    """
    database = Database(plpy, cache)
    return [*_blocks(database), *_indexes(database), *_clusterings(database), *_rows(database)]


def _blocks(database: Database) -> Iterator[Check]:
    for pack in database.rows(PACKS):
        wrong = wrong_in_blocks(database, pack)
        remedy = f"SELECT * FROM pix.pack_features({literal(pack['model_name'])});"
        yield _check(f"blocks of model {pack['model_name']}", wrong, "as the features", remedy)


def wrong_in_blocks(database: Database, pack: dict) -> str | None:
    """Return what is wrong with the blocks of a model; None: nothing."""
    listed = database.row(LISTED, **pack)
    if any(listed[name] != pack[name] for name in ("items", "blocks", "checksum")):
        return "pix_internal.packs says something else of the blocks"
    misplaced = database.value(MISPLACED, **pack)
    if misplaced:
        return f"{misplaced} vectors are not where they take themselves to be"
    counts: list[int] = []
    if not database.attempt(lambda: counts.append(database.value(DAMAGED, **pack)), VectorError.sqlstate):
        return "a block holds numbers that are not finite"
    if counts[0]:
        return f"{counts[0]} blocks are damaged"
    other = database.value(OTHER_VECTORS, **pack)
    return f"{other} vectors are others than the items have" if other else None


def _indexes(database: Database) -> Iterator[Check]:
    for index in database.rows(INDEXES):
        names = ("index_name", "model_name", "algorithm", "metric", "parameters")
        arguments = ", ".join(literal(index[name]) for name in names)
        remedy = f"SELECT pix.build_index({arguments}, {index['project_to'] or 'NULL'});"
        yield _check(f"index {index['index_name']}", wrong_in_index(database, index), "as the blocks", remedy)


def wrong_in_index(database: Database, index: dict) -> str | None:
    """Return what is wrong with an index; None: nothing."""
    stored = database.value(STORED, **index)
    if stored != index["size_bytes"]:
        return f"{stored} of {index['size_bytes']} bytes are stored"
    opened: list = []
    if not database.attempt(
        lambda: opened.append(open_index(database, index["index_name"], index["state_checksum"])), IndexBroken.sqlstate
    ):
        return "its stored parts are damaged"
    names = opened[0].item_ids
    indexed = {names[number] for number in range(len(names))}
    missing = sum(row["item_id"] not in indexed for row in database.rows(INDEXED, **index))
    return f"{missing} items that it should have are missing" if missing else None


def _clusterings(database: Database) -> Iterator[Check]:
    for fitted in database.rows(CLUSTERINGS):
        wrong = None
        if miscounted := database.value(MISCOUNTED, **fitted):
            wrong = f"{miscounted} clusters have other members than they count"
        elif misassigned := database.value(MISASSIGNED, **fitted):
            wrong = f"{misassigned} items are missing, or at another distance from their cluster"
        arguments = ", ".join(literal(fitted[name]) for name in ("clustering", "model_name", "algorithm"))
        remedy = f"SELECT pix.fit_clusters({arguments}, {fitted['k']}"
        if fitted["dimensions"] is not None:
            remedy += f", dimensions => '{{{','.join(map(str, fitted['dimensions']))}}}'"
        yield _check(f"clustering {fitted['clustering']}", wrong, "as the blocks", remedy + ");")


def _rows(database: Database) -> Iterator[Check]:
    half_life = database.value("SELECT pix_internal.half_life()")
    counts: tuple[tuple[str, Callable[[], int], str, str, str], ...] = (
        ("arms", lambda: database.value(ARMS, half_life=half_life), "are not what the log of votes comes to",
         "as the log of votes", "SELECT pix.rebuild_arms();"),
        ("recommendations", lambda: database.value(RECOMMENDATIONS), "are of items that have been deleted",
         "of items that there are", "CALL pix.recommend_all();"),
        ("predictions", lambda: database.value(PREDICTIONS), "are of items or classifiers that have been deleted",
         "of items that there are", "SELECT pix.classify_all(…);"),
    )  # fmt: skip
    for name, count, wrong, right, remedy in counts:
        number = count()
        yield _check(name, f"{number} {wrong}" if number else None, right, remedy)


def _check(name: str, wrong: str | None, right: str, remedy: str) -> Check:
    return name, wrong is None, wrong or right, None if wrong is None else remedy
