"""The fleet: how all builds do."""

from __future__ import annotations

from scripts.boards.common import (
    BAD,
    CONCLUSIONS,
    DURATIONS,
    ENDS,
    FAILURES,
    IN_A_ROW,
    LONGEST,
    MEDIAN,
    ODD,
    QUEUES,
    RATE,
    TOTAL,
    WAITED,
    failing_jobs,
)
from scripts.boards.links import TO_BUILDS, TO_LOG, TO_WORKFLOW, addresses
from scripts.boards.queries import (
    BAR,
    BROKEN_DEFAULT,
    COMPLETED,
    DURATION,
    FAILED,
    PIPELINE,
    QUEUE,
    STREAK,
    VARIABLES,
    WORKFLOW,
    active,
    count,
    failure_rate,
    latest,
    newest,
    on,
    quantile,
)
from scripts.grafana import Dashboard, Query
from scripts.panels import dots, gauges, stat
from scripts.tables import Column, table

FLEET = Dashboard(
    uid="cicd-fleet",
    title="CI/CD / Fleet overview",
    description="How all builds do: how many, how many fail, how long they take and wait.",
    span="24h",
    metric=COMPLETED,
    variables=VARIABLES,
    rows=[
        [
            TOTAL,
            FAILURES,
            stat(
                "Broken branches",
                "Pipelines of default branches that have failed and not passed since, now.",
                f"count({BROKEN_DEFAULT}) or vector(0)",
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
                active() + " or vector(0)",
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
                *addresses(f"{COMPLETED}{{B}}", WORKFLOW, TO_LOG, name="log"),
                sort="failed",
                link=TO_WORKFLOW,
            ),
        ],
        [
            table(
                "Broken default branches",
                "Pipelines of default branches that have failed and not passed since; their "
                "latest build may have been cancelled or skipped. A default branch that is not "
                "known is main, master or trunk.",
                (*PIPELINE, "conclusion"),
                Column("", f"{latest()} and {on(*PIPELINE)} {BROKEN_DEFAULT}"),
                Column("failed in a row", BROKEN_DEFAULT, steps=IN_A_ROW),
                Column(
                    "passed ago",
                    f"time() - {newest('cicd_build_last_passed_timestamp_seconds')} "
                    f"and {BROKEN_DEFAULT}",
                    "s",
                ),
                *addresses(f"{STREAK}{{B}}", PIPELINE, TO_BUILDS, rows=BROKEN_DEFAULT),
                sort="failed in a row",
                link=TO_WORKFLOW,
                colours=CONCLUSIONS,
            )._replace(height=8),
        ],
        [
            failing_jobs(
                "Jobs that break default branches",
                "Of accounts with jobs: true. Jobs of broken default branches that have failed "
                "and not passed since.",
                rows=BROKEN_DEFAULT,
            )._replace(width=16, height=8),
            gauges(
                "Builds by provider",
                "Build attempts that completed in the time range.",
                Query(count("cicd_builds_total{B}", "provider"), "{{provider}}"),
            ),
        ],
    ],
)
