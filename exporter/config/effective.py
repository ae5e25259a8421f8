"""The configuration in force as text: what `/config` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from exporter.config.schema import SPAN, Config, lists, sections
from exporter.messages import duration, inline
from exporter.providers import Duration, Provider


def effective(config: Config) -> Iterator[str]:
    """All keys with the values in force, as lines of YAML.

    A configuration only refers to secrets, by the names of variables and files. What stands
    before an `@` in a URL, which it refuses, would be masked all the same.
    """
    for name in sections():
        yield f"{name}:"
        for key, value in _shown(getattr(config, name)).items():
            yield f"  {key}: {inline(value)}"
    for name in lists():
        yield f"{name}: {inline([_shown(item) for item in getattr(config, name)])}"
    yield "accounts:"
    for account in config.accounts:
        yield from _account(account, config.polling.interval)


def _account(account: Provider, interval: float) -> Iterator[str]:
    shown = _shown(account) | {
        "url": account.root,
        "interval": duration(account.interval or interval),
    }
    lead = "  - "
    for key, value in shown.items():
        if isinstance(value, list) and value:  # perhaps of thousands
            yield f"{lead}{key}:"
            yield from (f"      - {inline(item)}" for item in value)
        else:
            yield f"{lead}{key}: {inline(value)}"
        lead = "    "


def _shown(model: BaseModel) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            value = _shown(value)
        elif value is not None and (SPAN in field.metadata or field.annotation == Duration):
            value = duration(value)
        shown[key] = value
    return shown
