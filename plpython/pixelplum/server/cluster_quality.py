"""How good clusters are: on their own, and against what people say the items are."""

from __future__ import annotations

import numpy as np

from pixelplum.core.clustering import clusters
from pixelplum.server.database import Database
from pixelplum.server.vectors import matrix_of, places_of

SAMPLED = 5000
"""Items that clusters are measured on, at most; the same ones each time."""

FITTED = """
SELECT pix_internal.check_clustering(c), c.clustering, c.model_name, c.dimensions
FROM pix.find_clustering($clustering::text) c
"""
SAMPLE = """
SELECT string_agg(s.vector, ''::bytea ORDER BY s.item_id) AS vectors, array_agg(s.cluster ORDER BY s.item_id) AS labels
FROM (
    SELECT m.item_id, m.cluster, f.vector
    FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id AND f.model_name = $model_name::text
    WHERE m.clustering = $clustering::text
    ORDER BY md5(m.item_id), m.item_id LIMIT $count::int
) s
"""
HAS_LABELS = "SELECT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = $label_set::text)"
COUNTS = """
SELECT m.cluster, l.label, count(*) AS items
FROM pix.cluster_members m JOIN pix.labels l ON l.item_id = m.item_id
WHERE m.clustering = $clustering::text AND l.label_set = $label_set::text
GROUP BY m.cluster, l.label
"""


def clustering_quality(plpy, cache: dict, clustering: str | None, label_set: str | None) -> dict:
    """Measure clusters: the body of ``pix.clustering_quality``.

    Being called by a stable function, it sees everything as of one moment.
    """
    database = Database(plpy, cache)
    fitted = database.row(FITTED, clustering=clustering)
    sample = database.row(SAMPLE, count=SAMPLED, **fitted)
    quality = dict.fromkeys((*clusters.MEASURES, "adjusted_rand_index", "purity"))
    if sample["vectors"] is not None:
        labels = np.array(sample["labels"])
        seen = clusters.looked_at(matrix_of(sample["vectors"], len(labels)), places_of(fitted["dimensions"]))
        quality |= database.work(lambda: {name: measure(seen, labels) for name, measure in clusters.MEASURES.items()})
    if label_set is not None:
        if not database.value(HAS_LABELS, label_set=label_set):
            database.row("SELECT pix_internal.raise_no_label_set($label_set::text)", label_set=label_set)
        quality |= agreement(database.rows(COUNTS, label_set=label_set, **fitted))
    return quality


def agreement(rows: list[dict]) -> dict[str, float]:
    """Return how far groups agree with labels, of which each pair is so many items': nothing if there are none.

    References
    ----------
    Hubert and Arabie 1985, "Comparing partitions".
    """
    if not rows:
        return {}
    (_, group), (_, label) = (
        np.unique([str(row[name]) for row in rows], return_inverse=True) for name in ("cluster", "label")
    )
    table = np.zeros((group.max() + 1, label.max() + 1))
    table[group, label] = [row["items"] for row in rows]

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, by_group, by_label = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = pairs(table.sum())
    purity = float(table.max(axis=1).sum() / table.sum())
    if total == 0:
        return {"purity": purity}
    expected = by_group * by_label / total
    # Everything is in one group, or nothing is with anything else, in both: then they agree.
    most = (by_group + by_label) / 2
    return {
        "purity": purity,
        "adjusted_rand_index": 1.0 if most == expected else (together - expected) / (most - expected),
    }
