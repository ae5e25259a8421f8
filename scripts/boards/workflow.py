"""One workflow in detail: its builds and jobs."""

from __future__ import annotations

from scripts.boards.common import (
    CONCLUSIONS,
    DURATIONS,
    ENDS,
    FAILURES,
    IN_A_ROW,
    LONGEST,
    MEDIAN,
    QUEUES,
    RATE,
    TOTAL,
    TRIGGERS,
    WAITED,
    failing_jobs,
)
from scripts.boards.links import FROM_HISTORY, TO_BUILDS, TO_LOG, addressed, addresses
from scripts.boards.queries import (
    COMPLETED,
    FAILED,
    JOB,
    PIPELINE,
    STREAK,
    VARIABLES,
    by,
    count,
    failure_rate,
    latest,
    newest,
    of_team,
    on,
    per_bar,
    quantile,
)
from scripts.grafana import Dashboard, Query
from scripts.panels import bars, dots, heat, history, lines, sized, stat
from scripts.tables import Column, table

NUMBERS = " or ".join(
    f'label_replace(vector({n}), "conclusion", "{word}", "", "")'
    for n, word in enumerate(CONCLUSIONS, 1)
)
LAST = of_team(f"cicd_build_last_conclusion{{B}} * on (conclusion) group_left () ({NUMBERS})")
ENDED = f"""
    max {by(*PIPELINE)} ({LAST})
    and {newest(COMPLETED)} != {newest(COMPLETED, offset=" offset $__interval")}
"""
"""How the latest build of each pipeline ended, where that is another one than a cell before.

By its place among `CONCLUSIONS`, from 1 on; 0 for a word that is none of these.
"""
EXPORTER = f"topk {by(*PIPELINE)} (1, {addressed(f'{COMPLETED}{{B}}', *PIPELINE)})"
LEGEND = "{{repo}} {{workflow}} {{branch}}"

DETAIL = Dashboard(
    uid="cicd-workflow",
    title="CI/CD / Workflow detail",
    description="How the builds and jobs of the chosen workflows and branches do.",
    span="24h",
    metric=COMPLETED,
    variables=VARIABLES,
    rows=[
        [
            TOTAL,
            FAILURES,
            stat(
                "Failed in a row",
                "Failed, timeout or error since the last passed build; of the worst pipeline.",
                f"max({of_team(f'{STREAK}{{B}}')})",
                steps=IN_A_ROW,
            ),
            stat(
                "Since last pass",
                "Time since the latest passed build of any chosen pipeline completed.",
                f"time() - max({of_team('cicd_build_last_passed_timestamp_seconds{B}')})",
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
                    LEGEND,
                ),
                steps=RATE,
            ),
        ],
        [
            history(
                "Last builds",
                "Each cell is the latest of the builds that completed in its time; none where "
                "there was no build.",
                Query(f"({ENDED}) * {on(*PIPELINE)} group_left (external_url) {EXPORTER}", LEGEND),
                Query(f"({ENDED}) unless {on(*PIPELINE)} {EXPORTER}", LEGEND),
                colours=CONCLUSIONS,
                links=FROM_HISTORY,
            ),
        ],
        [
            DURATIONS,
            lines(
                "Duration of the latest build",
                "Of each pipeline, whatever its conclusion.",
                "s",
                Query(newest("cicd_build_last_duration_seconds"), LEGEND),
            ),
        ],
        sized(
            8,
            QUEUES,
            heat(
                "Durations of builds",
                "From start to completion, whatever the conclusion. A point is one build, where "
                "Prometheus keeps exemplars.",
                per_bar("cicd_build_duration_seconds_bucket{B}", "le"),
            ),
            bars(
                "Builds by trigger",
                "Build attempts that completed in each bar.",
                Query(per_bar("cicd_builds_total{B}", "trigger"), "{{trigger}}"),
                colours=TRIGGERS,
            ),
        ),
        [
            table(
                "Latest builds",
                "The latest completed build of each pipeline, how long ago it completed, and how "
                "long ago the latest passed one did.",
                (*PIPELINE, "conclusion"),
                Column("", latest()),
                Column(
                    "completed ago",
                    f"time() - {newest(COMPLETED)}",
                    "s",
                ),
                Column(
                    "passed ago",
                    f"time() - {newest('cicd_build_last_passed_timestamp_seconds')}",
                    "s",
                ),
                Column("duration", newest("cicd_build_last_duration_seconds"), "s"),
                Column("failed in a row", newest(STREAK), steps=IN_A_ROW),
                *addresses(f"{COMPLETED}{{B}}", PIPELINE, TO_BUILDS),
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
            heat(
                "Durations of jobs",
                "From start to completion, whatever the conclusion. A point is a job's build, "
                "where Prometheus keeps exemplars.",
                per_bar("cicd_job_duration_seconds_bucket{B}", "le"),
            ),
        ],
        [
            failing_jobs(
                "Jobs that fail",
                "Jobs that have failed and not passed since: which one broke a pipeline.",
            ),
        ],
        [
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
                *addresses("cicd_job_last_completed_timestamp_seconds{B}", JOB, TO_LOG, name="log"),
                sort="failed",
            ),
        ],
    ],
)
