"""How a panel of `scripts/boards/` becomes Grafana's JSON.

One function a kind of panel. What all of a kind share is decided here: the look of bars and
lines, that numbers are instant queries, and that a table joins its queries by their labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

GREEN, BLUE, YELLOW, RED = "#009E73", "#56B4E9", "#E69F00", "#D55E00"
PURPLE, LEMON, GREY, DARK = "#CC79A7", "#F0E442", "#999999", "#666666"
"""Okabe and Ito's palette, which people with any colour vision can tell apart, and greys."""

COUNT = "locale"
"""Grafana's word for a number in full, with its thousands set apart."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "cicd-exporter"
MIN_STEP = "1m"
"""No finer than usual scrapes; `$__rate_interval` is then 4 minutes at least."""
SCREEN = 24
"""How wide a row is."""
BARS, POINTS = 100, 50
"""How many bars or points a panel has at most: so a bar of a day is 15 minutes long."""

Steps = Sequence[tuple[float, str]]
"""Thresholds: from which value on which colour; below the first it is green."""


class Query(NamedTuple):
    """PromQL, with `{B` and the like for the variables (`expanded`), and what to call it."""

    expr: str
    legend: str = ""


class Column(NamedTuple):
    """One column of numbers in a table; without a name it only brings its labels."""

    name: str
    expr: str
    unit: str = COUNT
    steps: Steps = ()


class Panel(NamedTuple):
    """A panel before it has its place; `body` is Grafana's JSON without id and place."""

    width: int
    height: int
    body: Json


SELECTORS = {
    "B": ("provider", "account", "repo", "workflow", "branch"),
    "A": ("instance", "provider", "account"),
    "P": ("instance", "provider"),
    "I": ("instance",),
}
"""What stands for matchers of which variables: `up{I}` is `up{instance=~"$instance"}`."""


def expanded(expr: str) -> str:
    """The query as Grafana gets it, on one line."""

    def matchers(found: re.Match[str]) -> str:
        return "{" + ",".join(f'{label}=~"${label}"' for label in SELECTORS[found[1]])

    return re.sub(r"\{([A-Z])\b", matchers, re.sub(r"\s+", " ", expr).strip())


def _panel(kind: str, title: str, text: str, field: Json, **rest: Any) -> Json:
    overrides = rest.pop("overrides", [])
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": field, "overrides": overrides},
        **rest,
    }


def _target(index: int, query: Query, **rest: Any) -> Json:
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expanded(query.expr),
        "legendFormat": query.legend,
        **rest,
    }


def _thresholds(steps: Steps) -> Json:
    first = [{"color": GREEN, "value": None}]
    return {
        "mode": "absolute",
        "steps": first + [{"color": colour, "value": value} for value, colour in steps],
    }


def _override(name: str, **properties: Any) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": v} for key, v in properties.items()],
    }


def _fixed(colours: Mapping[str, str]) -> list[Json]:
    return [
        _override(name, color={"mode": "fixed", "fixedColor": colour})
        for name, colour in colours.items()
    ]


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
        "thresholds": _thresholds(steps),
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
    target = _target(0, Query(expr, legend), instant=True)
    return Panel(3, 4, _panel("stat", title, text, field, targets=[target], options=options))


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
        "thresholds": _thresholds(steps),
    }
    legend: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    if calcs:
        legend |= {"displayMode": "table", "placement": "right", "calcs": list(calcs)}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    body = _panel(
        "timeseries",
        title,
        text,
        field,
        overrides=_fixed(colours),
        targets=[_target(n, query, interval=MIN_STEP) for n, query in enumerate(queries)],
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
    panel = _series(
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
    panel.body["fieldConfig"]["defaults"]["decimals"] = 0
    return panel


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
        "thresholds": _thresholds(()),
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
    target = _target(0, query, instant=True)
    return Panel(8, 8, _panel("bargauge", title, text, field, targets=[target], options=options))


def table(  # noqa: PLR0913 - the columns of a table of panels
    title: str,
    text: str,
    labels: Sequence[str],
    *columns: Column,
    sort: str,
    link: tuple[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """A row for each set of `labels`, which all queries group by; sorted by a column.

    `link` is the title and the target of a link from the cells of `workflow`; `colours` are
    those of words in the column `conclusion` or `status`.
    """
    field: Json = {"unit": "none", "noValue": "-", "thresholds": _thresholds(())}
    field["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    overrides = []
    shown = [column for column in columns if column.name]
    for column in shown:
        properties: Json = {"unit": column.unit, "thresholds": _thresholds(column.steps)}
        if column.steps:
            properties["custom__cellOptions"] = {"type": "color-text"}
            properties["color"] = {"mode": "thresholds"}
        if column.unit in {COUNT, "percentunit"}:
            properties["decimals"] = 0
        overrides.append(_override(column.name, **properties))
    if link is not None:
        overrides += [_override("repo", links=[{"title": link[0], "url": link[1]}])]
    if colours is not None:
        words = {
            word: {"color": colour, "index": n} for n, (word, colour) in enumerate(colours.items())
        }
        word = "conclusion" if "conclusion" in labels else "status"
        mapped = [{"type": "value", "options": words}]
        look = {"type": "color-text"}
        overrides += [_override(word, mappings=mapped, custom__cellOptions=look)]
    values = {f"Value #{chr(ord('A') + n)}": column.name for n, column in enumerate(columns)}
    hidden = ["Time", *(value for value, name in values.items() if not name)]
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: n for n, name in enumerate([*labels, *values])},
        "renameByName": {value: name for value, name in values.items() if name},
    }
    body = _panel(
        "table",
        title,
        text,
        field,
        overrides=overrides,
        targets=[
            _target(n, Query(column.expr), instant=True, format="table")
            for n, column in enumerate(columns)
        ],
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "frameIndex": 0,
            "sortBy": [{"displayName": sort, "desc": True}],
        },
    )
    return Panel(24, 9, body)


def sized(width: int, *panels: Panel) -> list[Panel]:
    """The panels, each so wide (a row is `SCREEN`)."""
    return [panel._replace(width=width) for panel in panels]


class Dashboard(NamedTuple):
    """Rows of panels; `variables` are chained: each asks for what the ones before leave."""

    uid: str
    title: str
    description: str
    span: str
    metric: str
    """Whose label values the variables offer."""
    variables: tuple[str, ...]
    rows: Sequence[str | Sequence[Panel]]
    """A text is a heading."""

    def json(self) -> Json:
        """What Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": 41,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": {"from": f"now-{self.span}", "to": "now"},
            "timezone": "browser",
            "links": [_links()],
            "templating": {"list": [_datasource(), *self._variables()]},
            "annotations": {"list": []},
            "panels": list(self._placed()),
        }

    def _variables(self) -> list[Json]:
        made = []
        for n, label in enumerate(self.variables):
            before = ",".join(f'{known}=~"${known}"' for known in self.variables[:n])
            made.append(_variable(label, f"label_values({self.metric}{{{before}}}, {label})"))
        return made

    def _placed(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            if isinstance(row, str):
                body: Json = {"type": "row", "title": row, "collapsed": False, "panels": []}
                placed.append(_at(body, len(placed), 0, y, SCREEN, 1))
                y += 1
                continue
            x = 0
            for panel in row:
                placed.append(_at(panel.body, len(placed), x, y, panel.width, panel.height))
                x += panel.width
            if x != SCREEN:
                raise ValueError(f"a row of {self.title} is {x} wide")
            y += row[0].height
        return placed


def _at(body: Json, known: int, *place: int) -> Json:
    return {"id": known + 1, "gridPos": dict(zip("xywh", place, strict=True)), **body}


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "CI/CD",
        "tags": [TAG],
        "icon": "external link",
        "tooltip": "",
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
    }


def _variable(label: str, query: str) -> Json:
    return {
        "type": "query",
        "name": label,
        "label": label.capitalize(),
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
