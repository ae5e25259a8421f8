"""Writes the tables of `docs/ALERTS.md` from `rules/`: `python scripts/alerts.py`.

What is written by hand there stays; a table is what is between its two markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "rules"
PAGE = ROOT / "docs" / "ALERTS.md"
ALERTS = ("builds", "exporter")
"""The files of alerts, each with a table of its own."""


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of one file, in its order."""
    groups = yaml.safe_load((RULES / f"{name}.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def written(page: str) -> str:
    """The page with its tables as they should be."""
    for name in ALERTS:
        page = _between(page, name, _alerts(rules(name)))
    return _between(page, "recording", _records(rules("recording")))


def _between(page: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    return re.sub(
        f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", lambda _: table, page, flags=re.DOTALL
    )


def _alerts(alerts: Iterable[dict[str, Any]]) -> str:
    return _table(
        ("alert", "severity", "for", "says"),
        (
            (
                f"[{alert['alert']}](runbooks/{alert['alert']}.md)",
                alert["labels"]["severity"],
                alert["for"],
                alert["annotations"]["summary"],
            )
            for alert in alerts
        ),
    )


def _records(records: Iterable[dict[str, Any]]) -> str:
    return _table(("series", ""), ((f"`{r['record']}`", _unit(r["record"])) for r in records))


def _unit(record: str) -> str:
    level, metric, operation = record.split(":")
    if level == "repo":
        return "1"
    if operation.startswith("count"):
        return "pipelines"
    if operation == "recent":
        return "builds in a row"
    if operation.startswith("ratio"):
        return "0 to 1"
    if operation.startswith("increase") and metric.endswith("_sum"):
        return "seconds"
    return "builds" if operation.startswith("increase") else "seconds"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
