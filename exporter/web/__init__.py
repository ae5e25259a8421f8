"""The HTTP surface: `/metrics`, a status page for people and for programs, and probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter.config import Config
from exporter.errors import ConfigError, ExporterError, StateUnavailable
from exporter.ledger.build_log import BuildLog
from exporter.outputs.prometheus import CONTENT_TYPES, Answer, Exposition, negotiate, wants_gzip
from exporter.status.ci import CiReport
from exporter.status.document import StatusReport
from exporter.web.builds import build_routes
from exporter.web.ci import ci_routes
from exporter.web.docs import docs_routes
from exporter.web.external import Below
from exporter.web.headers import NO_SNIFFING
from exporter.web.log_reader import LogReader
from exporter.web.origin import foreign
from exporter.web.pages import pages
from exporter.web.parameters import sentence
from exporter.web.rendering import Renderer
from exporter.web.report_cache import ReportCache
from exporter.web.slices import in_slices

T = TypeVar("T")

Reload = Callable[[], Awaitable[Sequence[str]]]


class Served(Protocol):
    """What the routes show of the running process."""

    @property
    def exposition(self) -> Exposition:
        """The metrics as text."""

    @property
    def is_ready(self) -> bool:
        """Whether whoever asks is shown how things stand."""

    def worker_metrics(self) -> bytes | None:
        """What is this process's own; None where the exposition has it."""

    async def follow(self) -> Callable[[], None]:
        """Know what was committed before; what to call once an answer of now was read whole.

        Raises StateUnavailable: nothing may be shown then.
        """

    @property
    def last_reload(self) -> object:
        """Another object after each reload."""

    def report(self) -> Generator[None, None, StatusReport]:
        """What the status page says, made in short steps."""

    def ci(self) -> Generator[None, None, CiReport]:
        """What the pages about CI say, made in short steps."""

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        """What `read` returns of the build log. May be cancelled. Raises StateUnavailable."""


def application(
    served: Served,
    *,
    telemetry_path: str,
    config: Callable[[], Config] | None = None,
    reload: Reload | None = None,
    base: Callable[[], str] = lambda: "",
) -> Starlette:
    """The routes over a running process. Nothing here waits for a provider.

    `config` returns the configuration in force, if that is to be shown. `reload` loads it anew
    and returns what has changed, line by line, or raises ExporterError; None forbids it. `base`
    returns the path below which people reach the pages, which answer there as well.
    """
    renderer = Renderer(base, telemetry_path=telemetry_path)

    async def metrics(request: Request) -> Response:
        seen = await served.follow()
        exposition = served.exposition
        form = negotiate(_header(request, "accept"), offers=exposition.offers)
        packed = wants_gzip(_header(request, "accept-encoding"))
        await in_slices(step for step in exposition.steps(form, packed=packed))
        answer = exposition.answer(form, packed=packed)
        headers = {"Content-Type": CONTENT_TYPES[form], "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return _Scrape(answer, headers, seen=seen)

    async def of_worker(request: Request) -> Response:
        text = served.worker_metrics()
        if text is None:
            return _plain_text(f"no fleet: all metrics are at {telemetry_path}", 404)
        return Response(text, 200, {**NO_SNIFFING, "Content-Type": CONTENT_TYPES["text"]})

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("cicd-exporter is healthy.\n", headers=NO_SNIFFING)

    async def ready(request: Request) -> Response:
        if not served.is_ready:
            text = "cicd-exporter cannot read its state: nothing is shown until it can.\n"
            return PlainTextResponse(text, 503, headers=NO_SNIFFING)
        return PlainTextResponse("cicd-exporter is ready.\n", headers=NO_SNIFFING)

    async def unavailable(request: Request, error: Exception) -> Response:
        return sentence(f"{error}.", 503)

    log = LogReader(served)
    read = [
        *ci_routes(renderer, ReportCache(served.ci, lambda: served.last_reload), log),
        *pages(renderer, ReportCache(served.report, lambda: served.last_reload), config),
        *([] if config is None else build_routes(renderer, log, config)),
        *docs_routes(renderer),
    ]
    app = Starlette(
        routes=[
            Route(telemetry_path, metrics),
            Route(f"{telemetry_path.rstrip('/')}/worker", of_worker),
            *read,
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", _reloading(reload), methods=["POST", "PUT"]),
            Below(base, read),
        ],
        exception_handlers={StateUnavailable: unavailable},
    )
    app.router.redirect_slashes = False  # an unknown path is unknown
    return app


def _header(request: Request, name: str) -> str:
    return ",".join(request.headers.getlist(name))


class _Scrape(Response):
    """An answer that is sent in parts, so that it is in memory only once.

    `seen` is called when the whole of it has reached a client.
    """

    def __init__(
        self, answer: Answer, headers: Mapping[str, str], *, seen: Callable[[], None]
    ) -> None:
        super().__init__(headers={**NO_SNIFFING, **headers, "Content-Length": str(answer.size)})
        self._batches = answer.batches
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        if scope["method"] == "GET":
            for batch in self._batches:
                part = {"type": "http.response.body", "body": b"".join(batch), "more_body": True}
                await send(part)
                await asyncio.sleep(0)
            if await _delivered(scope):
                self._seen()
        await send({"type": "http.response.body", "body": b""})


async def _delivered(scope: Scope) -> bool:
    """Whether the client has what was sent, as far as the server can tell."""
    ask = scope.get("state", {}).get("delivered")
    return ask is None or await ask()


def _reloading(reload: Reload | None) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if reload is None:
            return _plain_text("Lifecycle API is not enabled.", 403)
        if fault := foreign(request.headers):
            return _plain_text(f"not reloaded: {fault}", 403)
        try:
            return _plain_text("\n".join(await reload()) or "nothing has changed", 200)
        except ExporterError as error:
            status = 400 if isinstance(error, ConfigError) else 500
            return _plain_text(f"failed to reload config: {error}", status)

    return answer


def _plain_text(text: str, status: int) -> Response:
    body = f"{text}\n".encode("utf-8", "replace")
    return Response(body, status, NO_SNIFFING, media_type="text/plain")
