"""Where a click on a row leads: to the exporter's pages, the provider, another dashboard.

A row brings the address of its own exporter and of its repo, as labels. So links are right where
several exporters are scraped, and there is none where `web.external_url` is not set.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts.boards.queries import REPO, WORKFLOW, by, of_team, on
from scripts.grafana import Link
from scripts.tables import Address


def _of_row(*labels: str, prefix: str = "") -> str:
    """Parameters of a query string, from the cells of a row."""
    return "".join(f"&{prefix}{label}=${{__data.fields.{label}:percentencode}}" for label in labels)


def _of_series(*labels: str) -> str:
    """The same from the labels of a series in a graph."""
    return "".join(f"&{label}=${{__field.labels.{label}:percentencode}}" for label in labels)


TO_WORKFLOW = Link(
    "Workflow detail",
    "/d/cicd-workflow?${__url_time_range}&var-datasource=${datasource}"
    + _of_row(*WORKFLOW, prefix="var-"),
)
_HERE = "${__value.raw:raw}"
"""The address in the cell itself, as it is: it has been encoded once."""
_BUILD = _of_row("account", "repo", "workflow", "branch")
_REPO_PAGE = Link("Page of the repo", f"{_HERE}/repo?{_of_row('account', 'repo')[1:]}")
TO_BUILDS = (
    Link("Build that broke it", f"{_HERE}/go?build=first_failed{_BUILD}"),
    Link("Last failed build", f"{_HERE}/go?build=last_failed{_BUILD}"),
    Link("Last build", f"{_HERE}/go?build=last{_BUILD}"),
    _REPO_PAGE,
)
TO_LOG = (
    Link("Builds", f"{_HERE}/builds?{_of_row('account', 'repo', 'workflow')[1:]}"),
    _REPO_PAGE,
)
FROM_HISTORY = (
    Link(
        "Builds",
        "${__field.labels.external_url:raw}/builds?"
        + _of_series("account", "repo", "workflow", "branch")[1:],
    ),
)
_EXPORTER = (
    f"{on('job', 'instance')} group_left (external_url) "
    "topk by (job, instance) (1, cicd_exporter_web_info)"
)
_PROVIDER = f'{on(*REPO)} group_left (url) topk {by(*REPO)} (1, cicd_repo_info{{url!=""}})'
"""One for each, whatever a second exporter says in a rollout."""


def addressed(metric: str, *labels: str) -> str:
    """The address of the exporter that shows a metric, by these labels of it."""
    return f"group {by(*labels, 'external_url')} ({of_team(f'{metric} * {_EXPORTER}')})"


def addresses(
    metric: str,
    labels: Sequence[str],
    links: Sequence[Link],
    *,
    rows: str = "",
    name: str = "build",
) -> tuple[Address, Address]:
    """Columns of links to the exporter and to the provider, for the rows that a query has.

    `metric` is one that every row has; an exporter without `web.external_url` has no address.
    """
    only = f" and {on(*labels)} ({rows})" if rows else ""
    provider = f"group {by(*labels, 'url')} ({of_team(f'{metric} * {_PROVIDER}')})"
    return (
        Address(name, "external_url", addressed(metric, *labels) + only, links),
        Address("repo at provider", "url", provider + only, [Link("Repo at its provider", _HERE)]),
    )
