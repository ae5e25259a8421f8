"""The queries of the dashboards, and the labels that they group by."""

from __future__ import annotations

from scripts.grafana import REPO_INFO, TEAM, TEAM_LABEL, Query

PIPELINE = ("provider", "account", "repo", "workflow", "branch")
VARIABLES = ("provider", "account", TEAM, "repo", "workflow", "branch")
WORKFLOW = PIPELINE[:-1]
REPO = PIPELINE[:3]
JOB = (*WORKFLOW, "job_name")
NAMED = ("repo", "workflow", "job_name")
"""What a job is called in a legend."""
FAILED = 'conclusion=~"failed|timeout"'
JUDGED = 'conclusion=~"passed|partial|failed|timeout"'
BAR = "$__rate_interval"
"""The window of a bar or a point of a graph."""
ALL = "$__range"


def by(*labels: str) -> str:
    """The grouping; without labels none."""
    return f"by ({', '.join(labels)})" if labels else ""


def of_team(vector: str) -> str:
    """What of a vector of pipelines or jobs belongs to the chosen teams; any other as it is.

    Left out is what a repo says to be another team's, so that all of a fleet is shown where
    no team is chosen, whatever its repos say.
    """
    if "{B" not in vector:
        return vector
    return f'{vector} unless {on(*REPO)} {REPO_INFO}{{{TEAM_LABEL}!~"${TEAM}"}}'


def on(*labels: str) -> str:
    """The labels by which two vectors match."""
    return f"on ({', '.join(labels)})"


def count(metric: str, *labels: str, window: str = ALL) -> str:
    """How many in the window."""
    return f"sum {by(*labels)} ({of_team(f'increase({metric}[{window}])')})"


def per_bar(metric: str, *labels: str) -> str:
    """How many in each bar."""
    return f"sum {by(*labels)} ({of_team(f'rate({metric}[{BAR}])')}) * $__interval_ms / 1000"


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


def active(*labels: str, status: str = "", of: str = "builds") -> str:
    """How many builds or jobs are not completed now."""
    matcher = f', status="{status}"' if status else ""
    return f"sum {by(*labels)} ({of_team(f'cicd_{of}_active{{B{matcher}}}')})"


def oldest(*labels: str, status: str = "") -> str:
    """Since when the oldest build has not been completed, in seconds."""
    matcher = f', status="{status}"' if status else ""
    name = "cicd_builds_oldest_active_timestamp_seconds"
    return f"time() - min {by(*labels)} ({of_team(f'{name}{{B{matcher}}}')})"


def newest(metric: str, *labels: str, offset: str = "") -> str:
    """A gauge of each pipeline, also while its exporter moves to another instance."""
    return f"max {by(*(labels or PIPELINE))} ({of_team(f'{metric}{{B}}{offset}')})"


def latest() -> str:
    """How the latest build of each pipeline ended."""
    return f"{newest('cicd_build_last_conclusion', *PIPELINE, 'conclusion')} == 1"


STREAK = "cicd_build_consecutive_failures"
_TOLD = 'cicd_repo_info{default_branch!=""}'
_UNTOLD = f'{STREAK}{{B, branch=~"main|master|trunk"}} unless {on(*REPO)} {_TOLD}'
BROKEN_DEFAULT = f"""max {by(*PIPELINE)} (
    {of_team(f"{STREAK}{{B}}")}
    and {on(*REPO, "branch")}
    label_replace({_TOLD}, "branch", "$1", "default_branch", "(.+)")
    or
    {of_team(_UNTOLD)}
) >= 1"""
"""The default branches that have failed since they last passed, and how often in a row.

Builds that were cancelled or skipped in between neither heal nor hide it. Where a repo's default
branch is not known it is main, master or trunk.
"""
JOB_STREAK = "cicd_job_consecutive_failures"
COMPLETED = "cicd_build_last_completed_timestamp_seconds"

DURATION = 'cicd_build_duration_seconds{B, conclusion="passed"}'
QUEUE = "cicd_build_queue_seconds{B}"
LEFT = "cicd_exporter_api_rate_limit_remaining{A} / (cicd_exporter_api_rate_limit{A} > 0)"
OURS = "and on (job, instance) cicd_exporter_build_info"
