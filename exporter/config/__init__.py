"""The configuration file: read once, strictly, with every fault told at its place.

`load` is all the rest of the program needs. Relative paths of `*_file` keys start at the folder
of the configuration file; that of `state.url` at the working directory.

`schema` has the keys, their types and defaults, and `accounts` reads those of the providers.
`credentials` looks for the secrets that are referred to. `document` reads YAML with places, and
`report` collects the faults. What is printed of a configuration is made by `example`, `keys`,
`reference`, `json_schema` and `effective`; `differences` says what a reload changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path as File
from typing import Any

from exporter.config.accounts import read_accounts
from exporter.config.credentials import Environment, read_password
from exporter.config.document import CONFIG_FILE, Path, read
from exporter.config.example import example
from exporter.config.report import Report
from exporter.config.schema import (
    Config,
    Metrics,
    Polling,
    Section,
    Settings,
    State,
    Web,
    host_port,
    lists,
    sections,
)
from exporter.messages import duration, unknown_key
from exporter.providers import Provider, catalogue
from exporter.redaction import holds_credential, shown

__all__ = [
    "Config",
    "Metrics",
    "Polling",
    "Settings",
    "State",
    "Web",
    "example",
    "host_port",
    "load",
    "load_settings",
]

_INTERVAL: Path = ("polling", "interval")
_NOT_MORE_THAN: tuple[tuple[Path, Path], ...] = (
    (("polling", "lookback"), ("state", "retention")),
    (_INTERVAL, ("polling", "max_interval")),
)


def load(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    providers: Mapping[str, type[Provider]] | None = None,
    again: bool = False,
) -> Config:
    """The configuration in the file at `path`; `providers` is the catalogue if not given.

    Raises ConfigError with every fault as `FILE:LINE:COL: key.path: what is wrong (hint)`
    in the file's order. Tokens are looked for, so that a missing one is told now, and
    not kept. What is read `again` is no pipe, which holds nothing the second time.
    """
    file = os.fspath(path)
    folder = str(File(file).parent)
    document = read(file, CONFIG_FILE._replace(piped=not again))
    report = Report(file, document)
    raw = document.value
    settings = _settings(report, raw, folder)
    known = catalogue() if providers is None else providers
    around = Environment(known, environ, folder)
    accounts = read_accounts(report, raw, around)
    read_password(report, raw, around)
    for place, text in _texts(raw, ()):
        if "${" in text:
            report.warn(place, "`${...}` is not expanded (it is taken as it stands)")
        if holds_credential(text) and report.sound(place):
            what = "looks like a credential (secrets are only referenced: token_env, token_file)"
            report.fault(place, what)
    report.close()
    return Config(**dict(settings), accounts=accounts, warnings=report.warnings())


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """All of the file but its accounts, whose secrets only the exporter may have.

    Raises ConfigError as `load` does.
    """
    file = os.fspath(path)
    document = read(file)
    report = Report(file, document)
    settings = _settings(report, document.value, str(File(file).parent))
    report.close()
    return settings


def _settings(report: Report, raw: Mapping[str, Any], folder: str) -> Settings:
    """All but the accounts; a section with nothing in it has its defaults."""
    found: dict[str, Section] = {}
    for name, model in sections().items():
        value = raw.get(name)
        if value is not None and not isinstance(value, dict):
            report.fault((name,), f"must be a mapping, got {shown(value)} (write `key: value`)")
        given = value if isinstance(value, dict) else {}
        found[name] = report.validated(model, given, (name,)) or model()
    listed = {name: _items(report, raw.get(name), name, model) for name, model in lists().items()}
    known = [*found, *listed, "accounts"]
    for name in raw:
        if name not in known:
            report.fault(
                (name,), partial(unknown_key, name, known), position=report.key_position((name,))
            )
    state = found["state"]
    if isinstance(state, State) and state.password_file is not None:
        file = str(File(folder, state.password_file))
        found["state"] = state.model_copy(update={"password_file": file})
    settings = Settings.model_validate({**found, **listed})
    for low, high in _NOT_MORE_THAN:
        _not_more_than(report, settings, low, high)
    metrics = raw.get("metrics")
    if isinstance(metrics, dict):
        for key in ("duration_buckets", "queue_buckets"):
            _rising(report, ("metrics", key), metrics.get(key))
    return settings


def _items(report: Report, value: Any, name: str, model: type[Section]) -> list[Section]:
    """The sound items of a list of mappings."""
    if value is not None and not isinstance(value, list):
        report.fault((name,), f"must be a list, got {shown(value)} (write `- key: value` below it)")
    found: list[Section] = []
    for n, item in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(item, dict):
            report.fault((name, n), f"must be a mapping, got {shown(item)} (write `key: value`)")
        elif (sound := report.validated(model, item, (name, n))) is not None:
            found.append(sound)
    return found


def _not_more_than(report: Report, settings: Settings, low: Path, high: Path) -> None:
    """Tell of `low` over `high` at the one that the file has."""
    least, most = (_seconds(settings, path) for path in (low, high))
    if least <= most or not report.sound(low, high):
        return
    if report.known(high) == high:
        report.fault(high, f"must not be less than {'.'.join(map(str, low))}, {duration(least)}")
    elif low != _INTERVAL:  # a longer interval than the default of its maximum raises that
        name = ".".join(map(str, high))
        report.fault(low, f"must not be more than {name}, {duration(most)} (raise that one too)")


def _seconds(settings: Settings, path: Path) -> float:
    value: Any = settings
    for part in path:
        value = getattr(value, str(part))
    return float(value)


def _rising(report: Report, path: Path, bounds: Any) -> None:
    """Tell of each bound that is not above the one before it, where both are sound."""
    for i in range(1, len(bounds) if isinstance(bounds, list) else 0):
        before, bound = bounds[i - 1 : i + 1]
        if report.sound((*path, i - 1), (*path, i)) and bound <= before:
            what = f"must be greater than the bound before it, {before:g}, got {bound:g}"
            report.fault((*path, i), what)


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text below `value` with its place."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*path, key))
    elif isinstance(value, str):
        yield path, value
