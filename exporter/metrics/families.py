"""Every metric family, once: name, kind, labels, help.

`docs/METRICS.md` is made from this table and a test holds it to the contract.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from exporter.errors import Reason
from exporter.ledger.rows import Labels

Kind = Literal["counter", "gauge", "histogram"]

PIPELINE = ("provider", "account", "repo", "workflow", "branch")
"""The labels of a pipeline, which every build and job family starts with."""
JOB = (*PIPELINE, "job_name")
"""The labels of the jobs of one name, which every job family starts with."""

_ACCOUNT = ("provider", "account")
_POLLED = ("provider", "account", "repo")


class Family(msgspec.Struct, frozen=True):
    """One metric family. A `counter` without `_total` or a help without a full stop is a bug."""

    name: str
    kind: Kind
    labels: Labels
    help: str
    persistent: bool = False
    """Whether its values survive a restart; the others start with the process."""
    buckets: Literal["duration", "queue", "poll"] | None = None
    """Which configured bounds a histogram has."""
    zeros: tuple[str, ...] = ()
    """Values of its last label that are there at 0 before the first event, for each provider
    or account; all that there can be."""
    otel: str = ""
    """The OpenTelemetry metric that says the same, where there is one."""

    def with_labels(self, labels: Labels) -> Family:
        """The same with other labels."""
        return msgspec.structs.replace(self, labels=labels)


def foreign(name: str, kind: Kind, labels: Labels, text: str) -> Family:
    """A family that a library makes, and that is shown beside ours."""
    return Family(name, kind, labels, text)


BUILDS = Family(
    "cicd_builds_total",
    "counter",
    (*PIPELINE, "trigger", "conclusion"),
    "Completed build attempts, each counted once.",
    persistent=True,
)
BUILD_DURATION = Family(
    "cicd_build_duration_seconds",
    "histogram",
    (*PIPELINE, "conclusion"),
    "Time from start to completion of build attempts.",
    persistent=True,
    buckets="duration",
    otel="cicd.pipeline.run.duration (state executing)",
)
BUILD_QUEUE = Family(
    "cicd_build_queue_seconds",
    "histogram",
    PIPELINE,
    "Time from creation to start of builds, first attempts only.",
    persistent=True,
    buckets="queue",
    otel="cicd.pipeline.run.duration (state pending)",
)
RETRIES = Family(
    "cicd_build_retries_total",
    "counter",
    PIPELINE,
    "Completed build attempts beyond the first.",
    persistent=True,
)
ACTIVE = Family(
    "cicd_builds_active",
    "gauge",
    (*PIPELINE, "status"),
    "Builds that are not completed, by status, as of the last poll.",
    persistent=True,
    otel="cicd.pipeline.run.active",
)
OLDEST_ACTIVE = Family(
    "cicd_builds_oldest_active_timestamp_seconds",
    "gauge",
    (*PIPELINE, "status"),
    "Creation (else start) time of the oldest build that is not completed.",
    persistent=True,
)
LAST_CONCLUSION = Family(
    "cicd_build_last_conclusion",
    "gauge",
    (*PIPELINE, "conclusion"),
    "1 on the conclusion of the latest completed build, 0 on the other named ones.",
    persistent=True,
)
LAST_DURATION = Family(
    "cicd_build_last_duration_seconds",
    "gauge",
    PIPELINE,
    "Duration of the latest completed build that has one.",
    persistent=True,
)
LAST_COMPLETED = Family(
    "cicd_build_last_completed_timestamp_seconds",
    "gauge",
    PIPELINE,
    "When the latest completed build completed.",
    persistent=True,
)
LAST_PASSED = Family(
    "cicd_build_last_passed_timestamp_seconds",
    "gauge",
    PIPELINE,
    "When the latest passed build completed.",
    persistent=True,
)
STREAK = Family(
    "cicd_build_consecutive_failures",
    "gauge",
    PIPELINE,
    "Builds that ended in failed, timeout or error since the last passed one.",
    persistent=True,
)
JOBS = Family(
    "cicd_jobs_total",
    "counter",
    (*PIPELINE, "job_name", "conclusion"),
    "Completed job attempts, each counted once.",
    persistent=True,
)
JOB_DURATION = Family(
    "cicd_job_duration_seconds",
    "histogram",
    (*PIPELINE, "job_name", "conclusion"),
    "Time from start to completion of job attempts.",
    persistent=True,
    buckets="duration",
)
JOB_QUEUE = Family(
    "cicd_job_queue_seconds",
    "histogram",
    (*PIPELINE, "job_name"),
    "Time from creation to start of job attempts.",
    persistent=True,
    buckets="queue",
)
JOBS_ACTIVE = Family(
    "cicd_jobs_active",
    "gauge",
    (*PIPELINE, "job_name", "status"),
    "Jobs of active builds that are not completed, by status, as of the last poll.",
    persistent=True,
)
JOB_STREAK = Family(
    "cicd_job_consecutive_failures",
    "gauge",
    JOB,
    "Job attempts that ended in failed, timeout or error since the last passed one.",
    persistent=True,
)
JOB_LAST_COMPLETED = Family(
    "cicd_job_last_completed_timestamp_seconds",
    "gauge",
    JOB,
    "When the latest completed attempt of the job completed.",
    persistent=True,
)
REPO_INFO = Family(
    "cicd_repo_info",
    "gauge",
    (*_POLLED, "url", "default_branch"),
    "1; the page of the repo at its provider, its default branch, and what `labels` says of it.",
)
LAST_INFO = Family(
    "cicd_build_last_info",
    "gauge",
    (*PIPELINE, "number", "attempt", "commit", "triggered_by", "url"),
    "1; the latest completed build, where `metrics.build_info` asks for it.",
    persistent=True,
)
REPO_STATES = ("pending", "catching_up", "ok", "stale", "failing")
"""The values of `state`."""
REPOS = Family(
    "cicd_exporter_repos",
    "gauge",
    (*_ACCOUNT, "state"),
    "Polled entries by state: pending (never polled), catching_up (older builds are still read),"
    " ok, stale (no poll succeeded for three intervals), failing.",
)
TOKEN_EXPIRY = Family(
    "cicd_exporter_token_expiry_timestamp_seconds",
    "gauge",
    _ACCOUNT,
    "When the account's token ends, where the provider says so.",
)
BUILD_INFO = Family(
    "cicd_exporter_build_info",
    "gauge",
    ("version", "revision", "python_version"),
    "1; what is running.",
)
ACCOUNT_UP = Family(
    "cicd_exporter_account_up",
    "gauge",
    _ACCOUNT,
    "0 while the account as a whole fails and until its first clean poll, else 1.",
)
LAST_SUCCESS = Family(
    "cicd_exporter_poll_last_success_timestamp_seconds",
    "gauge",
    _POLLED,
    "When the newest builds of the repo were last read; 0 before the first time.",
    persistent=True,
)
POLL_INTERVAL = Family(
    "cicd_exporter_poll_interval_seconds",
    "gauge",
    _POLLED,
    "The polling interval in force.",
    persistent=True,
)
POLL_DURATION = Family(
    "cicd_exporter_poll_duration_seconds",
    "histogram",
    _ACCOUNT,
    "Time that a poll of one repo took.",
    buckets="poll",
)
API_REQUESTS = Family(
    "cicd_exporter_api_requests_total",
    "counter",
    (*_ACCOUNT, "code"),
    "Requests sent, by HTTP status code or error.",
)
API_ERRORS = Family(
    "cicd_exporter_api_errors_total",
    "counter",
    (*_ACCOUNT, "reason"),
    "Failed requests, by reason.",
    zeros=get_args(Reason),
)
BUDGET_EXHAUSTED = Family(
    "cicd_exporter_budget_exhausted",
    "gauge",
    _ACCOUNT,
    "1 while polls wait for the API budget, else 0.",
)
CLOCK_SKEW = Family(
    "cicd_exporter_clock_skew_seconds",
    "gauge",
    _ACCOUNT,
    "The provider's clock minus ours.",
)
REJECTED = Family(
    "cicd_exporter_rejected_items_total",
    "counter",
    _ACCOUNT,
    "Listed items that could not be understood and were left out.",
)
RATE_LIMIT = Family(
    "cicd_exporter_api_rate_limit",
    "gauge",
    (*_ACCOUNT, "resource"),
    "Requests allowed in a window, as the provider last said.",
)
RATE_REMAINING = Family(
    "cicd_exporter_api_rate_limit_remaining",
    "gauge",
    (*_ACCOUNT, "resource"),
    "Requests left in the window, as the provider last said.",
)
RATE_RESET = Family(
    "cicd_exporter_api_rate_limit_reset_timestamp_seconds",
    "gauge",
    (*_ACCOUNT, "resource"),
    "When the window ends, as the provider last said.",
)
UNMAPPED = Family(
    "cicd_exporter_unmapped_values_total",
    "counter",
    ("provider", "field"),
    "Native words that no table maps.",
    persistent=True,
    zeros=("status", "conclusion", "trigger", "job_status", "job_conclusion"),
)
MISSING = Family(
    "cicd_exporter_missing_values_total",
    "counter",
    ("provider", "field"),
    "Completed builds of which a value could not be told.",
    persistent=True,
    zeros=("duration", "queue", "conclusion", "attempt"),
)
ANOMALIES = Family(
    "cicd_exporter_anomalies_total",
    "counter",
    ("provider", "kind"),
    "Contradictory data, such as negative durations and times to come, clamped or dropped.",
    persistent=True,
    zeros=(
        "negative_duration",
        "negative_queue",
        "negative_job_duration",
        "negative_job_queue",
        "future_time",
        "future_job_time",
        "conclusion_changed",
        "ended_again",
        "reopened",
    ),
)
GAPS = Family(
    "cicd_exporter_gaps_total",
    "counter",
    _ACCOUNT,
    "Times that builds have certainly been missed because they are no longer listed.",
    persistent=True,
)
SERIES = Family(
    "cicd_exporter_series",
    "gauge",
    ("metric",),
    "Samples exposed of each build and job family.",
)
SERIES_LIMIT = Family(
    "cicd_exporter_series_limit",
    "gauge",
    (),
    "The most samples of all build and job families.",
)
SERIES_DROPPED = Family(
    "cicd_exporter_series_dropped_total",
    "counter",
    ("metric",),
    "Increments folded or refused because of the limit.",
    persistent=True,
)
WEB_INFO = Family(
    "cicd_exporter_web_info",
    "gauge",
    ("external_url",),
    "1; where people reach the pages, if `web.external_url` says it.",
)
RELOAD_OK = Family(
    "cicd_exporter_config_last_reload_successful",
    "gauge",
    (),
    "1 if the configuration was last loaded without a fault, else 0.",
)
RELOAD_TIME = Family(
    "cicd_exporter_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "When the configuration was last loaded without a fault.",
)
WORKERS = Family(
    "cicd_exporter_workers",
    "gauge",
    (),
    "Exporters that write the state in PostgreSQL and are alive.",
)
ACCOUNTS_UNHELD = Family(
    "cicd_exporter_accounts_unheld",
    "gauge",
    (),
    "Accounts that no exporter polls, of those that share a state in PostgreSQL.",
)
CONFIG_AGREED = Family(
    "cicd_exporter_config_agreed",
    "gauge",
    (),
    "0 while exporters that share a state in PostgreSQL have different rules or accounts, else 1.",
)
STATE_OK = Family(
    "cicd_exporter_state_ok",
    "gauge",
    (),
    "0 while the state cannot be written, else 1.",
)

FAMILIES: tuple[Family, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Family))
"""All of them, in the order of this file, which is the order of the exposition."""

BY_NAME = {family.name: family for family in FAMILIES}
