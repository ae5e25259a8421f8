"""Writes `dashboards/*.json`, what Grafana shows: `PYTHONPATH=. python scripts/dashboards.py`.

Counts of a panel's whole time range are `increase(...[$__range])`. A bar is the rate times its
width, so that the bars of any width add up to the builds there were. A ratio has no value for
fewer than 5 builds (4.5, as `increase()` estimates), a quantile none where there was no build.

No panel needs the recording rules, since their windows do not follow the time picker. The one
that shows what an alert sees takes the recorded series where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.boards.exporter import INSIDE
from scripts.boards.fleet import FLEET
from scripts.boards.queue import NOW
from scripts.boards.workflow import DETAIL
from scripts.grafana import Dashboard

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"

DASHBOARDS = {"fleet": FLEET, "workflow": DETAIL, "queue": NOW, "exporter": INSIDE}


def written(dashboard: Dashboard) -> str:
    """The file's text."""
    return json.dumps(dashboard.json(), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(written(dashboard))
