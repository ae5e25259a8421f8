"""What waits and what runs."""

from __future__ import annotations

from scripts.boards.common import (
    BAR,
    JOB,
    LATE,
    OLDEST,
    PIPELINE,
    QUEUE,
    QUEUES,
    STATUSES,
    TO_WORKFLOW,
    WAITED,
    by,
    quantile,
)
from scripts.grafana import COUNT, Column, Dashboard, Query, dots, lines, sized, stat, table

NOW = Dashboard(
    uid="cicd-queue",
    title="CI/CD / Queue and running builds",
    description="What is not finished: what waits for a runner or a person, what runs too long.",
    span="6h",
    metric="cicd_builds_active",
    variables=PIPELINE,
    rows=[
        sized(
            4,
            stat(
                "In progress",
                "Builds that run now.",
                'sum(cicd_builds_active{B, status="in_progress"}) or vector(0)',
            ),
            stat(
                "Queued",
                "Builds that wait for a runner now.",
                'sum(cicd_builds_active{B, status="queued"}) or vector(0)',
            ),
            stat(
                "Waiting",
                "Builds that are held for an approval or another person's doing now.",
                'sum(cicd_builds_active{B, status="waiting"}) or vector(0)',
            ),
            stat(
                "Oldest queued",
                "How long the oldest queued build has waited.",
                f'time() - min({OLDEST}{{B, status="queued"}})',
                "s",
                steps=LATE,
            ),
            stat(
                "Oldest in progress",
                "How long ago the oldest build that runs was created.",
                f'time() - min({OLDEST}{{B, status="in_progress"}})',
                "s",
                steps=LATE,
            ),
            WAITED,
        ),
        [
            lines(
                "Builds that are not finished",
                "By status, as of the last polls.",
                COUNT,
                Query("sum by (status) (cicd_builds_active{B})", "{{status}}"),
                colours=STATUSES,
                stacked=True,
            ),
            lines(
                "Queued builds by account",
                "Where runners are short.",
                COUNT,
                Query('sum by (account) (cicd_builds_active{B, status="queued"})', "{{account}}"),
                stacked=True,
            ),
        ],
        [
            QUEUES,
            dots(
                "Time in the queue by account, p95",
                "From creation to start, first attempts only.",
                "s",
                Query(quantile(0.95, QUEUE, "account", window=BAR), "{{account}}"),
            ),
        ],
        [
            table(
                "Oldest builds that are not finished",
                "How many builds of a pipeline have this status, and when the oldest was created.",
                (*PIPELINE, "status"),
                Column("builds", f"sum {by(*PIPELINE, 'status')} (cicd_builds_active{{B}}) > 0"),
                Column(
                    "oldest",
                    f"time() - min {by(*PIPELINE, 'status')} ({OLDEST}{{B}})",
                    "s",
                    LATE,
                ),
                sort="oldest",
                link=TO_WORKFLOW,
                colours=STATUSES,
            ),
        ],
        "Jobs, of accounts with jobs: true",
        [
            lines(
                "Jobs that are not finished",
                "By status, as of the last polls.",
                COUNT,
                Query("sum by (status) (cicd_jobs_active{B})", "{{status}}"),
                colours=STATUSES,
                stacked=True,
            ),
            dots(
                "Time of jobs in the queue, p95",
                "From creation to start, of the ten jobs that wait longest.",
                "s",
                Query(
                    f"topk(10, {quantile(0.95, 'cicd_job_queue_seconds{B}', *JOB, window=BAR)})",
                    "{{repo}} {{job_name}}",
                ),
            ),
        ],
    ],
)
