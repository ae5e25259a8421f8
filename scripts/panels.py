"""The kinds of panels that dashboards have: one function each.

What all of a kind share is decided here: the look of bars and lines, that numbers are instant
queries, and that a table joins its queries by their labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.grafana import (
    BLUE,
    COUNT,
    MIN_STEP,
    NAVY,
    YELLOW,
    Json,
    Link,
    Panel,
    Query,
    Steps,
    fixed,
    panel,
    target,
    thresholds,
)

BARS, POINTS = 100, 50
"""How many bars or points a panel has at most: so a bar of a day is 15 minutes long."""

_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def stat(  # noqa: PLR0913 - the columns of a table of panels
    title: str,
    text: str,
    expr: str,
    unit: str = COUNT,
    *,
    steps: Steps = (),
    none: str = "none",
    mappings: Sequence[Json] = (),
    legend: str = "",
) -> Panel:
    """One number of now, or of the whole time range; `legend` is shown in its place if given."""
    field: Json = {
        "unit": unit,
        "noValue": none,
        "color": {"mode": "thresholds"} if steps else {"mode": "fixed", "fixedColor": "text"},
        "thresholds": thresholds(steps),
        "mappings": list(mappings),
    }
    if unit == COUNT:
        field["decimals"] = 0
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": _REDUCED,
        "showPercentChange": False,
        "textMode": "name" if legend else "value",
        "wideLayout": True,
    }
    targets = [target(0, Query(expr, legend), instant=True)]
    return Panel(3, 4, panel("stat", title, text, field, targets=targets, options=options))


def _series(  # noqa: PLR0913 - the columns of a table of panels
    title: str,
    text: str,
    unit: str,
    queries: Sequence[Query],
    custom: Json,
    *,
    colours: Mapping[str, str],
    points: int | None = None,
    calcs: Sequence[str] = (),
    steps: Steps = (),
    none: str = "none",
) -> Panel:
    field = {
        "unit": unit,
        "noValue": none,
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": custom | ({"thresholdsStyle": {"mode": "dashed"}} if steps else {}),
        "thresholds": thresholds(steps),
    }
    legend: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    if calcs:
        legend |= {"displayMode": "table", "placement": "right", "calcs": list(calcs)}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    body = panel(
        "timeseries",
        title,
        text,
        field,
        overrides=fixed(colours),
        targets=[target(n, query, interval=MIN_STEP) for n, query in enumerate(queries)],
        options=options,
        interval=MIN_STEP,
    )
    if points is not None:
        body["maxDataPoints"] = points
    return Panel(12, 8, body)


def bars(
    title: str, text: str, *queries: Query, colours: Mapping[str, str], none: str = "none"
) -> Panel:
    """Counts on top of each other, with their sums in the legend."""
    custom = {
        "drawStyle": "bars",
        "fillOpacity": 90,
        "lineWidth": 0,
        "stacking": {"mode": "normal", "group": "A"},
        "axisSoftMax": 1,
    }
    made = _series(
        title,
        text,
        COUNT,
        queries,
        custom,
        colours=colours,
        points=BARS,
        calcs=["sum"],
        none=none,
    )
    made.body["fieldConfig"]["defaults"]["decimals"] = 0
    return made


def dots(
    title: str,
    text: str,
    unit: str,
    *queries: Query,
    colours: Mapping[str, str] | None = None,
    steps: Steps = (),
) -> Panel:
    """What is known only where there were builds: points, joined over the gaps."""
    custom = {"drawStyle": "line", "lineWidth": 1, "showPoints": "always", "pointSize": 5}
    custom |= {"spanNulls": True}
    few = "too few builds"
    return _series(
        title,
        text,
        unit,
        queries,
        custom,
        colours=colours or {},
        points=POINTS,
        steps=steps,
        none=few,
    )


def lines(  # noqa: PLR0913 - the columns of a table of panels
    title: str,
    text: str,
    unit: str,
    *queries: Query,
    colours: Mapping[str, str] | None = None,
    stacked: bool = False,
    calcs: Sequence[str] = (),
    none: str = "none",
) -> Panel:
    """What has a value at any time."""
    custom: Json = {"drawStyle": "line", "lineWidth": 1, "showPoints": "never"}
    if stacked:
        custom |= {
            "fillOpacity": 60,
            "lineInterpolation": "stepAfter",
            "stacking": {"mode": "normal", "group": "A"},
        }
    return _series(
        title, text, unit, queries, custom, colours=colours or {}, calcs=calcs, none=none
    )


def gauges(title: str, text: str, query: Query, unit: str = COUNT) -> Panel:
    """One bar for each series, of now or of the whole time range."""
    field = {
        "unit": unit,
        "noValue": "none",
        "min": 0,
        "decimals": 0,
        "color": {"mode": "fixed", "fixedColor": BLUE},
        "thresholds": thresholds(()),
    }
    options = {
        "displayMode": "basic",
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "maxVizHeight": 300,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": _REDUCED,
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "text",
    }
    targets = [target(0, query, instant=True)]
    return Panel(8, 8, panel("bargauge", title, text, field, targets=targets, options=options))


def history(
    title: str, text: str, *queries: Query, colours: Mapping[str, str], links: Sequence[Link]
) -> Panel:
    """A row of cells for each series, whose numbers are words: from 1 on, 0 for any other.

    `links` are those of the first query's series.
    """
    words = {
        str(n): {"text": word, "color": colour, "index": n}
        for n, (word, colour) in enumerate([("other", NAVY), *colours.items()])
    }
    field: Json = {
        "unit": "none",
        "noValue": "no builds",
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 90, "lineWidth": 0},
        "mappings": [{"type": "value", "options": words}],
        "thresholds": thresholds(()),
    }
    linked = {
        "matcher": {"id": "byFrameRefID", "options": "A"},
        "properties": [{"id": "links", "value": [link.json() for link in links]}],
    }
    options = {
        "colWidth": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "perPage": 20,
        "rowHeight": 0.9,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    body = panel(
        "status-history",
        title,
        text,
        field,
        overrides=[linked],
        targets=[target(n, query, interval=MIN_STEP) for n, query in enumerate(queries)],
        options=options,
        interval=MIN_STEP,
        maxDataPoints=POINTS,
    )
    return Panel(24, 10, body)


def heat(title: str, text: str, expr: str) -> Panel:
    """How many of a histogram's observations each cell has; its exemplars are points."""
    field: Json = {"unit": "s", "noValue": "none", "custom": {}, "thresholds": thresholds(())}
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": COUNT},
        "color": {
            "mode": "scheme",
            "scheme": "Blues",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "fill": BLUE,
            "reverse": False,
        },
        "exemplars": {"color": YELLOW},
        "filterValues": {"le": 0.001},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
    }
    query = Query(expr, "{{le}}")
    body = panel(
        "heatmap",
        title,
        text,
        field,
        targets=[target(0, query, interval=MIN_STEP, format="heatmap", exemplar=True)],
        options=options,
        interval=MIN_STEP,
        maxDataPoints=POINTS,
    )
    return Panel(12, 8, body)


def sized(width: int, *panels: Panel) -> list[Panel]:
    """The panels, each so wide (a row is `SCREEN`)."""
    return [panel._replace(width=width) for panel in panels]
