"""The HTTP surface: `/metrics`, a status page for people and for programs, and probes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter import __version__
from exporter.errors import ConfigError, ExporterError
from exporter.exposition import CONTENT_TYPES, Answer, negotiate, wants_gzip
from exporter.poller import Poller

_SLICE = 0.001
"""Seconds that a scrape may take at a time, before others have their turn."""

Reload = Callable[[], Awaitable[Sequence[str]]]


def application(
    poller: Poller,
    *,
    telemetry_path: str,
    reload: Reload | None = None,
) -> Starlette:
    """The routes over a running poller. Nothing here waits for a provider.

    `reload` loads the configuration anew and says what has changed, line by line, or raises
    ExporterError; None forbids it.
    """

    async def metrics(request: Request) -> Response:
        exposition, book = poller.exposition, poller.recorder.book
        form = negotiate(_header(request, "accept"))
        packed = wants_gzip(_header(request, "accept-encoding"))
        begun = book.clock()
        await _in_slices(exposition.steps(form, packed=packed))
        answer = exposition.answer(form, packed=packed)
        if request.method == "GET":
            book.scraped(begun)  # what has come since then may not be in it
        headers = {"Content-Type": CONTENT_TYPES[form], "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return _Scrape(answer, headers)

    async def status_page(request: Request) -> Response:
        return _answer(_page(poller.status(), telemetry_path), "text/html")

    async def status_data(request: Request) -> Response:
        return _answer(json.dumps(poller.status(), ensure_ascii=False), "application/json")

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is healthy.\n", headers=_NO_SNIFFING)

    async def ready(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is ready.\n", headers=_NO_SNIFFING)

    app = Starlette(
        routes=[
            Route(telemetry_path, metrics),
            Route("/", status_page),
            Route("/status.json", status_data),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", _reloading(reload), methods=["POST", "PUT"]),
        ]
    )
    app.router.redirect_slashes = False  # an unknown path is unknown
    return app


def _header(request: Request, name: str) -> str:
    return ",".join(request.headers.getlist(name))


async def _in_slices(steps: Iterator[None]) -> None:
    """Go through all steps, and let others have their turn now and then."""
    begun = monotonic()
    for _ in steps:
        if monotonic() - begun > _SLICE:
            await asyncio.sleep(0)
            begun = monotonic()


class _Scrape(Response):
    """An answer that is sent in parts, so that it is in memory only once."""

    def __init__(self, answer: Answer, headers: Mapping[str, str]) -> None:
        super().__init__(headers={**_NO_SNIFFING, **headers, "Content-Length": str(answer.size)})
        self._batches = answer.batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        for batch in self._batches if scope["method"] == "GET" else ():
            part = {"type": "http.response.body", "body": b"".join(batch), "more_body": True}
            await send(part)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


def _reloading(reload: Reload | None) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if reload is None:
            return _told("Lifecycle API is not enabled.", 403)
        try:
            return _told("\n".join(await reload()) or "nothing has changed", 200)
        except ExporterError as error:
            status = 400 if isinstance(error, ConfigError) else 500
            return _told(f"failed to reload config: {error}", status)

    return answer


def _told(text: str, status: int) -> Response:
    body = f"{text}\n".encode("utf-8", "replace")
    return Response(body, status, _NO_SNIFFING, media_type="text/plain")


def _answer(text: str, media_type: str) -> Response:
    # Lone surrogates in a repo's name must not take the page down.
    return Response(text.encode("utf-8", "replace"), media_type=media_type, headers=_HEADERS)


_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color-scheme: light dark; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884;
  vertical-align: top; overflow-wrap: anywhere; }
.up { color: #188038; } .down { color: #d93025; }
"""


_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}

_HEADERS = _NO_SNIFFING | {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_COLUMNS = {
    "repo": "repo",
    "last_success_at": "last success",
    "next_poll_at": "next poll",
    "active": "active",
    "builds": "builds counted",
    "error": "error",
}


def _page(status: Mapping[str, Any], telemetry_path: str) -> str:
    links = " · ".join(
        f'<a href="{html.escape(path)}">{html.escape(path)}</a>'
        for path in (telemetry_path, "/status.json", "/-/healthy", "/-/ready")
    )
    trouble = "" if status["state_ok"] else '<p class="down">The state cannot be written.</p>'
    accounts: Sequence[Mapping[str, Any]] = status["accounts"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>cicd-exporter</title><style>{_STYLE}</style>"
        f"<h1>cicd-exporter</h1><p>Builds of many CI systems as Prometheus metrics. "
        f"Version {html.escape(__version__)}. {links}</p>{trouble}"
        + "".join(_account(account) for account in accounts)
    )


def _account(account: Mapping[str, Any]) -> str:
    word = "up" if account["up"] else "down"
    heads = "".join(f"<th>{head}</th>" for head in _COLUMNS.values())
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(repo[column])}</td>" for column in _COLUMNS) + "</tr>"
        for repo in account["repos"]
    )
    error = f'<p class="down">{_cell(account["error"])}</p>' if account["error"] else ""
    return (
        f"<h2>{_cell(account['name'])} <small>{_cell(account['provider'])} "
        f'<span class="{word}">{word}</span></small></h2>{error}'
        f"<table><tr>{heads}</tr>{rows}</table>"
    )


def _cell(value: object) -> str:
    return "" if value is None else html.escape(str(value))
