"""What is known of clusters besides their centers: sizes, medoids, mean prices, and the words that tell them apart."""

from __future__ import annotations

from pixelplum.core.clustering.numbered import NumberedClusters
from pixelplum.server.database import Database

BELOW = """
WITH RECURSIVE node AS (
    SELECT u.cluster, u.parent, u.height, u.nearest
    FROM unnest($clusters::int[], $parents::int[], $heights::float8[], $nearest::int[])
        u (cluster, parent, height, nearest)
), below AS (
    SELECT n.cluster, n.cluster AS leaf FROM node n WHERE n.height IS NULL
    UNION ALL
    SELECT n.parent, b.leaf FROM below b JOIN node n ON n.cluster = b.cluster WHERE n.parent IS NOT NULL
)"""
"""Every cluster with those below it that items belong to; a flat one has itself."""

DESCRIPTIONS = f"""
{BELOW}, member AS (
    SELECT m.item_id, m.cluster AS leaf, m.distance FROM pix.cluster_members m WHERE m.clustering = $clustering::text
), leaf AS (
    -- NaN is a price to numeric.
    SELECT m.leaf, count(*) AS items, sum(i.price) AS price, count(i.price) AS priced FROM member m LEFT JOIN (
        SELECT p.item_id, p.price FROM pix.items p WHERE p.price::text ~ '^-?[0-9.]+$'
    ) i ON i.item_id = m.item_id
    GROUP BY m.leaf
), medoid AS (
    SELECT r.leaf, r.item_id FROM (
        SELECT m.leaf, m.item_id, row_number() OVER (PARTITION BY m.leaf ORDER BY m.distance, m.item_id) AS rank
        FROM member m
    ) r
    WHERE r.rank = 1
), size AS (
    SELECT b.cluster, sum(l.items) AS items, sum(l.price) / nullif(sum(l.priced), 0) AS mean_price
    FROM below b JOIN leaf l ON l.leaf = b.leaf GROUP BY b.cluster
)
SELECT n.cluster, coalesce(z.items, 0)::int8 AS items, d.item_id AS medoid, z.mean_price
FROM node n LEFT JOIN size z ON z.cluster = n.cluster LEFT JOIN medoid d ON d.leaf = n.nearest
"""

WORDS = f"""
{BELOW}, spoken AS (
    SELECT DISTINCT m.item_id, m.cluster AS leaf, w.word
    FROM pix.cluster_members m JOIN pix.items i ON i.item_id = m.item_id,
        regexp_split_to_table(lower(i.title), '[^[:alnum:]]+') w (word)
    WHERE m.clustering = $clustering::text AND length(w.word) > 1 AND w.word !~ '^[0-9]+$'
), spoken_leaf AS (
    SELECT s.leaf, s.word, count(*) AS items FROM spoken s GROUP BY s.leaf, s.word
), total AS (
    SELECT l.word, sum(l.items) AS items FROM spoken_leaf l GROUP BY l.word
), spoken_node AS (
    SELECT b.cluster, l.word, sum(l.items) AS items
    FROM below b JOIN spoken_leaf l ON l.leaf = b.leaf GROUP BY b.cluster, l.word
), size AS (
    SELECT b.cluster, count(*) AS items
    FROM below b JOIN pix.cluster_members m ON m.cluster = b.leaf WHERE m.clustering = $clustering GROUP BY b.cluster
), telling AS (
    -- How much more often the word is said here than anywhere, weighted by how often.
    SELECT s.cluster, s.word, s.items * ln((s.items / z.items) / (t.items / (
        SELECT count(*) FROM pix.cluster_members m WHERE m.clustering = $clustering
    ))) AS weight
    FROM spoken_node s JOIN total t ON t.word = s.word JOIN size z ON z.cluster = s.cluster
)
SELECT r.cluster, array_agg(r.word ORDER BY r.rank) AS words FROM (
    SELECT t.cluster, t.word, row_number() OVER (PARTITION BY t.cluster ORDER BY t.weight DESC, t.word) AS rank
    FROM telling t WHERE t.weight > 0
) r
WHERE r.rank <= 5 GROUP BY r.cluster
"""

STORE = """
INSERT INTO pix.clusters (clustering, cluster, parent, height, items, center, medoid, words, mean_price)
SELECT $clustering::text, u.cluster, u.parent, u.height, u.items, u.center, u.medoid, string_to_array(u.words, ' '),
    u.price
FROM unnest($clusters::int[], $parents::int[], $heights::float8[], $items::int8[], $centers::bytea[], $medoids::text[],
    $words::text[], $prices::numeric[]) u (cluster, parent, height, items, center, medoid, words, price)
"""


def describe_clusters(database: Database, clustering: str, clusters: NumberedClusters) -> None:
    """Store the clusters of a clustering, whose members are stored, with what is known of them."""
    nodes = {"clusters": clusters.numbers, "parents": clusters.parents, "heights": clusters.heights}
    seen = nodes | {"clustering": clustering, "nearest": clusters.nearest_leaves()}
    about = {row["cluster"]: row for row in database.rows(DESCRIPTIONS, **seen)}
    words = {row["cluster"]: row["words"] for row in database.rows(WORDS, **seen)}
    database.run("DELETE FROM pix.clusters c WHERE c.clustering = $clustering::text", clustering=clustering)
    database.run(
        STORE, clustering=clustering, **nodes,
        items=[about[number]["items"] for number in clusters.numbers],
        centers=[center.tobytes() for center in clusters.centers],
        medoids=[about[number]["medoid"] for number in clusters.numbers],
        words=[" ".join(words.get(number, [])) for number in clusters.numbers],
        prices=[about[number]["mean_price"] for number in clusters.numbers],
    )  # fmt: skip
