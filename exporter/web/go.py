"""`/go`: from a pipeline's labels to the page of its build at the provider.

Alerts and dashboards link here, as no label of theirs may change with every build.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from exporter.config import Config
from exporter.ledger.build_log import PipelineSummary, Which
from exporter.ledger.rows import Labels
from exporter.metrics.labels import clean
from exporter.providers import Provider, Site
from exporter.web.headers import HEADERS
from exporter.web.log_reader import LogReader
from exporter.web.parameters import ParameterFault, one_of, parameters, refused, sentence

_PIPELINE = ("account", "repo", "workflow", "branch")
_NAMED = {
    Which.LAST: "has no build",
    Which.LAST_FAILED: "has no failed build",
    Which.FIRST_FAILED: "is not broken: no build has failed since the last one that passed",
    Which.LAST_PASSED: "has no build that passed",
}
"""What a pipeline is like where there is no such build in the log."""


def go(log: LogReader, config: Callable[[], Config]) -> Callable[[Request], Awaitable[Response]]:
    """The route; it leads only to the web site of an account that is configured now."""

    async def answer(request: Request) -> Response:
        try:
            labels, which = _asked(request.scope["query_string"])
        except ParameterFault as fault:
            return refused(fault)
        name, repo, workflow, branch = labels
        account = next((a for a in config().accounts if clean(a.name) == name), None)
        if account is None:
            return sentence("No account of this name is configured.", 404)
        pipeline: Labels = (account.label, name, repo, workflow, branch)
        found = await log.read(lambda log: log.summaries([pipeline]))
        return _answer(account, found.get(pipeline), which)

    return answer


def _asked(query: bytes) -> tuple[Labels, Which]:
    """Account, repo, workflow and branch, and which build. Raises ParameterFault."""
    given = parameters(query, (*_PIPELINE, "build"))
    for name in (*_PIPELINE, "build"):
        if name not in given:
            hint = " (it is empty for a pipeline without one)" if name == "workflow" else ""
            raise ParameterFault(f"{name}: is missing{hint}")
    for name in ("account", "repo"):
        if not given[name]:
            raise ParameterFault(f"{name}: is empty")
    which = Which(one_of("build", given["build"], [*Which]))
    return tuple(given[name] for name in _PIPELINE), which


def _answer(account: Provider, summary: PipelineSummary | None, which: Which) -> Response:
    if summary is None:
        return sentence("The build log has no build of this pipeline.", 404)
    build = summary.find(which)
    if build is None:
        return sentence(f"This pipeline {_NAMED[which]}.", 404)
    url = Site(account.web_root).own(build.url)
    if url is None:
        return sentence("The address of this build's page is not known.", 404)
    return Response(status_code=302, headers=HEADERS | {"Location": url})
