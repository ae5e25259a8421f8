"""A station for the tests of GitLab."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from exporter.demo.serve import serving
from exporter.http import Api
from exporter.providers import Site
from exporter.providers.gitlab import GitLab
from tests.tools.emulators.gitlab import World
from tests.tools.emulators.rig import Station

SHOP = "acme/platform/shop"
SITE = Site("https://gitlab.com")
DAY = 86400.0
LIST = "/projects/acme%2Fplatform%2Fshop/pipelines"


def gitlab(**keys: Any) -> GitLab:
    return GitLab(**{"name": "acme", "provider": "gitlab", "repos": [SHOP], **keys})


def station(world: World, *, path: Path | None = None, **keys: Any) -> Station:
    for entry in keys.get("repos", [SHOP]):
        if "*" not in entry:
            world.projects.setdefault(entry, {})
    return Station(gitlab(**keys), world.app(), "/api/v4", path=path)


def paths(requests: list[str]) -> list[str]:
    return [request.partition("?")[0].removeprefix("/api/v4") for request in requests]


def asked(rig: Station, what: Callable[[Api], Awaitable[Any]]) -> Any:
    """What the provider answers, asked without the machinery around it."""

    async def ask() -> Any:
        async with serving(rig.app) as url:
            api = rig.api(url)
            try:
                return await what(api)
            finally:
                await api.aclose()

    return asyncio.run(ask())
