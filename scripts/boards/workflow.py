"""One workflow in detail: its builds and jobs."""

from __future__ import annotations

from scripts.boards.common import (
    CONCLUSIONS,
    DURATIONS,
    ENDS,
    FAILED,
    FAILURES,
    IN_A_ROW,
    JOB,
    LONGEST,
    MEDIAN,
    PIPELINE,
    QUEUES,
    RATE,
    TOTAL,
    TRIGGERS,
    WAITED,
    count,
    failure_rate,
    latest,
    newest,
    per_bar,
    quantile,
)
from scripts.grafana import Column, Dashboard, Query, bars, dots, lines, stat, table

DETAIL = Dashboard(
    uid="cicd-workflow",
    title="CI/CD / Workflow detail",
    description="How the builds and jobs of the chosen workflows and branches do.",
    span="24h",
    metric="cicd_build_last_completed_timestamp_seconds",
    variables=PIPELINE,
    rows=[
        [
            TOTAL,
            FAILURES,
            stat(
                "Failed in a row",
                "Failed, timeout or error since the last passed build; of the worst pipeline.",
                "max(cicd_build_consecutive_failures{B})",
                steps=IN_A_ROW,
            ),
            stat(
                "Since last pass",
                "Time since the latest passed build of any chosen pipeline completed.",
                "time() - max(cicd_build_last_passed_timestamp_seconds{B})",
                "s",
                none="never",
            ),
            MEDIAN,
            LONGEST,
            WAITED,
            stat(
                "Re-runs",
                "Completed attempts beyond the first.",
                count("cicd_build_retries_total{B}"),
            ),
        ],
        [
            ENDS,
            dots(
                "Failure rate of the last 6 hours",
                "What the alert CicdBuildFailureRateHigh sees, of 5 builds or more; the recorded "
                "series where the recording rules are loaded.",
                "percentunit",
                Query(
                    f"{newest('pipeline:cicd_builds_failed_per_builds:ratio_increase6h')} "
                    f"or {failure_rate(*PIPELINE, window='6h')}",
                    "{{repo}} {{workflow}} {{branch}}",
                ),
                steps=RATE,
            ),
        ],
        [
            DURATIONS,
            lines(
                "Duration of the latest build",
                "Of each pipeline, whatever its conclusion.",
                "s",
                Query(
                    newest("cicd_build_last_duration_seconds"), "{{repo}} {{workflow}} {{branch}}"
                ),
            ),
        ],
        [
            QUEUES,
            bars(
                "Builds by trigger",
                "Build attempts that completed in each bar.",
                Query(per_bar("cicd_builds_total{B}", "trigger"), "{{trigger}}"),
                colours=TRIGGERS,
            ),
        ],
        [
            table(
                "Latest builds",
                "The latest completed build of each pipeline, how long ago it completed, and how "
                "long ago the latest passed one did.",
                (*PIPELINE, "conclusion"),
                Column("", latest()),
                Column(
                    "completed ago",
                    f"time() - {newest('cicd_build_last_completed_timestamp_seconds')}",
                    "s",
                ),
                Column(
                    "passed ago",
                    f"time() - {newest('cicd_build_last_passed_timestamp_seconds')}",
                    "s",
                ),
                Column("duration", newest("cicd_build_last_duration_seconds"), "s"),
                Column(
                    "failed in a row", newest("cicd_build_consecutive_failures"), steps=IN_A_ROW
                ),
                sort="failed in a row",
                colours=CONCLUSIONS,
            ),
        ],
        "Jobs, of accounts with jobs: true",
        [
            bars(
                "Jobs by conclusion",
                "Job attempts that completed in each bar.",
                Query(per_bar("cicd_jobs_total{B}", "conclusion"), "{{conclusion}}"),
                colours=CONCLUSIONS,
            ),
            table(
                "Jobs",
                "Each job in the time range; durations are those of passed ones.",
                JOB,
                Column("jobs", count("cicd_jobs_total{B}", *JOB)),
                Column("failed", count(f"cicd_jobs_total{{B, {FAILED}}}", *JOB)),
                Column(
                    "duration p95",
                    quantile(0.95, 'cicd_job_duration_seconds{B, conclusion="passed"}', *JOB),
                    "s",
                ),
                Column("queue p95", quantile(0.95, "cicd_job_queue_seconds{B}", *JOB), "s"),
                sort="failed",
            )._replace(width=12, height=8),
        ],
    ],
)
