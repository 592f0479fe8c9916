"""The report: one page with a map, galleries and charts, which needs no internet connection and no server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import jinja2

from pixload.database import Database
from pixload.files import check_target, write_file
from pixload.progress import progress_bar
from pixload.report.content import Content, read
from pixload.report.sight import Sheet, contact_sheets
from pixload.report.thumbnails import read_images, thumbnails

MOST_BYTES = 15_000_000
QUALITIES = (70, 45, 25)
"""Of thumbnails: the first with which the page is small enough."""
STRIPS = 8


def write_report(
    database: Database,
    path: Path,
    model_name: str | None = None,
    map_name: str | None = None,
    clustering: str | None = None,
    seen_item: str | None = None,
) -> int:
    """Write a report to a file; return its size.

    Parameters
    ----------
    database : Database
        Where; its role must be a member of pix_reader.
    path : Path
        It appears when it is complete; one that is there is replaced.
    model_name, map_name, clustering : str, optional
        As for `pixload.report.content.read`.
    seen_item : str, optional
        An item, to show what the network sees in its image.

    Raises
    ------
    PixError
        If the file cannot be written, or there is nothing to show.
    """
    check_target(path)
    with database.connect() as connection:
        content = read(connection, model_name, map_name, clustering)
        sheets = contact_sheets(connection, content.model_name, seen_item) if seen_item is not None else []
        for quality in QUALITIES:
            with progress_bar("drawing thumbnails", len(content.items)) as advance:
                images = thumbnails(read_images(connection, list(content.items)), quality, advance)
            page = render(content, images, sheets).encode()
            if len(page) < MOST_BYTES:
                break
    write_file(path, page)
    return len(page)


def render(content: Content, images: dict[str, str], sheets: list[Sheet]) -> str:
    """Return the page."""
    from bokeh.embed import components  # slow to import
    from bokeh.resources import Resources

    from pixload.report.charts import charts

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("pixload.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script, divisions = components(charts(content))
    return templates.get_template("page.html.j2").render(
        content=content,
        charts=divisions,
        chart_script=script,
        library=Resources(mode="inline", components=["bokeh"]).render_js(),
        style=_file("page.css"),
        behavior=_file("page.js"),
        data=_data(content, images),
        sheets=sheets,
        strips=_strips(content),
        made_at=datetime.now(UTC),
    )


def _data(content: Content, images: dict[str, str]) -> str:
    """Return what the page's script reads: each item once, those it refers to by their position."""
    position = {item_id: number for number, item_id in enumerate(content.items)}
    data = {
        "items": [
            {
                "id": item.item_id,
                "title": item.title or item.item_id,
                "price": item.price,
                "cluster": item.cluster,
                "x": item.x,
                "y": item.y,
                "labels": [item.labels.get(name) for name in content.label_sets],
                "alike": [[position[other], round(distance, 4)] for other, distance in item.look_alikes],
                "image": images.get(item.item_id),
            }
            for item in content.items.values()
        ],
        "labelSets": content.label_sets,
        "clusters": {cluster.number: cluster.words for cluster in content.clusters if cluster.is_leaf},
        "galleries": {
            cluster.number: [position[item_id] for item_id in cluster.gallery if item_id in position]
            for cluster in content.clusters
            if cluster.gallery
        },
        "strips": [position[item_id] for item_id in _strips(content)],
    }
    # Nothing in it can end the element that holds it.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _strips(content: Content) -> list[str]:
    """Return items whose look-alikes are shown: medoids, or items spread over the catalogue."""
    medoids = [
        cluster.gallery[0]
        for cluster in sorted(content.clusters, key=lambda cluster: -cluster.items)
        if cluster.gallery and cluster.gallery[0] in content.items
    ]
    everything = list(content.items)
    others = everything[:: max(1, len(everything) // STRIPS)]
    return [item_id for item_id in (medoids or others) if content.items[item_id].look_alikes][:STRIPS]


def _file(name: str) -> str:
    return resources.files("pixload.report").joinpath(name).read_text()
