"""The demo's emulator with faults to inject and a journal of its requests.

world = World()
world.open("acc", "github", "acme/shop")
with EmulatorThread(world) as emulator:
    ...  # GET {emulator.url}/unified/ci-cd/builds?... with the token `demo`
    emulator.faults.add(Fault(status=502, times=1))
    assert emulator.journal.count("/unified/ci-cd/builds") == 1
"""

from __future__ import annotations

from email.utils import formatdate
from types import TracebackType

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from exporter.demo import Emulator, Limits, World, routed
from tests.tools.emulators.unified.faults import Fault, Faults, Gate
from tests.tools.emulators.unified.journal import Journal, Request
from tests.tools.emulators.unified.truth import recoverable_conclusion, recoverable_trigger
from tests.tools.serving import ServerThread

__all__ = [
    "EmulatorThread",
    "Fault",
    "Faults",
    "Gate",
    "Journal",
    "Request",
    "app",
    "recoverable_conclusion",
    "recoverable_trigger",
]

REMEMBER = 20_000
"""Requests that the journal keeps."""


def app(
    world: World,
    *,
    token: str = "demo",
    limits: Limits | None = None,
) -> Starlette:
    """The emulator over `world`; its state has `faults` and `journal`."""
    emulator = Emulator(world, token=token, limits=limits)
    faults, journal = Faults(), Journal(REMEMBER)

    async def answer(http: HttpRequest) -> Response:
        raw_path = http.scope["raw_path"].decode("latin-1")
        request = Request.of(http, raw_path=raw_path, at=world.clock())
        journal.note(request)
        fault = faults.meeting(request)
        if fault is None:
            response = emulator.respond(request)
        else:
            if fault.gate is not None:
                await fault.gate.passed()
            response = fault.spoil(lambda: emulator.respond(request))
        response.headers["date"] = formatdate(world.clock(), usegmt=True)
        journal.answered(request, response.status_code)
        return response

    starlette = routed(answer)
    starlette.state.faults, starlette.state.journal = faults, journal
    return starlette


class EmulatorThread(ServerThread):
    """An emulator in a thread; any thread may use its `world`, `faults` and `journal`."""

    def __init__(
        self,
        world: World | None = None,
        *,
        token: str = "demo",
        limits: Limits | None = None,
        port: int = 0,
    ) -> None:
        self.world = World() if world is None else world
        super().__init__(app(self.world, token=token, limits=limits), port=port)
        self.faults: Faults = self.app.state.faults
        self.journal: Journal = self.app.state.journal

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.faults.clear()
        super().__exit__(kind, error, trace)
