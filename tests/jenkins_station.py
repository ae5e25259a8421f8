"""The jenkins provider before an emulated controller."""

from __future__ import annotations

from typing import Any

from exporter.providers.jenkins import Jenkins
from tests.emulators import jenkins
from tests.emulators.jenkins import cause
from tests.emulators.rig import Station

EVENT = cause("jenkins.branch.BranchEventCause")


def provider(*repos: str, **keys: Any) -> Jenkins:
    named = {"name": "acme", "provider": "jenkins", "token_env": "T", "username": "me"}
    return Jenkins(**{**named, "repos": list(repos or ("team/shop",)), **keys})


def station(world: jenkins.Jenkins, *repos: str, **keys: Any) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/ci")
