"""`state info` and `state verify`: what is in the state, and whether it is sound."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from exporter.commands import Command, config_file, form, table
from exporter.config import Settings, load_settings
from exporter.ledger.sqlite import inspection
from exporter.metrics import soundness

_BESIDE = """\
It reads a copy, so it may run beside the exporter, neither changes the file nor locks it, and
needs as much room in the folder for temporary files."""


def _info(options: argparse.Namespace) -> int:
    path = _path(load_settings(options.config))
    found = None if path is None else inspection.inspect(path)
    if options.output == "json":
        print(json.dumps(None if found is None else msgspec.to_builtins(found), indent=2))
    elif found is None:
        print("state.url is memory: nothing is kept")
    else:
        print(table(("", ""), _rows(found)).lstrip(), end="")
    return 0


def _rows(found: inspection.Inspection) -> list[tuple[str, str]]:
    repos = ", ".join(f"{name} {count}" for name, count in found.accounts.items())
    return [
        ("file", found.file),
        ("size", f"{found.bytes / 2**20:.1f} MiB"),
        ("format", str(found.format)),
        ("in use", _holder(found.holder)),
        ("repos", f"{sum(found.accounts.values())} ({repos})" if repos else "0"),
        ("builds", f"{found.builds} completed, {found.active} not, {found.logged} in the log"),
        ("jobs", f"{found.jobs} completed"),
        ("pipelines", str(found.pipelines)),
        ("series", f"{found.series} of counters and histograms"),
        ("oldest", "-" if found.oldest is None else f"{_time(found.oldest)} (last listed)"),
    ]


def _holder(process: int | None) -> str:
    if process is None:
        return "no"
    return f"by process {process}" if process else "by a process elsewhere"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _verify(options: argparse.Namespace) -> int:
    path = _path(load_settings(options.config))
    if path is None:
        print("state.url is memory: there is nothing to verify")
        return 0
    found = inspection.damage(path, soundness.faults)
    for line in found:
        print(line)
    if not found:
        print(f"{path}: sound")
    return 1 if found else 0


def _path(settings: Settings) -> Path | None:
    return None if settings.state.path is None else Path(settings.state.path)


INFO = Command(
    name="state info",
    text="tell what the state holds",
    run=_info,
    arguments=(config_file, form("table", "json")),
    about=f"""\
{_BESIDE}

As JSON it is one object, or null where nothing is kept: `file`, `bytes`, `format` (version of its
tables), `holder` (process that has it, 0 if that is in another container, null if nobody has),
`accounts` (polled repos by account), `builds` and `jobs` (completed ones that are remembered),
`active` (builds that are not completed), `logged` (builds in the build log), `pipelines`, `series`
(a histogram is one) and `oldest` (epoch seconds at which the build was last listed that has not
been for longest).""",
    example="""\
$ cicd-exporter state info --config.file=config.yaml
file       /var/lib/cicd-exporter/state.db
size       12.4 MiB
format     6
in use     by process 812
repos      31 (acme 31)
builds     48211 completed, 7 not, 9044 in the log
jobs       0 completed
pipelines  118
series     3304 of counters and histograms
oldest     2026-07-02T12:00:00Z (last listed)""",
)
VERIFY = Command(
    name="state verify",
    text="read all of the state and tell what is damaged",
    run=_verify,
    arguments=(config_file,),
    about=f"{_BESIDE} Exit code 1 means that it is damaged.",
    example="""\
$ cicd-exporter state verify --config.file=config.yaml
/var/lib/cicd-exporter/state.db: sound""",
)
