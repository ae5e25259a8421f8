"""The source of an account that a test polls with one client after another."""

from __future__ import annotations

from typing import Any

from exporter.providers import Provider, Source

_SOURCES: dict[int, Source[Any]] = {}


def source_of(account: Provider, api: Any) -> Source[Any]:
    """The one source of this very account object, with `api` as its client from now on."""
    source = _SOURCES.get(id(account))
    if source is None or source.account is not account:
        source = _SOURCES[id(account)] = account.connect(api)
    source.api = api
    return source
