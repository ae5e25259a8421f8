"""The status page with its files, its data, and the configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter.config import Config
from exporter.config.effective import effective
from exporter.model import FAILING
from exporter.status.document import StatusReport
from exporter.web import status_page as page
from exporter.web.headers import HEADERS, NO_SNIFFING
from exporter.web.rendering import STATIC, Renderer, answer, static
from exporter.web.report_cache import ReportCache
from exporter.web.slices import gathered, in_slices

_PART = 64 * 1024
"""Bytes that are sent at once; no more of an answer waits for a client."""


def pages(
    renderer: Renderer, latest: ReportCache[StatusReport], config: Callable[[], Config] | None
) -> list[Route]:
    """The routes over the `latest` report; `config` returns the configuration, if it is shown."""

    async def status_page(request: Request) -> Response:
        asked = page.query(request.query_params)
        report = (await latest.get()).value
        return await renderer.page(
            "status.html",
            here="/status",
            now=report.now,
            report=report,
            view=page.status_page(report, asked),
            asked=asked,
            failing=FAILING,
        )

    async def status_data(request: Request) -> Response:
        return _Parts((await latest.get()).encoded, "application/json")

    return [
        Route("/status", status_page),
        Route("/status.json", status_data),
        *([] if config is None else [Route("/config", _configuration(config))]),
        *(Route(f"/static/{name}", _file(name)) for name in STATIC),
    ]


class _Parts(Response):
    """An answer that is sent in parts, so that no slow client has a copy of it in our memory."""

    def __init__(self, body: bytes, media_type: str) -> None:
        super().__init__(
            media_type=media_type, headers=HEADERS | {"Content-Length": str(len(body))}
        )
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        for at in range(0, len(self._body), _PART):
            part = self._body[at : at + _PART]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


_Endpoint = Callable[[Request], Awaitable[Response]]


def _file(name: str) -> _Endpoint:
    headers = NO_SNIFFING | {"Cache-Control": "max-age=86400"}  # pages link it with a digest

    async def file(request: Request) -> Response:
        return Response(static(name), media_type=STATIC[name], headers=headers)

    return file


def _configuration(config: Callable[[], Config]) -> _Endpoint:
    async def text(request: Request) -> Response:
        lines = await in_slices(gathered(effective(config())))
        return answer("".join(f"{line}\n" for line in lines), "text/plain")

    return text
