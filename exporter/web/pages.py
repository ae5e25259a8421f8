"""What people read: the status page with its files, its data, the configuration, the references."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.config import Config
from exporter.config import reference as providers
from exporter.config.effective import effective
from exporter.metrics import reference as metrics
from exporter.poller import Poller
from exporter.web import view
from exporter.web.slices import gathered, in_slices

NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
_HEADERS = NO_SNIFFING | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
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

_encode = msgspec.json.Encoder().encode


def pages(
    poller: Poller, config: Callable[[], Config] | None, *, telemetry_path: str
) -> list[Route]:
    """The routes; `config` tells the configuration in force, if that is to be shown."""
    files = {name: _read("static", name) for name in _FILES}
    links = {name: f"/static/{name}?{_digest(data)}" for name, data in files.items()}

    async def status_page(request: Request) -> Response:
        report = await in_slices(poller.report())
        asked = view.query(request.query_params)
        template = await asyncio.to_thread(_template)  # the first time it is compiled
        parts = template.generate(
            report=report,
            view=view.view(report, asked),
            asked=asked,
            files=links,
            telemetry_path=telemetry_path,
            docs=sorted(_DOCS),
        )
        return _answer("".join(await in_slices(gathered(parts))), "text/html")

    async def status_data(request: Request) -> Response:
        report = await in_slices(poller.report())
        return Response(_encode(report), media_type="application/json", headers=_HEADERS)

    return [
        Route("/", status_page),
        Route("/status.json", status_data),
        *([] if config is None else [Route("/config", _configuration(config))]),
        *(Route(f"/static/{name}", _file(data, _FILES[name])) for name, data in files.items()),
        *(Route(f"/docs/{name}", _doc(made)) for name, made in _DOCS.items()),
    ]


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
    return Response(body, media_type=media_type, headers=_HEADERS)


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
        "span": view.span,
        "clock": view.clock,
        "number": view.number,
        "told": view.told,
        "since": view.between,
        "words": lambda state: view.WORDS.get(state, state),
    }
    return environment.get_template("status.html")


def _visible(value: Any) -> Any:
    return value.translate(_HIDDEN) if isinstance(value, str) else value


def _read(folder: str, name: str) -> bytes:
    return (resources.files("exporter.web") / folder / name).read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
