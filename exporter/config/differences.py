"""What a reload changes: two configurations compared, a line for each difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.config.schema import SPAN, Config, lists, sections
from exporter.messages import duration, inline
from exporter.providers import Duration
from exporter.redaction import shown

NEEDS_RESTART: dict[str, tuple[str, ...]] = {
    "web": ("listen_address", "telemetry_path", "native_histograms"),
    "state": ("url", "password_env", "password_file", "schema", "on_corrupt"),
    "fleet": ("lease", "name"),
    "metrics": ("duration_buckets", "queue_buckets"),
}
"""Keys, by section, that a running process keeps as they were at its start."""

_MOST_SHOWN = 8
"""Added or removed items of a list that a line names."""


class ConfigDiff(NamedTuple):
    """The differences of two configurations."""

    config: Config
    """The wanted one, as far as it applies without a restart."""
    changes: list[str]
    """`+account x`, `-account y`, `~account z: interval 1m -> 30s`, `~polling.timeout ...`."""
    postponed: list[str]
    """`state.url ...`: keys that wait for a restart."""


def diff(running: Config, wanted: Config) -> ConfigDiff:
    """Compare the `running` configuration with the `wanted` one.

    The order of accounts in the file is no difference. No line holds a secret, as a
    configuration only refers to them.
    """
    kept: dict[str, Any] = {}
    postponed: list[str] = []
    for name, keys in NEEDS_RESTART.items():
        before, after = getattr(running, name), getattr(wanted, name)
        postponed += [f"{name}.{line}" for line in _fields(before, after, only=keys)]
        kept[name] = after.model_copy(update={key: getattr(before, key) for key in keys})
    config = wanted.model_copy(update=kept)
    return ConfigDiff(config, [*_accounts(running, config), *_sections(running, config)], postponed)


def _accounts(before: Config, after: Config) -> Iterator[str]:
    old = {account.name: account for account in before.accounts}
    new = {account.name: account for account in after.accounts}
    yield from (f"-account {name}" for name in old if name not in new)
    for name, account in new.items():
        if name not in old:
            yield f"+account {name}"
        elif account != old[name]:
            yield f"~account {name}: {', '.join(_fields(old[name], account))}"


def _sections(before: Config, after: Config) -> Iterator[str]:
    for name in sections():
        for line in _fields(getattr(before, name), getattr(after, name)):
            yield f"~{name}.{line}"
    for name in lists():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            texts = ([inline(item.model_dump()) for item in items] for items in (old, new))
            yield f"~{name} {_items(*texts)}"


def _fields(
    before: BaseModel, after: BaseModel, *, only: Sequence[str] | None = None
) -> Iterator[str]:
    """`key old -> new` of each key that differs, of those that both have."""
    known = type(before).model_fields
    for key, field in type(after).model_fields.items():
        if key not in known or (only is not None and key not in only):
            continue
        old, new = getattr(before, key), getattr(after, key)
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from (f"{key}.{line}" for line in _fields(old, new))
        elif isinstance(old, list | tuple):
            yield f"{key} {_items(old, new)}"
        else:
            yield f"{key} {_value(old, field)} -> {_value(new, field)}"


def _items(before: Sequence[Any], after: Sequence[Any]) -> str:
    """`+added -removed`, of long lists only some."""
    old, new = (dict.fromkeys(map(str, items)) for items in (before, after))
    moves = [f"+{item}" for item in new if item not in old]
    moves += [f"-{item}" for item in old if item not in new]
    more = len(moves) - _MOST_SHOWN
    named = " ".join(moves[:_MOST_SHOWN]) or "in another order"
    return f"{named} and {more} more" if more > 0 else named


def _value(value: Any, field: FieldInfo) -> str:
    if value is None:
        return "nothing"
    if SPAN in field.metadata or field.annotation == (Duration | None):
        return duration(value)
    return "a mapping" if isinstance(value, BaseModel) else shown(value)
