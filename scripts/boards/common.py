"""What more than one dashboard has: colours, labels, queries and panels."""

from __future__ import annotations

from scripts.grafana import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    LEMON,
    PURPLE,
    RED,
    YELLOW,
    Query,
    bars,
    dots,
    stat,
)

CONCLUSIONS = {
    "passed": GREEN,
    "failed": RED,
    "timeout": YELLOW,
    "error": PURPLE,
    "partial": LEMON,
    "cancelled": GREY,
    "skipped": DARK,
    "retried": BLUE,
}
STATUSES = {"in_progress": BLUE, "queued": YELLOW, "waiting": PURPLE}
TRIGGERS = {
    "push": BLUE,
    "merge_request": GREEN,
    "cron": GREY,
    "web": YELLOW,
    "api": PURPLE,
    "other": DARK,
}
QUANTILES = {"p50": BLUE, "p95": YELLOW}
BAD, ODD = RED, YELLOW

PIPELINE = ("provider", "account", "repo", "workflow", "branch")
WORKFLOW = PIPELINE[:-1]
JOB = ("repo", "workflow", "job_name")
DEFAULT = 'branch=~"main|master|trunk"'
FAILED = 'conclusion=~"failed|timeout"'
JUDGED = 'conclusion=~"passed|partial|failed|timeout"'
BAR = "$__rate_interval"
"""The window of a bar or a point of a graph."""
ALL = "$__range"


def by(*labels: str) -> str:
    """The grouping; without labels none."""
    return f"by ({', '.join(labels)})" if labels else ""


def count(metric: str, *labels: str, window: str = ALL) -> str:
    """How many in the window."""
    return f"sum {by(*labels)} (increase({metric}[{window}]))"


def per_bar(metric: str, *labels: str) -> str:
    """How many in each bar."""
    return f"sum {by(*labels)} (rate({metric}[{BAR}])) * $__interval_ms / 1000"


def failure_rate(*labels: str, window: str = ALL) -> str:
    """Share of the builds that ended in failed or timeout, of 5 builds at least."""
    failed = count(f"cicd_builds_total{{B, {FAILED}}}", *labels, window=window)
    return (
        f"{failed} / ({count(f'cicd_builds_total{{B, {JUDGED}}}', *labels, window=window)} >= 4.5)"
    )


def quantile(q: float, metric: str, *labels: str, window: str = ALL) -> str:
    """A quantile of a histogram; without a value where nothing was observed."""
    name, _, matchers = metric.partition("{")
    buckets = count(f"{name}_bucket{{{matchers}", "le", *labels, window=window)
    return f"histogram_quantile({q}, {buckets}) >= 0"


def quantiles(metric: str) -> tuple[Query, Query]:
    """Median and 95th percentile of each point."""
    return (
        Query(quantile(0.5, metric, window=BAR), "p50"),
        Query(quantile(0.95, metric, window=BAR), "p95"),
    )


def newest(metric: str) -> str:
    """A gauge of each pipeline, also while its exporter moves to another instance."""
    return f"max {by(*PIPELINE)} ({metric}{{B}})"


def latest() -> str:
    """How the latest build of each pipeline ended."""
    return f"max {by(*PIPELINE, 'conclusion')} (cicd_build_last_conclusion{{B}}) == 1"


def broken(*matchers: str) -> str:
    """The pipelines that have failed since they last passed, and how often in a row.

    Builds that were cancelled or skipped in between neither heal nor hide it.
    """
    selector = ", ".join(("B", *matchers))
    return f"max {by(*PIPELINE)} (cicd_build_consecutive_failures{{{selector}}}) >= 1"


DURATION = 'cicd_build_duration_seconds{B, conclusion="passed"}'
QUEUE = "cicd_build_queue_seconds{B}"
OLDEST = "cicd_builds_oldest_active_timestamp_seconds"
LATE = ((1800, ODD), (14400, BAD))
"""Seconds: what CicdBuildQueuedTooLong and CicdBuildStuck are about."""
RATE = ((0.2, ODD), (0.5, BAD))
"""The second is CicdBuildFailureRateHigh's."""

IN_A_ROW = ((1, ODD), (3, BAD))
LEFT = "cicd_exporter_api_rate_limit_remaining{A} / (cicd_exporter_api_rate_limit{A} > 0)"
OURS = "and on (job, instance) cicd_exporter_build_info"

TO_WORKFLOW = (
    "Workflow detail",
    "/d/cicd-workflow?${__url_time_range}&var-datasource=${datasource}"
    + "".join(f"&var-{label}=${{__data.fields.{label}:percentencode}}" for label in WORKFLOW),
)


# -- panels that more than one dashboard has

TOTAL = stat(
    "Builds",
    "Build attempts that completed in the time range.",
    count("cicd_builds_total{B}"),
)
FAILURES = stat(
    "Failure rate",
    "Share that ended in failed or timeout, of those that passed, partly or not; of 5 builds at "
    "least.",
    failure_rate(),
    "percentunit",
    steps=RATE,
    none="too few",
)
MEDIAN = stat(
    "Median duration",
    "Half of the passed builds took no longer from start to completion.",
    quantile(0.5, DURATION),
    "s",
    none="no builds",
)
LONGEST = stat(
    "Duration, p95",
    "19 of 20 passed builds took no longer from start to completion.",
    quantile(0.95, DURATION),
    "s",
    none="no builds",
)
WAITED = stat(
    "Queue, p95",
    "19 of 20 builds waited no longer from creation to start; first attempts only.",
    quantile(0.95, QUEUE),
    "s",
    none="no builds",
)
ENDS = bars(
    "Builds by conclusion",
    "Build attempts that completed in each bar.",
    Query(per_bar("cicd_builds_total{B}", "conclusion"), "{{conclusion}}"),
    colours=CONCLUSIONS,
)
DURATIONS = dots(
    "Duration of passed builds",
    "From start to completion. Failed builds are left out, since they end early.",
    "s",
    *quantiles(DURATION),
    colours=QUANTILES,
)
QUEUES = dots(
    "Time in the queue",
    "From creation to start, first attempts only.",
    "s",
    *quantiles(QUEUE),
    colours=QUANTILES,
)
