"""Writes `dashboards/*.json`, what Grafana shows: `PYTHONPATH=. python scripts/dashboards.py`.

Counts of a panel's whole time range are `increase(...[$__range])`. A bar is the rate times its
width, so that the bars of any width add up to the builds there were. A ratio has no value for
fewer than 5 builds (4.5, as `increase()` estimates), a quantile none where there was no build.

No panel needs the recording rules, since their windows do not follow the time picker. The one
that shows what an alert sees takes the recorded series where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripts.grafana import (
    BLUE,
    COUNT,
    DARK,
    GREEN,
    GREY,
    LEMON,
    PURPLE,
    RED,
    YELLOW,
    Column,
    Dashboard,
    Query,
    bars,
    dots,
    gauges,
    lines,
    sized,
    stat,
    table,
)

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"

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
BROKEN = 'conclusion=~"failed|timeout|error"'
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


def latest(*matchers: str, keep: str | None = None) -> str:
    """The pipelines whose latest build has such a conclusion; `keep` keeps its label."""
    labels = (*PIPELINE, keep) if keep else PIPELINE
    return f"max {by(*labels)} (cicd_build_last_conclusion{{{', '.join(('B', *matchers))}}}) == 1"


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
                "Pipelines whose latest build of main, master or trunk has not passed, now.",
                f"count({latest(DEFAULT, BROKEN)}) or vector(0)",
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
                "Whose latest build of main, master or trunk ended in failed, timeout or error.",
                (*PIPELINE, "conclusion"),
                Column("", latest(DEFAULT, BROKEN, keep="conclusion")),
                Column(
                    "failed in a row",
                    f"{newest('cicd_build_consecutive_failures')} and {latest(DEFAULT, BROKEN)}",
                    steps=IN_A_ROW,
                ),
                Column(
                    "passed ago",
                    f"time() - {newest('cicd_build_last_passed_timestamp_seconds')} "
                    f"and {latest(DEFAULT, BROKEN)}",
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
                Column("", latest(keep="conclusion")),
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

ACCOUNT = ("provider", "account")
STALE = (
    "time() - cicd_exporter_poll_last_success_timestamp_seconds{A} "
    "> clamp_min(3 * cicd_exporter_poll_interval_seconds{A}, 900)"
)
ODDITIES = {
    "missing_values_total{P}": "values missing",
    "unmapped_values_total{P}": "words unknown",
    "anomalies_total{P}": "contradictions",
    "rejected_items_total{A}": "items left out",
    "series_dropped_total{I}": "increments folded",
}
WELL = ({"type": "value", "options": {"0": {"text": "no"}, "1": {"text": "yes"}}},)
ILL = ((0, BAD), (1, GREEN))

INSIDE = Dashboard(
    uid="cicd-exporter",
    title="CI/CD / Exporter internals",
    description="Whether cicd-exporter itself is well: polls, API budget, series, state, process.",
    span="6h",
    metric="cicd_exporter_account_up",
    variables=("instance", *ACCOUNT),
    rows=[
        [
            stat(
                "Version",
                "What is running.",
                "count by (version) (cicd_exporter_build_info{I})",
                "none",
                legend="{{version}}",
            ),
            stat(
                "Accounts down",
                "Accounts that cannot be polled at all now.",
                "count(cicd_exporter_account_up{A} == 0) or vector(0)",
                steps=((1, BAD),),
            ),
            stat(
                "Stale repos",
                "Repos whose last complete poll is older than 3 intervals and 15 minutes.",
                f"count({STALE}) or vector(0)",
                steps=((1, ODD),),
            ),
            stat(
                "Gaps",
                "Times that builds have certainly been missed, in the time range.",
                count("cicd_exporter_gaps_total{A}"),
                steps=((1, BAD),),
            ),
            stat(
                "State writable",
                "Whether all that is counted can be remembered.",
                "min(cicd_exporter_state_ok{I})",
                "none",
                steps=ILL,
                mappings=WELL,
            ),
            stat(
                "Config loaded",
                "Whether the file was last loaded without a fault.",
                "min(cicd_exporter_config_last_reload_successful{I})",
                "none",
                steps=ILL,
                mappings=WELL,
            ),
            stat(
                "Series used",
                "Samples of builds and jobs, as a share of metrics.series_limit.",
                f"max(sum {by('instance')} (cicd_exporter_series{{I}}) "
                f"/ sum {by('instance')} (cicd_exporter_series_limit{{I}}))",
                "percentunit",
                steps=((0.8, ODD), (1, BAD)),
            ),
            stat(
                "Failed requests",
                "API requests that failed in the time range.",
                count("cicd_exporter_api_errors_total{A}"),
            ),
        ],
        [
            table(
                "Accounts",
                "How each account does; requests and what follows are those of the time range.",
                ACCOUNT,
                Column(
                    "up", f"min {by(*ACCOUNT)} (cicd_exporter_account_up{{A}})", "bool_yes_no", ILL
                ),
                Column(
                    "repos",
                    f"count {by(*ACCOUNT)} "
                    "(cicd_exporter_poll_last_success_timestamp_seconds{A})",
                ),
                Column(
                    "oldest poll",
                    f"time() - min {by(*ACCOUNT)} "
                    "(cicd_exporter_poll_last_success_timestamp_seconds{A} > 0)",
                    "s",
                ),
                Column("requests", count("cicd_exporter_api_requests_total{A}", *ACCOUNT)),
                Column("errors", count("cicd_exporter_api_errors_total{A}", *ACCOUNT)),
                Column("gaps", count("cicd_exporter_gaps_total{A}", *ACCOUNT)),
                Column(
                    "rejected items",
                    count("cicd_exporter_rejected_items_total{A}", *ACCOUNT),
                ),
                Column("limit left", f"min {by(*ACCOUNT)} ({LEFT})", "percentunit"),
                Column(
                    "clock skew",
                    f"max {by(*ACCOUNT)} (cicd_exporter_clock_skew_seconds{{A}})",
                    "s",
                ),
                sort="errors",
            )._replace(height=8),
        ],
        [
            lines(
                "Age of the oldest poll",
                "Of each account's repos: how long ago the one polled least recently was.",
                "s",
                Query(
                    f"time() - min {by('account')} "
                    "(cicd_exporter_poll_last_success_timestamp_seconds{A} > 0)",
                    "{{account}}",
                ),
            ),
            dots(
                "Time of a poll, p95",
                "How long polls of one repo took.",
                "s",
                Query(
                    quantile(0.95, "cicd_exporter_poll_duration_seconds{A}", "account", window=BAR),
                    "{{account}}",
                ),
            ),
        ],
        [
            lines(
                "API requests",
                "Requests a second, by HTTP status; error where no answer came.",
                "reqps",
                Query(
                    f"sum by (code) (rate(cicd_exporter_api_requests_total{{A}}[{BAR}]))",
                    "{{code}}",
                ),
                stacked=True,
            ),
            bars(
                "API errors",
                "Failed requests in each bar, by account and reason.",
                Query(
                    per_bar("cicd_exporter_api_errors_total{A}", "account", "reason") + " > 0",
                    "{{account}} {{reason}}",
                ),
                colours={},
                none="no errors",
            ),
        ],
        [
            lines(
                "Rate limit left",
                "Share of the requests allowed in a window, as the provider last said.",
                "percentunit",
                Query(LEFT, "{{account}} {{resource}}"),
                none="no provider has told a limit",
            ),
            lines(
                "Polls wait for the budget",
                "1 while polls of an account come later because its API budget is short.",
                "bool_yes_no",
                Query("max by (account) (cicd_exporter_budget_exhausted{A})", "{{account}}"),
            ),
        ],
        [
            lines(
                "Series",
                "Samples exposed of each build and job family.",
                COUNT,
                Query("sum by (metric) (cicd_exporter_series{I})", "{{metric}}"),
                stacked=True,
                calcs=["lastNotNull"],
            ),
            bars(
                "What was odd in the data",
                "Each bar: values that builds lack, words that no table maps, contradictory data, "
                "listed items not understood, increments folded at the limit of series.",
                *(
                    Query(per_bar(f"cicd_exporter_{metric}"), legend)
                    for metric, legend in ODDITIES.items()
                ),
                colours=dict(
                    zip(ODDITIES.values(), (BLUE, YELLOW, PURPLE, RED, GREY), strict=True)
                ),
            ),
        ],
        sized(
            8,
            lines(
                "CPU",
                "Processor time a second of each exporter.",
                "percentunit",
                Query(f"rate(process_cpu_seconds_total{{I}}[{BAR}]) {OURS}", "{{instance}}"),
            ),
            lines(
                "Memory",
                "Resident memory of each exporter.",
                "bytes",
                Query(f"process_resident_memory_bytes{{I}} {OURS}", "{{instance}}"),
            ),
            lines(
                "Time of a scrape",
                "How long Prometheus waited for the metrics of each exporter.",
                "s",
                Query(f"scrape_duration_seconds{{I}} {OURS}", "{{instance}}"),
            ),
        ),
    ],
)

DASHBOARDS = {"fleet": FLEET, "workflow": DETAIL, "queue": NOW, "exporter": INSIDE}


def written(dashboard: Dashboard) -> str:
    """The file's text."""
    return json.dumps(dashboard.json(), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(written(dashboard))
