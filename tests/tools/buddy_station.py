"""The buddy provider before an emulated API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.providers.buddy import Buddy
from tests.tools.emulators import buddy
from tests.tools.emulators.rig import Station


def provider(*repos: str, **keys: Any) -> Buddy:
    named = {"name": "acme", "provider": "buddy", "token_env": "T"}
    return Buddy(**{**named, "repos": list(repos or ("acme/shop",)), **keys})


def station(world: buddy.Buddy, *repos: str, path: Path | None = None, **keys: Any) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/api", path=path)
