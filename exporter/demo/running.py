"""The emulator as `cicd-exporter demo` runs it, with builds that keep coming."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from exporter.demo.emulator import Emulator, Limits, routed
from exporter.demo.serve import serving
from exporter.demo.simulation import Simulation, demo_accounts
from exporter.demo.world import World

TOKEN = "demo"  # noqa: S105 - published


LABELS = (
    {"repos": ["acme/billing", "acme/ledger"], "labels": {"team": "payments"}},
    {"repos": ["acme/*", "gh/acme/*", "shop/*"], "labels": {"team": "web"}},
)
"""Which team has which repos; those of the others say nothing of it."""


class RunningDemo(msgspec.Struct, frozen=True):
    """The running emulator."""

    url: str

    def configuration(self, folder: str, external_url: str | None = None) -> str:
        """A configuration (YAML) that polls it, with its state in a new file in `folder`.

        The exporter reads the token from the environment variable `TOKEN_ENV`, and people reach
        it at `external_url`.
        """
        content = {
            "web": {"external_url": external_url},
            "state": {"url": f"sqlite:///{folder}/cicd-exporter.db"},
            "polling": {"interval": "5s", "max_interval": "15s"},
            "metrics": {"zero_hold": "5s"},
            "labels": LABELS,
            "accounts": demo_accounts(self.url),
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()  # JSON is YAML


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[RunningDemo]:
    """Serve the demo's emulator on a free loopback port, with the real API's limits."""
    world = World()
    simulation = asyncio.create_task(Simulation(world).run())
    emulator = Emulator(world, token=TOKEN, limits=Limits())
    try:
        async with serving(routed(emulator.answer)) as url:
            yield RunningDemo(url)
    finally:
        simulation.cancel()
