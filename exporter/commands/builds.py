"""`builds`: the build log of the state, for people at a terminal and for scripts."""

from __future__ import annotations

import argparse
import json
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from exporter.commands import Command, config_file, form, instant, table, whole_number
from exporter.config import State, load_settings
from exporter.ledger import opening
from exporter.ledger.build_log import BuildFilter, BuildLog, LoggedBuild
from exporter.ledger.sqlite import inspection
from exporter.messages import duration, plain
from exporter.status.builds import BuildsReport, entry
from exporter.status.report import iso

_USUAL = 20
"""Builds that are printed unless it is said."""
_TITLE, _HASH = 50, 8
"""Characters of a title and of a commit in the table."""
_EQUAL = {
    "account": "NAME",
    "repo": "NAME",
    "workflow": "NAME",
    "branch": "NAME",
    "conclusion": "WORD",
}
"""Flags that are equal to what they filter by, and what their values are called."""
_HEADS = (
    "COMPLETED",
    "CONCLUSION",
    "REPO",
    "WORKFLOW",
    "BRANCH",
    "BUILD",
    "TOOK",
    "COMMIT",
    "BY",
    "TITLE",
    "LINK",
)


def _run(options: argparse.Namespace) -> int:
    state = load_settings(options.config).state
    wanted = BuildFilter(**{name: getattr(options, name) for name in _EQUAL}, since=options.since)
    builds: list[LoggedBuild] = []
    if (opened := _log(state)) is not None:
        with opened as log:
            builds = _newest(log, wanted, options.limit)
    if options.output == "json":
        report = BuildsReport(builds=[entry(build) for build in builds], next_cursor=None)
        print(json.dumps(msgspec.to_builtins(report), indent=2))  # in ASCII: terminals obey none
    elif opened is None:
        print("state.url is memory: nothing is kept")
    else:
        print(table(_HEADS, map(_row, builds)), end="")
    return 0


def _log(state: State) -> AbstractContextManager[BuildLog] | None:
    """The build log; None where nothing is kept."""
    if state.is_database:
        return opening.database(state).build_log()
    return None if state.path is None else inspection.build_log(Path(state.path))


def _newest(log: BuildLog, wanted: BuildFilter, limit: int) -> list[LoggedBuild]:
    found: list[LoggedBuild] = []
    cursor: str | None = None
    while len(found) < limit:
        page = log.builds(wanted, limit=limit - len(found), cursor=cursor)
        found += page.builds
        cursor = page.next
        if cursor is None:
            break
    return found


def _row(build: LoggedBuild) -> tuple[str, ...]:
    at, took = build.completed_at or build.created_at, build.duration_seconds
    attempt = f"/{build.attempt}" if build.attempt > 1 else ""
    number = "-" if build.number is None else f"#{build.number}{attempt}"
    bot = " (bot)" if build.triggered_by_type == "bot" else ""
    cells = (
        "-" if at is None else iso(at),
        build.conclusion,
        build.repo,
        build.workflow,
        build.ref or build.branch,
        number,
        None if took is None else duration(round(took)),
        (build.commit or "")[:_HASH],
        f"{build.triggered_by}{bot}" if build.triggered_by else None,
        _shortened(build.title or ""),
        build.url,
    )
    return tuple(plain(cell or "") or "-" for cell in cells)


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…"


def _filters(parser: argparse.ArgumentParser) -> None:
    for name, value in _EQUAL.items():
        also = ", by its label or the provider's name" if name == "branch" else ""
        parser.add_argument(f"--{name}", metavar=value, help=f"only of this {name}{also}")
    parser.add_argument(
        "--since",
        type=instant,
        metavar="DATE",
        help="only those that completed since then: 2026-08-01, 2026-08-01T12:00:00Z (UTC if"
        " nothing is said) or, for so long ago, 48h",
    )
    parser.add_argument(
        "--limit",
        type=whole_number,
        default=_USUAL,
        metavar="NUMBER",
        help=f"how many at most (default {_USUAL})",
    )


COMMAND = Command(
    name="builds",
    text="print the newest finished builds, with commit, author and link",
    run=_run,
    arguments=(config_file, _filters, form("table", "json")),
    about="""\
It reads the build log of a copy of the state, so it may run beside the exporter, and needs none of
its secrets. `state.builds` says how many builds of a pipeline are kept; failed ones are kept for
all of `state.retention`.

As JSON it is what `/builds.json` answers, described by docs/builds.schema.json.""",
    example=(
        "$ cicd-exporter builds --config.file=config.yaml --conclusion=failed --limit=1\n"
        "COMPLETED             CONCLUSION  REPO       WORKFLOW  BRANCH  BUILD   TOOK   COMMIT"
        "    BY    TITLE             LINK\n"
        "2026-08-01T12:00:00Z  failed      acme/shop  CI        main    #812/2  4m30s  c0ffee12"
        "  octo  Mend the parser  https://github.com/acme/shop/actions/runs/812"
    ),
)
