"""`docs/METRICS.md`, made from the table of families: `python -m exporter.metrics.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from exporter.metrics import exemplars
from exporter.metrics import families as f
from exporter.metrics import worker_families as w
from exporter.metrics.families import Family
from exporter.metrics.labels import MAX_BYTES
from exporter.model import ACTIVE, CONCLUSIONS, OTHER, TRIGGERS


def _codes(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


LABELS = {
    "provider": ("the CI system: `github` `azure_devops` `travis` and so on", ""),
    "account": ("`name` of the account in the configuration", ""),
    "repo": ("the repository; of poll metrics the polled entry of `repos`", "vcs.repository.name"),
    "workflow": (
        "the workflow, pipeline or job path; empty where there is none",
        "cicd.pipeline.name",
    ),
    "branch": (
        "one that `metrics.branches` has, the default, or `other tag pull_request merge_queue`",
        "vcs.ref.head.name",
    ),
    "trigger": (f"{_codes(TRIGGERS)}, a documented native word, or `{OTHER}`", ""),
    "status": (_codes(ACTIVE), "cicd.pipeline.run.state"),
    "conclusion": (
        f"{_codes(CONCLUSIONS)}, a documented native word, or `{OTHER}`",
        "cicd.pipeline.result",
    ),
    "job_name": ("the job", "cicd.pipeline.task.name"),
    "state": (_codes(f.REPO_STATES), ""),
    "code": ("an HTTP status code, or `error` where no answer came", ""),
    "reason": (_codes(f.API_ERRORS.zeros), ""),
    "field": (
        f"of missing values {_codes(f.MISSING.zeros)}; of unmapped ones {_codes(f.UNMAPPED.zeros)}",
        "",
    ),
    "kind": (_codes(f.ANOMALIES.zeros), ""),
    "resource": ("what the provider limits, in its own words; empty where it has none", ""),
    "metric": ("a build or job family", ""),
    "number": ("the build's number; empty where it has none", ""),
    "attempt": ("which attempt of it", ""),
    "commit": ("the full hash of what was built", "vcs.ref.head.revision"),
    "triggered_by": ("who began it, as the provider calls them", ""),
    "url": ("an address at the provider; empty where it is not known, or longer than a label", ""),
    "default_branch": ("the default branch; empty where nothing tells it", ""),
    "external_url": ("`web.external_url`", ""),
    "change": (_codes(w.LEASE_CHANGES.zeros), ""),
    "step": (_codes(w.SECONDS.zeros), ""),
    "version": ("version of the exporter", ""),
    "revision": ("commit that it was built from; empty if not known", ""),
    "python_version": ("version of Python", ""),
}
"""The values of each label, and the OpenTelemetry attribute that says the same."""

WORDS = {
    "passed": "success",
    "failed": "failure",
    "cancelled": "cancellation",
    "timeout": "timeout",
    "skipped": "skip",
    "retried": "retried (custom)",
    "partial": "partial (custom)",
    "error": "error",
    "queued": "pending",
    "waiting": "waiting (custom)",
    "in_progress": "executing",
}
"""OpenTelemetry's words for ours, of `cicd.pipeline.result` and `cicd.pipeline.run.state`."""

_INTRODUCTION = f"""\
# Metrics

Made from `exporter/metrics/families.py` by `python -m exporter.metrics.reference`: change that.

Builds are polled on a timer. A scrape shows what the polls have found so far and never waits for
a provider; `{f.LAST_SUCCESS.name}` tells how old that is.

*B* stands for the labels {_codes(f.PIPELINE)}.

What *persists* goes on after a restart, the rest starts with the process. A new series of a
build or job counter or histogram shows 0 for `metrics.zero_hold` before its first increment, so
that `increase()` sees it.
"""

_EXEMPLARS = f"""\
## Exemplars

In OpenMetrics and protobuf the last build of each duration bucket, and of the counters
`{f.BUILDS.name}` and `{f.JOBS.name}`, is an exemplar: its labels {_codes(exemplars.LABELS)} are
the build's number, and the id that its address is made of, where that is another. Prometheus keeps
them with `--enable-feature=exemplar-storage`.
"""

_OF_A_WORKER = f"""\
## One of several exporters

Where several exporters share a state in PostgreSQL ([SCALE.md](SCALE.md)), all of the above is the
same whichever of them answers, but `process_*` and `python_info` are not there. `/metrics/worker`,
below `web.telemetry_path`, has them, and {_codes(x.name for x in (f.BUILD_INFO, f.RELOAD_OK))}
`{f.RELOAD_TIME.name}` `{f.STATE_OK.name}` of this one, and:
"""

_TOO_MANY = f"""\
## When there are too many series

The build and job families never have more than `metrics.series_limit` samples. A tenth of it (of
a small limit up to a quarter, but not more than 1000) is reserved. When the rest is used up, what
needs a new series is counted with `branch="{OTHER}"` (and `job_name="{OTHER}"`) of its workflow;
when that has no room either, in the catch-all of its account, where every label but `conclusion`
is `{OTHER}`. So sums stay right; a histogram that finds no room even there is refused.
`{f.SERIES_DROPPED.name}` counts both, `{f.SERIES.name}` says which families are large.

- Unfinished builds and jobs are counted where their kind folds. `cicd_build_last_*` and
  `{f.STREAK.name}` are not shown of builds that were folded: the latest of several
  pipelines would say nothing. Nor are `{f.JOB_STREAK.name}` and
  `{f.JOB_LAST_COMPLETED.name}` of jobs that were.
- What was folded stays folded, and what has series of its own keeps them, over restarts and
  reloads too. A pipeline that found no room for a series takes no new ones. Once a branch went to
  `branch="{OTHER}"`, all new branches of the workflow do; once a pipeline went to the catch-all,
  all new pipelines of the account do, unless their workflow has a branch `{OTHER}`.
- A pipeline without a build for `state.retention` goes, and when it comes back it is a new one.
  So do the gauges of a job that has not ended for so long.
  Its room is for what is new where nothing was folded; the rest opens again when its `{OTHER}`
  series go in the same way, or when the limit is raised.
- A raised limit lets in what was folded, each from its next build on. Its series start at 0, and
  those of `{OTHER}` keep what they have counted.
- A lowered limit leaves what is stored as it is, but hides the pipelines idle for longest, until
  what is kept for folding is free. Their new builds fold. Raise the limit to see them again.
  An account that is configured again and does not fit beside the others does the same.
"""

_GROUPS = {
    "Builds": "cicd_build",
    "Jobs": "cicd_job",
    "Repos": "cicd_repo",
    "The exporter": "cicd_exporter",
}


def reference() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    heads = ("metric", "type", "labels", "meaning", "persists", "OpenTelemetry")
    for title, prefix in _GROUPS.items():
        rows = [_row(family) for family in f.FAMILIES if family.name.startswith(prefix)]
        parts.append(f"## {title}\n\n{_table(heads, rows)}")
    parts.append(_EXEMPLARS)
    parts.append("Beside them are the `process_*` and `python_info` metrics.\n")
    rows = [_row(family) for family in w.WORKER_FAMILIES]
    parts.append(f"{_OF_A_WORKER}\n{_table(heads, rows)}")
    parts.append(_TOO_MANY)
    labels = [(_codes([name]), values, attribute) for name, (values, attribute) in LABELS.items()]
    parts.append(
        f"## Labels\n\nA value is UTF-8 text of at most {MAX_BYTES} bytes without control"
        " characters; a longer one is cut\nand ends in a hash. What is not known is empty.\n\n"
        + _table(("label", "values", "OpenTelemetry"), labels)
    )
    words = [(_codes([word]), WORDS[word]) for word in (*CONCLUSIONS, *ACTIVE)]
    parts.append(_table(("conclusion or status", "OpenTelemetry"), words))
    return "\n".join(parts)


def data() -> dict[str, list[dict[str, object]]]:
    """The same for programs: `docs/COMMANDS.md` says what the members are."""
    return {
        "metrics": [
            {
                "name": family.name,
                "type": family.kind,
                "labels": list(family.labels),
                "help": family.help,
                "persists": family.persistent,
                "buckets": family.buckets,
                "opentelemetry": family.otel,
            }
            for family in (*f.FAMILIES, *w.WORKER_FAMILIES)
        ],
        "labels": [
            {"name": name, "values": values, "opentelemetry": attribute}
            for name, (values, attribute) in LABELS.items()
        ],
    }


def _row(family: Family) -> tuple[str, ...]:
    labels = family.labels
    if labels[: len(f.PIPELINE)] == f.PIPELINE:
        own = _codes(labels[len(f.PIPELINE) :])
        shown = f"*B* {own}".strip()
    else:
        shown = _codes(labels + (("label_*",) if family is f.REPO_INFO else ()))
    persists = "yes" if family.persistent else ""
    return (_codes([family.name]), family.kind, shown, family.help, persists, family.otel)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("  ", " ") for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(reference())
