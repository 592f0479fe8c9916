"""Charts, by Bokeh; the map is drawn here empty, and filled by the page itself, which has the items once."""

from __future__ import annotations

from bokeh.models import (
    BasicTicker,
    BoxZoomTool,
    ColorBar,
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    PanTool,
    ResetTool,
    TapTool,
    WheelZoomTool,
)
from bokeh.palettes import Blues256, Category10_10
from bokeh.plotting import figure

from pixload.report.content import Confusion, Content, RegretCurve, Taste

TOOLTIP = """
<div class="tip" style="max-width: 220px; font: 13px/1.4 system-ui, sans-serif; color: #222">
  <img src="@url" alt="" style="display: block; max-width: 128px; min-height: 48px; margin-bottom: 4px">
  <strong>@title</strong><br>@price @group
</div>
"""
BLUE = "#3477b5"


def charts(content: Content) -> dict[str, figure]:
    """Return the charts that there is something to show in, by the name that the page calls them."""
    figures = {}
    if content.map is not None:
        figures["map"] = map_of_items()
    leaves = [cluster for cluster in content.clusters if cluster.is_leaf]
    if leaves:
        figures["sizes"] = sizes({str(cluster.number): cluster.items for cluster in leaves})
    if content.curve:
        figures["curve"] = curve(content.curve, content.clustering["k"])
    if content.progress:
        figures["progress"] = progress(content.progress)
    if content.tastes:
        figures["tastes"] = tastes(content.tastes)
    if content.regrets:
        figures["regrets"] = regrets(content.regrets)
    for number, confusion in enumerate(content.confusions):
        figures[f"confusion_{number}"] = confusion_matrix(confusion)
    return figures


def map_of_items() -> figure:
    """Draw the frame of a thumbnail for each item, colored by its group, and the thumbnail in it."""
    source = ColumnDataSource(
        {name: [] for name in ("x", "y", "url", "title", "price", "group", "color", "alpha")}, name="items"
    )
    # Not the same: images know of no selection.
    images = ColumnDataSource({name: [] for name in ("x", "y", "url", "alpha")}, name="images")
    plot = figure(
        x_range=(0, 1), y_range=(0, 1), height=640, sizing_mode="stretch_width", toolbar_location="above", name="map",
        tools=[], output_backend="canvas",
    )  # fmt: skip
    frames = plot.scatter(
        "x", "y", source=source, marker="square", size=20, color="color", alpha="alpha", line_color=None, name="frames",
        nonselection_alpha=0.9, selection_line_color="#000000", selection_line_width=3,
    )  # fmt: skip
    plot.image_url(
        "url", "x", "y", w={"value": 16, "units": "screen"}, h={"value": 16, "units": "screen"}, anchor="center",
        global_alpha="alpha", source=images, name="thumbnails",
    )  # fmt: skip
    wheel = WheelZoomTool()
    plot.add_tools(
        PanTool(), wheel, BoxZoomTool(), ResetTool(), TapTool(renderers=[frames]),
        HoverTool(renderers=[frames], tooltips=TOOLTIP, limit=1),
    )  # fmt: skip
    plot.toolbar.active_scroll = wheel
    plot.toolbar.logo = None
    plot.axis.visible = False
    plot.grid.visible = False
    return _bare(plot)


def sizes(items: dict[str, int]) -> figure:
    """Draw how many items each cluster has."""
    plot = figure(
        x_range=list(items), height=260, sizing_mode="stretch_width", toolbar_location=None, tools="hover",
        tooltips="cluster @x: @top items", x_axis_label="cluster", y_axis_label="items",
    )  # fmt: skip
    plot.vbar(x=list(items), top=list(items.values()), width=0.8, color=BLUE)
    plot.y_range.start = 0
    plot.xgrid.visible = False
    _name_clusters(plot, len(items))
    return _bare(plot)


def curve(points: list[tuple[int, float]], chosen: int) -> figure:
    """Draw the silhouette of other numbers of clusters."""
    ks, silhouettes = zip(*points, strict=True)
    plot = figure(
        height=260, sizing_mode="stretch_width", toolbar_location=None, tools="hover",
        tooltips="@x clusters: silhouette @y{0.000}", x_axis_label="clusters", y_axis_label="silhouette",
    )  # fmt: skip
    plot.line(ks, silhouettes, color=BLUE, line_width=2)
    plot.scatter(ks, silhouettes, size=[14 if k == chosen else 7 for k in ks], color=BLUE)
    return _bare(plot)


def progress(rows: list[dict]) -> figure:
    """Draw the progress of extraction, a bar for each model."""
    names = [row["model_name"] for row in rows]
    parts = {"extracted": BLUE, "failed": "#c0392b", "pending": "#9aa5b1"}
    source = {"model": names} | {part: [row[part] for row in rows] for part in parts}
    plot = figure(
        y_range=names[::-1], height=90 + 32 * len(names), sizing_mode="stretch_width", toolbar_location=None,
        tools="hover", tooltips="@model: $name @$name", x_axis_label="images",
    )  # fmt: skip
    plot.hbar_stack(
        list(parts), y="model", height=0.6, color=list(parts.values()), source=source, legend_label=list(parts)
    )
    plot.legend.orientation = "horizontal"
    plot.add_layout(plot.legend[0], "above")
    plot.x_range.start = 0
    plot.ygrid.visible = False
    return _bare(plot)


def tastes(tastes: list[Taste]) -> figure:
    """Draw the fraction of likes of each cluster, and how certain it is."""
    names = [str(taste.cluster) for taste in tastes]
    source = ColumnDataSource(
        {
            "cluster": names,
            "votes": [taste.votes for taste in tastes],
            "mean": [taste.mean for taste in tastes],
            "low": [taste.low for taste in tastes],
            "high": [taste.high for taste in tastes],
        }
    )
    plot = figure(
        x_range=names, y_range=(0, 1), height=280, sizing_mode="stretch_width", toolbar_location=None,
        x_axis_label="cluster", y_axis_label="fraction of likes",
    )  # fmt: skip
    plot.segment("cluster", "low", "cluster", "high", source=source, color=BLUE, line_width=2)
    dots = plot.scatter("cluster", "mean", source=source, size=9, color=BLUE)
    tooltip = "cluster @cluster: @mean{0.00}, from @low{0.00} to @high{0.00}, @votes votes"
    plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltip))
    plot.xgrid.visible = False
    _name_clusters(plot, len(names))
    return _bare(plot)


def regrets(curves: list[RegretCurve]) -> figure:
    """Draw how the regret of each policy grew, with a band of two standard errors."""
    plot = figure(
        height=300 + 20 * len(curves), sizing_mode="stretch_width", toolbar_location=None, tools="hover",
        tooltips="$name, vote @x: @y{0.0}", x_axis_label="votes", y_axis_label="likes that were missed",
    )  # fmt: skip
    colors = Category10_10[: len(curves)]
    for color, curve in zip(colors, curves, strict=True):
        votes = list(range(1, len(curve.regret) + 1))
        name = f"{curve.policy}, {curve.prior} prior"
        low, high = (
            [regret + sign * 2 * error for regret, error in zip(curve.regret, curve.error, strict=True)]
            for sign in (-1, 1)
        )
        plot.varea(votes, low, high, color=color, alpha=0.15, hover_alpha=0.15)
        plot.line(votes, curve.regret, color=color, line_width=2, legend_label=name, name=name)
    plot.legend.location = "top_left"
    plot.legend.label_text_font_size = "12px"
    plot.x_range.start = 1
    plot.y_range.start = 0
    return _bare(plot)


def confusion_matrix(confusion: Confusion) -> figure:
    """Draw what the items of each label were taken for."""
    labels = confusion.labels
    most = max(items for *_, items in confusion.cells)
    colors = LinearColorMapper(palette=Blues256[::-1], low=0, high=most)
    actual, predicted, items = zip(*confusion.cells, strict=True)
    source = {
        "actual": actual, "predicted": predicted, "items": items,
        "ink": ["#ffffff" if 2 * count > most else "#10243e" for count in items],
    }  # fmt: skip
    plot = figure(
        x_range=labels, y_range=labels[::-1], height=220 + 26 * len(labels), sizing_mode="stretch_width",
        toolbar_location=None, tools="hover", tooltips="@actual, taken for @predicted: @items", max_width=900,
        x_axis_label="predicted", y_axis_label="actual", x_axis_location="above",
    )  # fmt: skip
    plot.rect(
        "predicted", "actual", 0.96, 0.96, source=source, line_color=None,
        fill_color={"field": "items", "transform": colors},
    )  # fmt: skip
    plot.text(
        "predicted", "actual", "items", source=source, text_align="center", text_baseline="middle", text_color="ink",
        text_font_size="12px",
    )  # fmt: skip
    plot.xaxis.major_label_orientation = 0.9
    plot.grid.visible = False
    plot.add_layout(ColorBar(color_mapper=colors, ticker=BasicTicker(), width=10), "right")
    return _bare(plot)


def _name_clusters(plot: figure, clusters: int) -> None:
    """Let their numbers have room, on a phone too."""
    if clusters > 12:
        plot.xaxis.major_label_orientation = "vertical"
    if clusters > 40:
        plot.xaxis.major_label_text_alpha = 0


def _bare(plot: figure) -> figure:
    """Let the page shine through, light or dark."""
    plot.background_fill_alpha = 0
    plot.border_fill_alpha = 0
    plot.outline_line_color = None
    for legend in plot.legend:
        legend.background_fill_alpha = 0
        legend.border_line_color = None
    return plot
