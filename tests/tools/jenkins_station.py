"""The jenkins provider before an emulated controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.providers.jenkins import Jenkins
from tests.tools.emulators import jenkins
from tests.tools.emulators.jenkins import cause
from tests.tools.emulators.rig import Station
from tests.tools.scripted import DAY

EVENT = cause("jenkins.branch.BranchEventCause")


def provider(*repos: str, **keys: Any) -> Jenkins:
    named = {"name": "acme", "provider": "jenkins", "token_env": "T", "username": "me"}
    return Jenkins(**{**named, "repos": list(repos or ("team/shop",)), **keys})


def station(
    world: jenkins.Jenkins,
    *repos: str,
    path: Path | None = None,
    lookback: float = DAY,
    **keys: Any,
) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/ci", path=path, lookback=lookback)
