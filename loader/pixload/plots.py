"""Images for slides, by Matplotlib."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from pixload.errors import PixError
from pixload.files import check_target, write_file
from pixload.report.thumbnails import read_images, thumbnails

rcParams["text.parse_math"] = False  # a title with two $ is not a formula

INCHES, DPI = (16, 9), 120
"""1920 × 1080 pixels."""
MOST_THUMBNAILS = 400
MOST_GROUPS = 20
COLUMNS, ROWS = 8, 4
QUALITY = 90


def plot_map(connection, name: str, path: Path, label_set: str | None, clustering: str | None) -> None:
    """Draw a map: thumbnails where there is room for them, on points colored by cluster or label.

    Parameters
    ----------
    connection : psycopg2 connection
        Its role must be a member of pix_reader.
    name : str
        Of the map.
    path : Path
        A PNG file.
    label_set : str, optional
        Color by labels. None: by cluster.
    clustering : str, optional
        None: the latest of the map's model.

    Raises
    ------
    PixError
        If there are no such labels.
    """
    check_target(path)
    with connection.cursor() as cursor:
        cursor.execute("SELECT map, model_name, algorithm FROM pix.find_map(%s)", (name,))
        _, model_name, algorithm = cursor.fetchone()
        if clustering is not None:
            cursor.execute("SELECT clustering FROM pix.find_clustering(%s)", (clustering,))
        else:
            cursor.execute(
                "SELECT clustering FROM pix.clusterings WHERE model_name = %s ORDER BY fitted_at DESC LIMIT 1",
                (model_name,),
            )
            (clustering,) = cursor.fetchone() or (None,)
        if label_set is not None:
            cursor.execute(
                "SELECT p.item_id, p.x, p.y, l.label FROM pix.map_points p LEFT JOIN pix.labels l "
                "ON l.item_id = p.item_id AND l.label_set = %s WHERE p.map = %s ORDER BY p.item_id",
                (label_set, name),
            )
        else:
            cursor.execute(
                "SELECT p.item_id, p.x, p.y, 'cluster ' || m.cluster FROM pix.map_points p "
                "LEFT JOIN pix.cluster_members m ON m.item_id = p.item_id AND m.clustering = %s "
                "WHERE p.map = %s ORDER BY p.item_id",
                (clustering, name),
            )
        rows = cursor.fetchall()
    if not rows:
        raise PixError(f"Map {name} has no items any more.", f"Make it again: pix map fit {name}")
    item_ids, xs, ys, groups = zip(*rows, strict=True)
    if label_set is not None and not any(groups):
        raise PixError(f"No item of the map has a label of {label_set!r}.", "SELECT DISTINCT label_set FROM pix.labels")
    points = np.column_stack((xs, ys))
    shown = _thinned(points)
    images = thumbnails(read_images(connection, [item_ids[number] for number in shown]), QUALITY, lambda: None)
    figure = Figure(INCHES, DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    colors = _colors([group for group in groups if group is not None])
    axes.scatter(xs, ys, s=14, c=[colors.get(group, "#b5bcc4") for group in groups], alpha=0.7, linewidths=0)
    for number in shown:
        if item_ids[number] in images:
            frame = {"edgecolor": colors.get(groups[number], "#b5bcc4"), "linewidth": 1.5}
            thumbnail = OffsetImage(_pixels(images[item_ids[number]]), zoom=0.3)
            axes.add_artist(AnnotationBbox(thumbnail, points[number], pad=0.08, bboxprops=frame))
    named = list(colors)[:MOST_GROUPS]
    if named:
        handles = [axes.scatter([], [], s=60, color=colors[group], label=group) for group in named]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_title(f"{name}: {len(item_ids):,} items by {model_name} ({algorithm})", fontsize=18)
    _save(figure, path)


def plot_cluster(connection, clustering: str, cluster: int, path: Path) -> None:
    """Draw the items of a cluster that are nearest to its center, the medoid first.

    Parameters
    ----------
    connection : psycopg2 connection
        Its role must be a member of pix_reader.
    clustering, cluster : str, int
        Which; of a tree any one.
    path : Path
        A PNG file.
    """
    check_target(path)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pix.leaf_clusters((pix.find_clustering(%s)).clustering, %s)", (clustering, cluster))
        (leaves,) = cursor.fetchone()
        cursor.execute(
            "SELECT items, medoid, words, mean_price FROM pix.clusters WHERE clustering = %s AND cluster = %s",
            (clustering, cluster),
        )
        items, medoid, words, price = cursor.fetchone()
        cursor.execute(
            "SELECT m.item_id, coalesce(i.title, m.item_id) FROM pix.cluster_members m JOIN pix.images USING (item_id) "
            "LEFT JOIN pix.items i USING (item_id) WHERE m.clustering = %s AND m.cluster = ANY(%s) "
            "ORDER BY m.item_id <> %s, m.distance, m.item_id LIMIT %s",
            (clustering, leaves, medoid or "", COLUMNS * ROWS),
        )
        members = cursor.fetchall()
    images = thumbnails(read_images(connection, [item_id for item_id, _ in members]), QUALITY, lambda: None)
    figure = Figure(INCHES, DPI, layout="constrained")
    facts = [f"{items:,} items", *([f"{price:.2f} on average"] if price is not None else []), " ".join(words)]
    figure.suptitle(f"Cluster {cluster} of {clustering}: {', '.join(filter(None, facts))}", fontsize=18)
    for number, axes in enumerate(figure.subplots(ROWS, COLUMNS).flat):
        axes.set_axis_off()
        if number < len(members):
            item_id, title = members[number]
            if item_id in images:
                axes.imshow(_pixels(images[item_id]))
            axes.set_title(title if len(title) <= 24 else title[:23] + "…", fontsize=8)
    _save(figure, path)


def _thinned(points: np.ndarray) -> list[int]:
    """Return points so far apart that thumbnails on them do not pile up."""
    width, height = np.ptp(points, axis=0)
    cells = max(1, round((MOST_THUMBNAILS * 9 / 16) ** 0.5))
    steps = np.array([width / (cells * 16 / 9) or 1, height / cells or 1])
    _, first = np.unique(((points - points.min(axis=0)) // steps).astype(int), axis=0, return_index=True)
    return first.tolist()


def _colors(groups: list[str]) -> dict[str, tuple]:
    names = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    palette = colormaps["tab20"]
    return {name: palette(number % 20) for number, name in enumerate(names)}


def _pixels(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG file, whatever letters titles have: what the font lacks is drawn as boxes."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(stream, format="png")
    write_file(path, stream.getvalue())
