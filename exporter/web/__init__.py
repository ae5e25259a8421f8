"""The HTTP surface: `/metrics`, a status page for people and for programs, and probes."""

from __future__ import annotations

import asyncio
import gzip
import html
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter import __version__
from exporter.exposition import CONTENT_TYPES, negotiate, render
from exporter.poller import Poller

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def application(poller: Poller, *, telemetry_path: str) -> Starlette:
    """The routes over a running poller. Nothing here waits for a provider."""

    async def metrics(request: Request) -> Response:
        values = poller.snapshot()
        poller.recorder.book.scraped()
        form = negotiate(request.headers.get("accept", ""))
        packed = "gzip" in request.headers.get("accept-encoding", "").lower()
        buckets = poller.recorder.book.rules.buckets
        body = await asyncio.to_thread(_body, lambda: render(values, buckets, form), packed=packed)
        headers = {"Content-Type": CONTENT_TYPES[form], "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    async def status_page(request: Request) -> Response:
        return HTMLResponse(_page(poller.status(), telemetry_path), headers=_HEADERS)

    async def status_data(request: Request) -> Response:
        return JSONResponse(poller.status(), headers=_HEADERS)

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is healthy.\n")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is ready.\n")

    return Starlette(
        routes=[
            Route(telemetry_path, metrics),
            Route("/", status_page),
            Route("/status.json", status_data),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
        ]
    )


def _body(body: Callable[[], bytes], *, packed: bool) -> bytes:
    # Level 1: a third of the time of level 6 for a fifth more bytes, on a local network.
    return gzip.compress(body(), 1) if packed else body()


_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color-scheme: light dark; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884;
  vertical-align: top; overflow-wrap: anywhere; }
.up { color: #188038; } .down { color: #d93025; }
"""


def _page(status: dict[str, object], telemetry_path: str) -> str:
    accounts = status["accounts"]
    assert isinstance(accounts, list)
    links = " · ".join(
        f'<a href="{html.escape(path)}">{html.escape(path)}</a>'
        for path in (telemetry_path, "/status.json", "/-/healthy", "/-/ready")
    )
    trouble = "" if status["state_ok"] else '<p class="down">The state cannot be written.</p>'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>cicd-exporter</title><style>{_STYLE}</style>"
        f"<h1>cicd-exporter</h1><p>Builds of many CI systems as Prometheus metrics. "
        f"Version {html.escape(__version__)}. {links}</p>{trouble}"
        + "".join(_account(account) for account in accounts)
    )


def _account(account: dict[str, object]) -> str:
    up = bool(account["up"])
    repos = account["repos"]
    assert isinstance(repos, list)
    columns = ("repo", "last_success_at", "next_poll_at", "active", "builds", "error")
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(repo[column])}</td>" for column in columns) + "</tr>"
        for repo in repos
    )
    heads = ("repo", "last success", "next poll", "active", "builds counted", "error")
    return (
        f"<h2>{_cell(account['name'])} <small>{_cell(account['provider'])} "
        f'<span class="{"up" if up else "down"}">{"up" if up else "down"}</span></small></h2>'
        + (f'<p class="down">{_cell(account["error"])}</p>' if account["error"] else "")
        + f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"
    )


def _cell(value: object) -> str:
    return "" if value is None else html.escape(str(value))
