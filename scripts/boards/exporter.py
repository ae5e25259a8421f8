"""The exporter itself."""

from __future__ import annotations

from scripts.boards.common import BAD, ODD
from scripts.boards.links import addressed
from scripts.boards.queries import BAR, LEFT, OURS, by, count, per_bar, quantile
from scripts.grafana import (
    BLUE,
    COUNT,
    GREEN,
    GREY,
    PURPLE,
    RED,
    YELLOW,
    Dashboard,
    Link,
    Query,
)
from scripts.panels import bars, dots, lines, sized, stat
from scripts.tables import Address, Column, table

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
STATES = {"ok": GREEN, "catching_up": BLUE, "pending": GREY, "stale": YELLOW, "failing": RED}
ILL = ((0, BAD), (1, GREEN))
ENDS = ((-1e10, BAD), (14 * 86400, GREEN))
"""Seconds: CicdExporterTokenExpiring begins two weeks before."""

FLEET = "Several exporters that share a state"

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
                "How each account does; requests, errors, gaps and rejected items are those of the "
                "time range. Few providers say when a token ends.",
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
                Column(
                    "token ends in",
                    f"min {by(*ACCOUNT)} (cicd_exporter_token_expiry_timestamp_seconds{{A}}) "
                    "- time()",
                    "s",
                    ENDS,
                ),
                Address(
                    "page",
                    "external_url",
                    addressed("cicd_exporter_account_up{A}", *ACCOUNT),
                    [Link("Status of the exporter", "${__value.raw:raw}/status")],
                ),
                sort="errors",
            )._replace(height=8),
        ],
        sized(
            8,
            lines(
                "Repos by state",
                "Never polled, their older builds still being read, in order, last polled long"
                " ago, failing.",
                COUNT,
                Query("sum by (state) (cicd_exporter_repos{A})", "{{state}}"),
                colours=STATES,
                stacked=True,
            ),
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
        ),
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
        FLEET,
        sized(
            8,
            lines(
                "Exporters",
                "How many share the state and live, and accounts that none of them polls.",
                COUNT,
                Query("max(cicd_exporter_workers)", "exporters"),
                Query("max(cicd_exporter_accounts_unheld)", "accounts that nobody polls"),
                colours={"exporters": GREEN, "accounts that nobody polls": RED},
            ),
            lines(
                "Accounts of each",
                "Accounts that each exporter polls; it is scraped at /metrics/worker.",
                COUNT,
                Query("cicd_exporter_worker_accounts", "{{instance}}"),
                stacked=True,
            ),
            lines(
                "Time of the database, p95",
                "How long a commit, a read of what others committed, and a beat take.",
                "s",
                Query(
                    "histogram_quantile(0.95, sum by (step, le) "
                    f"(rate(cicd_exporter_ledger_seconds_bucket[{BAR}])))",
                    "{{step}}",
                ),
            ),
        ),
    ],
)
