"""The azure_devops provider before an emulated organization."""

from __future__ import annotations

from typing import Any

from exporter.providers import Site
from exporter.providers.azure_devops import AzureDevOps, ProjectPath
from tests.tools.emulators import azure_devops
from tests.tools.emulators.rig import Station

PLACE = ProjectPath.of("Acme/shop")
SITE = Site("https://dev.azure.com")


def provider(*repos: str, **keys: Any) -> AzureDevOps:
    named = {"name": "acme", "provider": "azure_devops", "token_env": "T"}
    return AzureDevOps(**{**named, "repos": list(repos or ("acme/shop",)), **keys})


def station(world: azure_devops.AzureDevOps, *repos: str, **keys: Any) -> Station:
    return Station(provider(*repos, **keys), world.app(), "")
