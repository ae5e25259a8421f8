"""What stands before every page: the rate limit, the headers and the password."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web.access import Access
from exporter.web.auth import BusyError, credentials
from exporter.web.headers import HEADERS

OPEN = frozenset({"/-/healthy", "/-/ready"})
"""What a supervisor may ask without a password, which it has no safe place for. They say one
word each. exporter-toolkit has no such pages: https://github.com/prometheus/prometheus/issues/9166
"""


_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())


class Guard:
    """An app behind the web configuration that is in force at each request."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = _with_headers(send, self._access.config.headers)
        refusal = None if _is_open(scope) else await self._refusal(scope)
        await (refusal or self._app)(scope, receive, sending)

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to who is not let in."""
        if not self._access.bucket.take():
            return PlainTextResponse("Too Many Requests\n", 429)
        users = self._access.users
        if not users:
            return None
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        given = credentials(shown[0]) if len(shown) == 1 else None
        try:
            if given is not None and await users.admits(*given):
                return None
        except BusyError:
            text = "Too many passwords are being checked: try again.\n"
            return PlainTextResponse(text, 503, {"Retry-After": "1"})
        return PlainTextResponse("Unauthorized\n", 401, {"WWW-Authenticate": "Basic"})


def _is_open(scope: Scope) -> bool:
    return scope["path"] in OPEN and scope["method"] in ("GET", "HEAD")


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    """`send` with these headers on every answer; they win over the page's own.

    Whatever else a browser should know is on every answer too, also on one that says no.
    """
    ours = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    names = {name for name, _ in ours}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            theirs = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
            there = names.union(name.lower() for name, _ in theirs)
            more = [pair for pair in _HEADERS if pair[0] not in there]
            message = {**message, "headers": [*theirs, *ours, *more]}
        await send(message)

    return sending
