"""What people read: the status page with its files, its data, the configuration, the references."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter.config import Config
from exporter.config import reference as providers
from exporter.config.effective import effective
from exporter.metrics import reference as metrics
from exporter.threads import apart
from exporter.web import status_page as page
from exporter.web.headers import HEADERS, NO_SNIFFING
from exporter.web.report_cache import ReportCache
from exporter.web.slices import gathered, in_slices

_FILES = {
    "status.css": "text/css",
    "status.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_DOCS: dict[str, Callable[[], str]] = {
    "METRICS.md": metrics.reference,
    "PROVIDERS.md": providers.reference,
}
_HIDDEN = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), "\ufffd")
"""What turns the direction of text: a name could pretend to be another one."""

_PART = 64 * 1024
"""Bytes that are sent at once; no more of an answer waits for a client."""


def pages(
    latest: ReportCache,
    config: Callable[[], Config] | None,
    *,
    telemetry_path: str,
) -> list[Route]:
    """The routes over the `latest` report; `config` returns the configuration, if it is shown."""
    rendering = asyncio.Lock()
    files = {name: _read("static", name) for name in _FILES}
    links = {name: f"/static/{name}?{_digest(data)}" for name, data in files.items()}

    async def status_page(request: Request) -> Response:
        asked = page.query(request.query_params)
        async with rendering:  # one at a time, whoever waits for it
            made = await latest.get()
            template = await apart(_template, name="template")  # the first time it is compiled
            parts = template.generate(
                report=made.value,
                view=page.status_page(made.value, asked),
                asked=asked,
                files=links,
                telemetry_path=telemetry_path,
                docs=sorted(_DOCS),
            )
            return _answer("".join(await in_slices(gathered(parts))), "text/html")

    async def status_data(request: Request) -> Response:
        return _Parts((await latest.get()).encoded, "application/json")

    return [
        Route("/", status_page),
        Route("/status.json", status_data),
        *([] if config is None else [Route("/config", _configuration(config))]),
        *(Route(f"/static/{name}", _file(data, _FILES[name])) for name, data in files.items()),
        *(Route(f"/docs/{name}", _doc(made)) for name, made in _DOCS.items()),
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


def _file(data: bytes, media_type: str) -> _Endpoint:
    headers = NO_SNIFFING | {"Cache-Control": "max-age=86400"}  # the page links it with a digest

    async def answer(request: Request) -> Response:
        return Response(data, media_type=media_type, headers=headers)

    return answer


def _configuration(config: Callable[[], Config]) -> _Endpoint:
    async def answer(request: Request) -> Response:
        lines = await in_slices(gathered(effective(config())))
        return _answer("".join(f"{line}\n" for line in lines), "text/plain")

    return answer


def _doc(made: Callable[[], str]) -> _Endpoint:
    async def answer(request: Request) -> Response:
        return _answer(made(), "text/plain")

    return answer


def _answer(text: str, media_type: str) -> Response:
    # Lone surrogates in a repo's name must not take the page down.
    body = text.encode("utf-8", "replace")
    return Response(body, media_type=media_type, headers=HEADERS)


@cache
def _template() -> jinja2.Template:
    """The page. Whatever it is given is text, which is escaped."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("exporter.web"),
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "elapsed": page.elapsed,
        "clock": page.clock,
        "number": page.number,
        "history_summary": page.history_summary,
        "since": page.seconds_between,
        "words": lambda state: page.WORDS.get(state, state),
    }
    return environment.get_template("status.html")


def _visible(value: Any) -> Any:
    return value.translate(_HIDDEN) if isinstance(value, str) else value


def _read(folder: str, name: str) -> bytes:
    return (resources.files("exporter.web") / folder / name).read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
