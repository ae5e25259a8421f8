"""`/builds`, `/builds.json` and `/go`: the build log for people, for programs and for links."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.config import Config
from exporter.ledger.build_log import BuildPage
from exporter.model import CONCLUSIONS, OTHER
from exporter.status.builds import BuildEntry, BuildsReport, entry
from exporter.web.build_query import BuildQuery
from exporter.web.go import go
from exporter.web.headers import HEADERS
from exporter.web.log_reader import LogReader
from exporter.web.parameters import ParameterFault, refused
from exporter.web.rendering import Renderer
from exporter.web.sites import sites_of, with_own_links
from exporter.web.slices import gathered, in_slices

_encode = msgspec.json.Encoder().encode


def build_routes(renderer: Renderer, log: LogReader, config: Callable[[], Config]) -> list[Route]:
    """The routes over the build log; links lead only to sites of `config` as it is then."""

    async def page(request: Request) -> Response:
        asked, found, fault = BuildQuery(), BuildPage([]), None
        try:
            asked = BuildQuery.parsed(request.scope["query_string"])
            found = await _found(log, asked)
        except ParameterFault as error:
            fault = str(error)
        sites = sites_of(config().accounts)
        builds = (with_own_links(build, sites) for build in found.builds)
        return await renderer.page(
            "builds.html",
            here="/builds",
            status=200 if fault is None else 400,
            builds=await in_slices(gathered(builds)),
            next=found.next,
            is_later=asked.cursor is not None,
            given=asked.given,
            is_filter=bool(asked.given.keys() - {"limit"}),
            choices={
                "account": sorted(sites.keys() | _one(asked.given.get("account"))),
                "conclusion": [
                    *CONCLUSIONS,
                    OTHER,
                    *_one(asked.given.get("conclusion")) - {*CONCLUSIONS, OTHER},
                ],
            },
            fault=fault,
        )

    async def data(request: Request) -> Response:
        try:
            asked = BuildQuery.parsed(request.scope["query_string"])
            page = await _found(log, asked)
        except ParameterFault as fault:
            return refused(fault)
        report = BuildsReport(builds=await _entries(page, config()), next_cursor=page.next)
        return _conditional(request, _encode(report))

    return [
        Route("/builds", page),
        Route("/builds.json", data),
        Route("/go", go(log, config)),
    ]


def _one(word: str | None) -> set[str]:
    return set() if word is None else {word}


async def _found(log: LogReader, asked: BuildQuery) -> BuildPage:
    """What is asked for. Raises ParameterFault for a cursor that is none."""
    try:
        return await log.builds(asked.wanted, limit=asked.limit, cursor=asked.cursor)
    except ValueError:
        raise ParameterFault("cursor: is none that a page of this log gave") from None


async def _entries(page: BuildPage, config: Config) -> list[BuildEntry]:
    sites = sites_of(config.accounts)
    made = (entry(with_own_links(build, sites)) for build in page.builds)
    return await in_slices(gathered(made))


def _conditional(request: Request, body: bytes) -> Response:
    """The JSON, or 304 if the client has it already."""
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = HEADERS | {"Cache-Control": "private, no-cache", "ETag": tag}
    if _has(tag, request.headers.getlist("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _has(tag: str, known: Iterable[str]) -> bool:
    """Whether If-None-Match names the tag: a list of tags, or `*` for any."""
    tags = {text.strip().removeprefix("W/") for field in known for text in field.split(",")}
    return bool(tags & {tag, "*"})
