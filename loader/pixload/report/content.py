"""What a report shows, read from the database."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pixload.errors import PixError

MOST_ITEMS = 3000
LOOK_ALIKES = 6
MOST_ASKED = 200
LONGEST = 200
"""Letters of a title or label: the page has room for no more of each item."""
SEED = 7
MOST_LABELS = 40
"""A label set with more labels is not a key to colors, and no readable matrix."""
GALLERY, GALLERY_ITEMS, MOST_GALLERIES = 11, 1200, 200
CLASSIFIERS = 3
MOST_CURVES = 10


@dataclass
class Item:
    """An item that is shown."""

    item_id: str
    title: str | None = None
    price: float | None = None
    cluster: int | None = None
    distance: float | None = None
    x: float | None = None
    y: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    look_alikes: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Cluster:
    """A cluster; its gallery are the items nearest to its center, the medoid first."""

    number: int
    parent: int | None
    is_leaf: bool
    items: int
    words: list[str]
    mean_price: float | None
    gallery: list[str] = field(default_factory=list)


@dataclass
class Confusion:
    """A classifier on the items that were kept for its test."""

    classifier: str
    label_set: str
    accuracy: float
    items: int
    labels: list[str]
    cells: list[tuple[str, str, int]]


@dataclass
class Taste:
    """What users think of a cluster: a mean fraction of likes, and its 95 % credible interval."""

    cluster: int
    votes: int
    mean: float
    low: float
    high: float


@dataclass
class RegretCurve:
    """How the regret of simulated users grew: votes from 1, and means with their standard errors."""

    policy: str
    prior: str
    users: int
    regret: list[float]
    error: list[float]


@dataclass
class Content:
    """Everything that a report shows."""

    model_name: str
    counts: dict[str, int]
    items: dict[str, Item]
    of_items: int
    map: dict | None
    clustering: dict | None
    clusters: list[Cluster]
    curve: list[tuple[int, float]]
    label_sets: list[str]
    progress: list[dict]
    failures: list[dict]
    confusions: list[Confusion]
    tastes: list[Taste]
    regrets: list[RegretCurve]


def read(connection, model_name: str | None, map_name: str | None, clustering: str | None) -> Content:
    """Read what a report shows.

    Parameters
    ----------
    connection : psycopg2 connection
        Its role must be a member of pix_reader.
    model_name : str, optional
        None: that of the map or of the clustering, or the default model.
    map_name, clustering : str, optional
        None: the latest map of everything, and the latest clustering.

    Raises
    ------
    PixError
        If there is no item to show, or these are of different models.
    """
    if map_name is not None:
        (model,) = _rows(connection, "SELECT model_name FROM pix.find_map(%s)", (map_name,))
        model_name = _same_model(model_name, model["model_name"], f"Map {map_name!r}")
    if clustering is not None:
        (model,) = _rows(connection, "SELECT model_name FROM pix.find_clustering(%s)", (clustering,))
        model_name = _same_model(model_name, model["model_name"], f"Clustering {clustering!r}")
    ((model_name,),) = _tuples(connection, "SELECT model_name FROM pix.find_model(%s)", (model_name,))
    shown_map = _first(
        connection,
        "SELECT map, algorithm, items, trustworthiness FROM pix.map_status WHERE model_name = %s "
        "AND CASE WHEN %s IS NULL "
        "THEN clustering IS NULL ELSE map = %s END ORDER BY fitted_at DESC",
        (model_name, map_name, map_name),
    )
    shown_clustering = _first(
        connection,
        "SELECT clustering, algorithm, k, items FROM pix.clustering_status WHERE model_name = %s AND coalesce("
        "clustering = %s, true) ORDER BY fitted_at DESC",
        (model_name, clustering),
    )
    clusters = _clusters(connection, shown_clustering)
    items, of_items = _items(connection, model_name, shown_map, shown_clustering, clusters)
    if not items:
        raise PixError(
            f"There are no items with features of model {model_name}.", f"Run: pix extract --model {model_name}"
        )
    _look_alikes(connection, items, of_items, model_name)
    return Content(
        model_name=model_name,
        counts=_first(
            connection,
            "SELECT (SELECT count(*) FROM pix.items) AS items, (SELECT count(*) FROM pix.images) AS images, "
            "(SELECT count(*) FROM pix.features WHERE model_name = %s) AS features",
            (model_name,),
        ),
        items=items,
        of_items=of_items,
        map=shown_map,
        clustering=shown_clustering,
        clusters=clusters,
        curve=_tuples(
            connection,
            "SELECT k, silhouette FROM pix.cluster_curves WHERE clustering = %s ORDER BY k",
            (shown_clustering and shown_clustering["clustering"],),
        ),
        label_sets=_label_sets(connection, items),
        progress=_rows(
            connection,
            "SELECT model_name, images, extracted, failed, pending FROM pix.extraction_progress ORDER BY model_name",
        ),
        failures=_rows(
            connection,
            "SELECT model_name, reason, count(*) AS images, (array_agg(item_id ORDER BY item_id))[1:5] AS examples "
            "FROM pix.extraction_failures GROUP BY model_name, reason ORDER BY 3 DESC, 1, 2 LIMIT 50",
        ),
        confusions=_confusions(connection),
        tastes=_tastes(connection, shown_clustering),
        regrets=_regrets(connection, shown_clustering),
    )


def _clusters(connection, clustering: dict | None) -> list[Cluster]:
    if clustering is None:
        return []
    rows = _rows(
        connection,
        "SELECT cluster, parent, height IS NULL AS is_leaf, items, words, mean_price::float FROM pix.clusters "
        "WHERE clustering = %s ORDER BY cluster",
        (clustering["clustering"],),
    )
    clusters = [Cluster(*row.values()) for row in rows]
    leaves = sorted((cluster for cluster in clusters if cluster.is_leaf), key=lambda cluster: -cluster.items)
    size = max(3, min(GALLERY, GALLERY_ITEMS // max(1, len(leaves))))
    galleries = {cluster.number: cluster.gallery for cluster in leaves[:MOST_GALLERIES]}
    nearest = _tuples(
        connection,
        """
        SELECT r.cluster, r.item_id FROM (
            SELECT m.cluster, m.item_id,
                row_number() OVER (PARTITION BY m.cluster ORDER BY m.distance, m.item_id) AS rank
            FROM pix.cluster_members m JOIN pix.images i ON i.item_id = m.item_id
            WHERE m.clustering = %s
        ) r
        WHERE r.rank <= %s ORDER BY r.cluster, r.rank
        """,
        (clustering["clustering"], size),
    )
    for cluster, item_id in nearest:
        if cluster in galleries:
            galleries[cluster].append(item_id)
    return clusters


def _items(
    connection, model_name: str, shown_map: dict | None, clustering: dict | None, clusters: list[Cluster]
) -> tuple[dict[str, Item], int]:
    """Return the items to show, at most `MOST_ITEMS`, and of how many they are."""
    metadata = _tuples(
        connection,
        """
        SELECT f.item_id, p.x IS NOT NULL
        FROM pix.current_features f
        LEFT JOIN pix.map_points p ON p.item_id = f.item_id AND p.map = %s
        WHERE f.model_name = %s ORDER BY f.item_id
        """,
        (shown_map and shown_map["map"], model_name),
    )
    if shown_map is not None:
        metadata = [row for row in metadata if row[1]] or metadata
    shown = _sampled({item_id for item_id, _ in metadata}, clusters)
    rows = _tuples(
        connection,
        """
        SELECT f.item_id, left(i.title, %s), CASE WHEN i.price::text ~ '^-?[0-9.]+$' THEN i.price::float END,
            m.cluster, m.distance, p.x, p.y
        FROM pix.current_features f
        LEFT JOIN pix.items i ON i.item_id = f.item_id
        LEFT JOIN pix.cluster_members m ON m.item_id = f.item_id AND m.clustering = %s
        LEFT JOIN pix.map_points p ON p.item_id = f.item_id AND p.map = %s
        WHERE f.model_name = %s AND f.item_id = ANY(%s) ORDER BY f.item_id
        """,
        (LONGEST, clustering and clustering["clustering"], shown_map and shown_map["map"], model_name, list(shown)),
    )
    return {row[0]: Item(*row) for row in rows}, len(metadata)


def _sampled(present: set[str], clusters: list[Cluster]) -> set[str]:
    """Draw items at random, besides those that galleries show."""
    if len(present) <= MOST_ITEMS:
        return present
    shown = {item_id for cluster in clusters for item_id in cluster.gallery} & present
    others = sorted(present - shown)
    draw = random.Random(SEED)  # noqa: S311 not for secrets
    return shown | set(draw.sample(others, max(0, MOST_ITEMS - len(shown))))


def _look_alikes(connection, items: dict[str, Item], of_items: int, model_name: str) -> None:
    """Fill in the look-alikes of each item, as far as they are shown: of a sample, more are asked for."""
    k = min(MOST_ASKED, -(-LOOK_ALIKES * of_items // len(items)) + LOOK_ALIKES * (of_items > len(items)))
    neighbors = _tuples(
        connection,
        "SELECT item_id, neighbor_id, distance FROM pix.nearest_many(%s, k => %s, model_name => %s) "
        "ORDER BY item_id, rank",
        (list(items), k, model_name),
    )
    for item_id, neighbor_id, distance in neighbors:
        look_alikes = items[item_id].look_alikes
        if neighbor_id in items and len(look_alikes) < LOOK_ALIKES:
            look_alikes.append((neighbor_id, distance))


def _label_sets(connection, items: dict[str, Item]) -> list[str]:
    """Fill in labels, and return the label sets that can color a map."""
    rows = _tuples(
        connection, "SELECT item_id, label_set, label FROM pix.labels WHERE item_id = ANY(%s)", (list(items),)
    )
    labels: dict[str, set[str]] = {}
    for item_id, label_set, label in rows:
        items[item_id].labels[label_set] = label = label[:LONGEST]
        labels.setdefault(label_set, set()).add(label)
    return sorted(name for name, values in labels.items() if 1 < len(values) <= MOST_LABELS)


def _confusions(connection) -> list[Confusion]:
    best = _rows(
        connection,
        "SELECT c.classifier, c.label_set, m.accuracy, m.items FROM pix.classifiers c JOIN pix.classifier_metrics m "
        "ON m.classifier = c.classifier AND m.evaluation = 'test' ORDER BY m.accuracy DESC, c.classifier",
    )
    confusions = []
    for row in best:
        cells = _tuples(
            connection,
            "SELECT actual, predicted, items FROM pix.classifier_confusion "
            "WHERE classifier = %s AND evaluation = 'test'",
            (row["classifier"],),
        )
        labels = sorted({label for actual, predicted, _ in cells for label in (actual, predicted)})
        if 1 < len(labels) <= MOST_LABELS and len(confusions) < CLASSIFIERS:
            confusions.append(
                Confusion(row["classifier"], row["label_set"], row["accuracy"], row["items"], labels, cells)
            )
    return confusions


def _tastes(connection, clustering: dict | None) -> list[Taste]:
    if clustering is None:
        return []
    rows = _tuples(
        connection,
        "SELECT cluster, votes, mean, low, high FROM pix.pooled_arms "
        "WHERE clustering = %s AND votes > 0 ORDER BY cluster",
        (clustering["clustering"],),
    )
    return [Taste(*row) for row in rows]


def _regrets(connection, clustering: dict | None) -> list[RegretCurve]:
    """Return the latest simulation of each policy and prior."""
    rows = _tuples(
        connection,
        """
        SELECT r.policy, r.prior, r.users, array_agg(r.regret ORDER BY r.vote),
            array_agg(r.regret_error ORDER BY r.vote)
        FROM pix.regret_curves r
        JOIN (
            SELECT max(s.simulation_id) AS simulation_id FROM pix.simulations s
            WHERE s.clustering = %s GROUP BY s.policy, s.prior
        ) l ON l.simulation_id = r.simulation_id
        GROUP BY r.simulation_id, r.policy, r.prior, r.users ORDER BY r.policy, r.prior
        """,
        (clustering and clustering["clustering"],),
    )
    return [RegretCurve(*row) for row in rows][:MOST_CURVES]


def _same_model(wanted: str | None, stored: str, what: str) -> str:
    if wanted is not None and wanted != stored:
        raise PixError(
            f"{what} is of model {stored}, not of {wanted}.", "A report shows one model: leave one of them out."
        )
    return stored


def _tuples(connection, sql: str, parameters=None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def _rows(connection, sql: str, parameters=None) -> list[dict]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _first(connection, sql: str, parameters=None) -> dict | None:
    return next(iter(_rows(connection, sql, parameters)), None)
