"""What waits and what runs."""

from __future__ import annotations

from scripts.boards.common import LATE, QUEUES, STATUSES, WAITED
from scripts.boards.links import TO_BUILDS, TO_WORKFLOW, addresses
from scripts.boards.queries import (
    BAR,
    JOB,
    PIPELINE,
    QUEUE,
    VARIABLES,
    active,
    oldest,
    quantile,
)
from scripts.grafana import COUNT, Dashboard, Query
from scripts.panels import dots, lines, sized, stat
from scripts.tables import Column, table

NOW = Dashboard(
    uid="cicd-queue",
    title="CI/CD / Queue and running builds",
    description="What is not finished: what waits for a runner or a person, what runs too long.",
    span="6h",
    metric="cicd_builds_active",
    variables=VARIABLES,
    rows=[
        sized(
            4,
            stat(
                "In progress",
                "Builds that run now.",
                active(status="in_progress") + " or vector(0)",
            ),
            stat(
                "Queued",
                "Builds that wait for a runner now.",
                active(status="queued") + " or vector(0)",
            ),
            stat(
                "Waiting",
                "Builds that are held for an approval, a person or a concurrency group now.",
                active(status="waiting") + " or vector(0)",
            ),
            stat(
                "Oldest queued",
                "How long the oldest queued build has waited.",
                oldest(status="queued"),
                "s",
                steps=LATE,
            ),
            stat(
                "Oldest in progress",
                "How long ago the oldest build that runs was created.",
                oldest(status="in_progress"),
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
                Query(active("status"), "{{status}}"),
                colours=STATUSES,
                stacked=True,
            ),
            lines(
                "Queued builds by account",
                "Where runners are short.",
                COUNT,
                Query(active("account", status="queued"), "{{account}}"),
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
                Column("builds", f"{active(*PIPELINE, 'status')} > 0"),
                Column("oldest", oldest(*PIPELINE, "status"), "s", LATE),
                *addresses(
                    "cicd_builds_active{B}",
                    (*PIPELINE, "status"),
                    TO_BUILDS,
                    rows=f"{active(*PIPELINE, 'status')} > 0",
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
                Query(active("status", of="jobs"), "{{status}}"),
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
