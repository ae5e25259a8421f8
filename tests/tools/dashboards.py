"""The dashboards as files, and what Grafana does with their queries and links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from scripts import dashboards as made

FILES = sorted(made.FOLDER.glob("*.json"))
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in FILES}


def panels(*kinds: str) -> list[Any]:
    """The panels of some kinds, or of all, each as a parameter of a test."""
    return [
        pytest.param(panel, id=f"{name}: {panel['title']}")
        for name, dashboard in DASHBOARDS.items()
        for panel in dashboard["panels"]
        if panel["type"] != "row" and (not kinds or panel["type"] in kinds)
    ]


PANELS = panels()
TABLES = panels("table")
OF_A_FLEET = {"Exporters", "Accounts of each", "Time of the database, p95"}
"""Panels about several exporters that share a state."""
QUERIES = [
    target["expr"]
    for dashboard in DASHBOARDS.values()
    for panel in dashboard["panels"]
    for target in panel.get("targets", ())
]
VARIABLES = [
    pytest.param(variable, id=f"{name}: {variable['name']}")
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]
ALERTS = [
    pytest.param(annotation, dashboard, id=name)
    for name, dashboard in DASHBOARDS.items()
    for annotation in dashboard["annotations"]["list"]
]


def filled(query: str, **chosen: str) -> str:
    """The query as Grafana sends it where everything is chosen, but what `chosen` says."""
    of_time = {"__range": "60s", "__rate_interval": "15s"}
    of_time |= {"__interval": "5s", "__interval_ms": "5000"}
    return re.sub(r"\$([a-z_]\w*)", lambda m: of_time.get(m[1]) or chosen.get(m[1], ".*"), query)


def links_of(panel: Any) -> Iterator[tuple[str, str]]:
    """Each link of a panel by its title."""
    for override in panel["fieldConfig"]["overrides"]:
        for shown in override["properties"]:
            if shown["id"] == "links":
                yield from ((link["title"], link["url"]) for link in shown["value"])


def clicked(url: str, address: str, **labels: str) -> str:
    """Where a link leads in a row or series with these labels and this address.

    As Grafana fills it in: `percentencode` leaves letters, digits and `-_.~` as they are, and a
    label that a row does not have is nothing.
    """
    known = {"value.raw:raw": address, "field.labels.external_url:raw": address}
    known |= {f"data.fields.{name}:percentencode": quote(v, "") for name, v in labels.items()}
    known |= {f"field.labels.{name}:percentencode": quote(v, "") for name, v in labels.items()}
    return re.sub(r"\$\{__([^}]+)\}", lambda found: known.get(found[1], ""), url)
