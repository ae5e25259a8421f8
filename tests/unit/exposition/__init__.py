"""Expositions of books and accounts that a test makes up, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.samples import Sample

from exporter.http import ApiStats, RateLimit
from exporter.ledger.rows import Findings, Labels, Vector
from exporter.metrics.buckets import POLL_BUCKETS, Buckets
from exporter.metrics.families import Family
from exporter.model import Job, Status
from exporter.outputs.prometheus import AccountView, Exposition, Format, Health
from exporter.outputs.prometheus.text import Writer, encode_labels, head
from exporter.view.series_view import SeriesView
from tests.tools.scripted import build
from tests.tools.views import ViewWithRows, a_view, completed, job_done, learn

FORMATS: tuple[Format, ...] = ("text", "openmetrics")
HOSTILE = [
    "",
    "\0",
    "line\nbreak\r\n",
    'quote" back\\slash \\n \\" \\\\',
    "100 % {} %s",
    "a\ud800b",
    "\u202eright to left",
    "\u2028\x85",
    '",le="1"} 7\n# EOF\n',
    "é🚀" * 50,
    "x" * 10_000,
]


class Polled(msgspec.Struct):
    """What the poller shows of a repo."""

    last_success: float
    interval: float
    default_branch: str | None = None


Values = Mapping[Family, Mapping[Labels, Vector]]
Samples = Counter[tuple[str, tuple[tuple[str, str], ...], str]]
"""Name, labels and value of each."""


def _told(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...], str]:
    return sample.name, tuple(sorted(sample.labels.items())), str(sample.value or 0.0)


def parsed(form: Format, body: bytes) -> dict[str, tuple[str, str, Samples]]:
    """Type, help and samples of each family, as prometheus-client's strict parsers read them."""
    read: Any = read_openmetrics if form == "openmetrics" else read_text
    return {
        family.name: (
            family.type,
            family.documentation,
            Counter(map(_told, family.samples)),
        )
        for family in read(body.decode("utf-8", "strict"))
    }


def ours(form: Format, body: bytes) -> dict[str, tuple[str, str, Samples]]:
    return {name: x for name, x in parsed(form, body).items() if name.startswith("cicd_")}


def written(values: Values, buckets: Buckets, form: Format, *, shared: int = 0) -> bytes:
    """What is written of values whose first labels, so many, are common to a group."""
    body = b""
    for family, series in values.items():
        most = min(shared, len(family.labels))
        writer = Writer(family, form, bounds=buckets.of(family), shared=most)
        body += head(family, form)
        for labels, vector in series.items():
            group = encode_labels(family.labels[:most], labels[:most])
            (row,) = writer.encode([(group, [(labels[most:], vector, None)])])
            body += row
    return body + (b"# EOF\n" if form == "openmetrics" else b"")


def account_view(text: str = "acme", **values: Any) -> AccountView:
    """An account of which everything is known; `text` is every free label."""
    stats = ApiStats()
    stats.requests.update({"200": 5, "error": 1})
    stats.errors["timeout"] += 2
    stats.rate_limits[text] = RateLimit(limit=5000.0, remaining=4999.0, reset_at=1.7e9)
    stats.clock_skew = -2.5
    known: dict[str, Any] = {
        "provider": "github",
        "account": text,
        "stats": stats,
        "up": True,
        "budget_exhausted": False,
        "rejected": 3,
        "polls": (*map(float, range(len(POLL_BUCKETS) + 1)), 12.5),
        "repos": {text: Polled(1.7e9, 60.0), f"{text}/2": Polled(0.0, 900.0)},
        "states": lambda: {"ok": 1, "pending": 1},
    }
    known["page_of"] = lambda repo: f"https://ci.example/{repo}"
    return AccountView(**known | values)


def lively(*texts: str) -> ViewWithRows:
    """A view that knows builds and jobs with these texts for names."""
    view = a_view()
    for text in texts:
        names: dict[str, Any] = {"repo": text, "workflow": text, "trigger": text}
        waiting = Job(id="1", name=text, status=Status.QUEUED)
        learn(view, Findings(active=[build(f"{text}1", **names, jobs=(waiting,))]))
        learn(view, completed(**names, conclusion=text or None))
        learn(view, completed(**names, attempt=2))
        learn(view, job_done(build("1", **names), name=text))
    return view


def exposition(
    view: SeriesView,
    views: Iterable[AccountView] = (),
    health: Health | None = None,
    **options: Any,
) -> Exposition:
    """One that asks for the `views` anew each time."""
    return Exposition(view, lambda: views, health or Health(), **options)


def values(of: Exposition, family: Family) -> dict[Labels, float]:
    """The samples of a family, by the values of their labels, in a text scrape."""
    return {
        tuple(sample.labels[name] for name in family.labels): sample.value
        for known in read_text(of.text().decode())
        for sample in known.samples
        if sample.name == family.name
    }
