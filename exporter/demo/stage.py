"""What `cicd-exporter demo` runs beside the exporter: the emulator, with life in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from exporter.demo.emulator import Limits, app
from exporter.demo.life import Life, demo_accounts
from exporter.demo.serve import serving
from exporter.demo.world import World

TOKEN = "demo"  # noqa: S105 - everybody may know it

REMEMBER = 100
"""Requests that the journal keeps: nobody reads it here."""


class Stage(msgspec.Struct, frozen=True):
    """The running emulator."""

    url: str

    def configuration(self, folder: str) -> str:
        """A configuration (YAML) that polls it; the state is a new file in `folder`.

        The token is to be found in the environment variable `TOKEN_ENV`.
        """
        content = {
            "state": {"url": f"sqlite:///{folder}/cicd-exporter.db"},
            "polling": {"interval": "5s", "max_interval": "15s"},
            "metrics": {"zero_hold": "5s"},
            "accounts": demo_accounts(self.url),
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()  # JSON is YAML


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Stage]:
    """Serve the demo's emulator on a free loopback port, with the real API's limits."""
    world = World()
    life = asyncio.create_task(Life(world).run())
    emulator = app(world, token=TOKEN, limits=Limits(), remember=REMEMBER)
    try:
        async with serving(emulator) as url:
            yield Stage(url)
    finally:
        life.cancel()
