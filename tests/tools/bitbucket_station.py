"""A station for the tests of Bitbucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.providers.bitbucket import Bitbucket
from tests.tools.emulators import bitbucket
from tests.tools.emulators.rig import Station


def provider(*repos: str, **keys: Any) -> Bitbucket:
    named = {"name": "acme", "provider": "bitbucket", "token_env": "T"}
    return Bitbucket(**{**named, "repos": list(repos or ("acme/shop",)), **keys})


def station(
    world: bitbucket.Bitbucket, *repos: str, path: Path | None = None, **keys: Any
) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/2.0", path=path)
