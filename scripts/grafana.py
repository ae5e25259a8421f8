"""What Grafana's JSON is made of, and how a dashboard of `scripts/boards/` becomes it.

The kinds of panels are in `scripts/panels.py` and `scripts/tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

GREEN, BLUE, YELLOW, RED = "#009E73", "#56B4E9", "#E69F00", "#D55E00"
PURPLE, LEMON, NAVY = "#CC79A7", "#F0E442", "#0072B2"
GREY, DARK = "#999999", "#666666"
"""Okabe and Ito's palette, which people with any colour vision can tell apart, and greys."""

COUNT = "locale"
"""Grafana's word for a number in full, with its thousands set apart."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "cicd-exporter"
MIN_STEP = "1m"
"""No finer than usual scrapes; `$__rate_interval` is then 4 minutes at least."""
TEAM = "team"
"""The variable of the configuration's own labels: `labels` with a `team`."""
TEAM_LABEL = "label_team"
REPO_INFO = "cicd_repo_info"
SCREEN = 24
"""How wide a row is."""
Steps = Sequence[tuple[float, str]]
"""Thresholds: from which value on which colour; below the first it is green."""


class Query(NamedTuple):
    """PromQL, with `{B` and the like for the variables (`expanded`), and what to call it."""

    expr: str
    legend: str = ""


class Link(NamedTuple):
    """Where a click on a cell leads; the target may have `${__data.fields.LABEL}` of its row."""

    title: str
    url: str

    def json(self) -> Json:
        """It opens beside the dashboard, unless it leads to another one."""
        blank = not self.url.startswith("/d/")
        return {"title": self.title, "url": self.url, "targetBlank": blank}


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


def panel(kind: str, title: str, text: str, field: Json, **rest: Any) -> Json:
    """The body of any panel."""
    overrides = rest.pop("overrides", [])
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": field, "overrides": overrides},
        **rest,
    }


def target(index: int, query: Query, **rest: Any) -> Json:
    """One query of a panel, the first with `index` 0."""
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expanded(query.expr),
        "legendFormat": query.legend,
        **rest,
    }


def thresholds(steps: Steps) -> Json:
    """Which colour a number has."""
    first = [{"color": GREEN, "value": None}]
    return {
        "mode": "absolute",
        "steps": first + [{"color": colour, "value": value} for value, colour in steps],
    }


def override(names: str | Sequence[str], **properties: Any) -> Json:
    """What else applies to a field, or to some, by their names; a dot is written as `__`."""
    matcher: Json = {"id": "byName", "options": names}
    if not isinstance(names, str):
        matcher = {"id": "byNames", "options": {"mode": "include", "names": list(names)}}
    return {
        "matcher": matcher,
        "properties": [{"id": key.replace("__", "."), "value": v} for key, v in properties.items()],
    }


def fixed(colours: Mapping[str, str]) -> list[Json]:
    """Series of these names in these colours."""
    return [
        override(name, color={"mode": "fixed", "fixedColor": colour})
        for name, colour in colours.items()
    ]


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
            "annotations": {"list": [self._alerts()]},
            "panels": list(self._placed()),
        }

    def _variables(self) -> list[Json]:
        """A team is known of a repo, not of its builds: it leaves those repos that are its own."""
        made = []
        for n, name in enumerate(self.variables):
            before = self.variables[:n]
            matchers = [f'{label_of(known)}=~"${known}"' for known in before if known != TEAM]
            metric = self.metric
            if name == TEAM:
                metric = REPO_INFO
            elif name == "repo" and TEAM in before:
                # Builds have no such label, which `.*` matches too and a chosen team does not.
                metric = ""
                matchers[:0] = [f'__name__=~"{REPO_INFO}|{self.metric}"']
                matchers += [f'{label_of(TEAM)}=~"${TEAM}"']
            selector = f"{metric}{{{','.join(matchers)}}}"
            made.append(_variable(name, f"label_values({selector}, {label_of(name)})"))
        return made

    def _alerts(self) -> Json:
        """What fires about what is chosen, and about what has no such label."""
        matchers = "".join(f',{label_of(name)}=~"${name}|"' for name in self.variables)
        return {
            "name": "Alerts",
            "datasource": DATASOURCE,
            "enable": True,
            "iconColor": RED,
            "expr": f'ALERTS{{alertname=~"Cicd.+",alertstate="firing"{matchers}}}',
            "step": MIN_STEP,
            "titleFormat": "{{alertname}}",
            "textFormat": "{{provider}} {{account}} {{repo}} {{workflow}} {{branch}}",
            "tagKeys": "severity",
        }

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


def label_of(variable: str) -> str:
    """The label whose values a variable offers."""
    return TEAM_LABEL if variable == TEAM else variable


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
