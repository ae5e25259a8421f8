"""Tables: a row for each set of labels, with numbers of several queries and links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scripts.grafana import (
    COUNT,
    Json,
    Link,
    Panel,
    Query,
    Steps,
    override,
    panel,
    target,
    thresholds,
)

OPEN = "open"
"""The text of a cell that is a link."""


class Column(NamedTuple):
    """One column of numbers in a table; without a name it only brings its labels."""

    name: str
    expr: str
    unit: str = COUNT
    steps: Steps = ()


class Address(NamedTuple):
    """A column of links in a table, and one query.

    The query has one label more than the rows, an address; `${__value.raw:raw}` is that in
    a link. A row without one has no link, and a table without any has no such column.
    """

    name: str
    label: str
    expr: str
    links: Sequence[Link]


def table(  # noqa: PLR0913 - the columns of a table of panels
    title: str,
    text: str,
    labels: Sequence[str],
    *columns: Column | Address,
    sort: str,
    link: Link | None = None,
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """A row for each set of `labels`, which all queries group by; sorted by a column.

    `link` is one from the cells of `repo`; `colours` are those of words in the column
    `conclusion` or `status`.
    """
    field: Json = {"unit": "none", "noValue": "-", "thresholds": thresholds(())}
    field["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    # As they are, and not as the numbers that some look like: links are made of what is shown.
    overrides = [override(labels, unit="string", noValue="")]
    if link is not None:
        overrides += [override("repo", links=[link.json()])]
    if colours is not None:
        words = {
            word: {"color": colour, "index": n} for n, (word, colour) in enumerate(colours.items())
        }
        word = "conclusion" if "conclusion" in labels else "status"
        mapped = [{"type": "value", "options": words}]
        look = {"type": "color-text"}
        overrides += [override(word, mappings=mapped, custom__cellOptions=look)]
    names: dict[str, str] = {}
    for n, column in enumerate(columns):
        value = f"Value #{chr(ord('A') + n)}"
        if isinstance(column, Column):
            names[value] = column.name
        else:
            names |= {value: "", column.label: column.name}
        if column.name:
            overrides.append(_column(column))
    hidden = ["Time", *(field for field, name in names.items() if not name)]
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: n for n, name in enumerate([*labels, *names])},
        "renameByName": {field: name for field, name in names.items() if name},
    }
    body = panel(
        "table",
        title,
        text,
        field,
        overrides=overrides,
        targets=[
            target(n, Query(column.expr), instant=True, format="table")
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


def _column(column: Column | Address) -> Json:
    """How its cells look."""
    if isinstance(column, Address):
        text = {"pattern": ".+", "result": {"text": OPEN, "index": 0}}
        return override(
            column.name,
            unit="string",
            noValue="",
            mappings=[{"type": "regex", "options": text}],
            links=[link.json() for link in column.links],
        )
    properties: Json = {"unit": column.unit, "thresholds": thresholds(column.steps)}
    if column.steps:
        properties["custom__cellOptions"] = {"type": "color-text"}
        properties["color"] = {"mode": "thresholds"}
    if column.unit in {COUNT, "percentunit"}:
        properties["decimals"] = 0
    return override(column.name, **properties)
