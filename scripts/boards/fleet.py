"""The fleet: how all builds do."""

from __future__ import annotations

from scripts.boards.common import (
    BAD,
    BAR,
    CONCLUSIONS,
    DEFAULT,
    DURATION,
    DURATIONS,
    ENDS,
    FAILED,
    FAILURES,
    IN_A_ROW,
    LONGEST,
    MEDIAN,
    ODD,
    PIPELINE,
    QUEUE,
    QUEUES,
    RATE,
    TO_WORKFLOW,
    TOTAL,
    WAITED,
    WORKFLOW,
    broken,
    count,
    failure_rate,
    latest,
    newest,
    quantile,
)
from scripts.grafana import Column, Dashboard, Query, dots, gauges, stat, table

FLEET = Dashboard(
    uid="cicd-fleet",
    title="CI/CD / Fleet overview",
    description="How all builds do: how many, how many fail, how long they take and wait.",
    span="24h",
    metric="cicd_build_last_completed_timestamp_seconds",
    variables=PIPELINE,
    rows=[
        [
            TOTAL,
            FAILURES,
            stat(
                "Broken branches",
                "Pipelines of main, master or trunk that have failed and not passed since, now.",
                f"count({broken(DEFAULT)}) or vector(0)",
                steps=((1, BAD),),
            ),
            stat(
                "CI system errors",
                "Builds that the CI system spoiled, not their own steps.",
                count('cicd_builds_total{B, conclusion="error"}') + " or vector(0)",
                steps=((1, ODD),),
            ),
            MEDIAN,
            LONGEST,
            WAITED,
            stat(
                "Not finished",
                "Builds that are queued, waiting or in progress now.",
                "sum(cicd_builds_active{B}) or vector(0)",
            ),
        ],
        [
            ENDS,
            dots(
                "Failure rate by account",
                "Share that failed or timed out, at each point with 5 builds or more.",
                "percentunit",
                Query(failure_rate("account", window=BAR), "{{account}}"),
                steps=RATE,
            ),
        ],
        [DURATIONS, QUEUES],
        [
            table(
                "Workflows",
                "Each workflow in the time range; the failure rate is that of 5 builds at least.",
                WORKFLOW,
                Column("builds", count("cicd_builds_total{B}", *WORKFLOW)),
                Column("failed", count(f"cicd_builds_total{{B, {FAILED}}}", *WORKFLOW)),
                Column("failure rate", failure_rate(*WORKFLOW), "percentunit", RATE),
                Column("re-runs", count("cicd_build_retries_total{B}", *WORKFLOW)),
                Column("duration p50", quantile(0.5, DURATION, *WORKFLOW), "s"),
                Column("duration p95", quantile(0.95, DURATION, *WORKFLOW), "s"),
                Column("queue p95", quantile(0.95, QUEUE, *WORKFLOW), "s"),
                sort="failed",
                link=TO_WORKFLOW,
            ),
        ],
        [
            table(
                "Broken default branches",
                "Pipelines of main, master or trunk that have failed and not passed since; their "
                "latest build may have been cancelled or skipped.",
                (*PIPELINE, "conclusion"),
                Column("", f"{latest()} and on ({', '.join(PIPELINE)}) {broken(DEFAULT)}"),
                Column("failed in a row", broken(DEFAULT), steps=IN_A_ROW),
                Column(
                    "passed ago",
                    f"time() - {newest('cicd_build_last_passed_timestamp_seconds')} "
                    f"and {broken(DEFAULT)}",
                    "s",
                ),
                sort="failed in a row",
                link=TO_WORKFLOW,
                colours=CONCLUSIONS,
            )._replace(width=16, height=8),
            gauges(
                "Builds by provider",
                "Build attempts that completed in the time range.",
                Query(count("cicd_builds_total{B}", "provider"), "{{provider}}"),
            ),
        ],
    ],
)
