"""What more than one dashboard has: colours, thresholds and panels."""

from __future__ import annotations

from scripts.boards.links import TO_BUILDS, TO_WORKFLOW, addresses
from scripts.boards.queries import (
    DURATION,
    JOB_STREAK,
    PIPELINE,
    QUEUE,
    count,
    failure_rate,
    newest,
    on,
    per_bar,
    quantile,
    quantiles,
)
from scripts.grafana import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    LEMON,
    PURPLE,
    RED,
    YELLOW,
    Panel,
    Query,
)
from scripts.panels import bars, dots, stat
from scripts.tables import Column, table

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

LATE = ((1800, ODD), (14400, BAD))
"""Seconds: what CicdBuildQueuedTooLong and CicdBuildStuck are about."""
RATE = ((0.2, ODD), (0.5, BAD))
"""The second is CicdBuildFailureRateHigh's."""

IN_A_ROW = ((1, ODD), (3, BAD))


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


def failing_jobs(title: str, text: str, *, rows: str = "") -> Panel:
    """Jobs that have failed and not passed since, as a table; `rows` says of which pipelines."""
    labels = (*PIPELINE, "job_name")
    only = f" and {on(*PIPELINE)} ({rows})" if rows else ""
    streaks = f"({newest(JOB_STREAK, *labels)} >= 1{only})"
    return table(
        title,
        text,
        labels,
        Column("failed in a row", streaks, steps=IN_A_ROW),
        Column(
            "completed ago",
            f"time() - {newest('cicd_job_last_completed_timestamp_seconds', *labels)} "
            f"and {streaks}",
            "s",
        ),
        *addresses(f"{JOB_STREAK}{{B}}", labels, TO_BUILDS, rows=streaks),
        sort="failed in a row",
        link=TO_WORKFLOW,
    )
