"""The path at which people reach the pages, where that is not the root: `web.external_url`.

A proxy may take the path away or leave it: pages answer below it and at the root, and all their
links carry it. What programs ask for (metrics, probes, webhooks) answers at the root only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

from exporter.web.headers import HEADERS


def path_of(external_url: str | None) -> str:
    """The path of `web.external_url` without a slash at its end; empty at the root."""
    return urlsplit(external_url or "").path.rstrip("/")


class Below(BaseRoute):
    """The `routes` once more, below a path that may change: the last of all routes.

    `path` returns it without a slash at its end; empty for none.
    """

    def __init__(self, path: Callable[[], str], routes: Sequence[BaseRoute]) -> None:
        self._path = path
        self._router = Router(routes, redirect_slashes=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for something below the path (Starlette)."""
        path = self._path()
        is_below = path and scope["type"] == "http" and f"{scope['path']}/".startswith(f"{path}/")
        return (Match.FULL, {"root_path": path}) if is_below else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it (ASGI)."""
        if scope["path"] == scope["root_path"]:
            await _with_slash(Request(scope))(scope, receive, send)
        else:
            await self._router(scope, receive, send)


def _with_slash(request: Request) -> Response:
    query = request.url.query
    headers = {"Location": f"{request.scope['root_path']}/" + (f"?{query}" if query else "")}
    return Response(status_code=302, headers=HEADERS | headers)
