"""What a process answers that stands by: it lives, and is not the one to ask."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.web.headers import NO_SNIFFING

_METHODS = ["GET", "HEAD", "POST", "PUT"]


def standby_routes() -> Starlette:
    """`/-/healthy` as ever, and 503 for all else: also for `/-/ready` and the metrics."""

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is healthy.\n", headers=NO_SNIFFING)

    async def elsewhere(request: Request) -> Response:
        text = "standing by: another exporter polls and writes the state.\n"
        return PlainTextResponse(text, 503, headers=NO_SNIFFING)

    return Starlette(
        routes=[
            Route("/-/healthy", healthy),
            Route("/{path:path}", elsewhere, methods=_METHODS),
        ]
    )
