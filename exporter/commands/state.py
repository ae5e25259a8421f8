"""The `state` commands: what a state holds, whether it is sound, and how it gets elsewhere."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from exporter.commands import Command, config_file, form, table
from exporter.config import load_settings
from exporter.ledger import opening
from exporter.ledger.sql.contents import DatabaseContents
from exporter.ledger.sqlite import inspection
from exporter.metrics import soundness

_BESIDE = """\
It reads a copy, so it may run beside the exporter, neither changes the file nor locks it, and
needs as much room in the folder for temporary files."""


def _info(options: argparse.Namespace) -> int:
    state = load_settings(options.config).state
    found: inspection.Inspection | DatabaseContents | None = None
    if state.is_database:
        found = opening.database(state).inspect()
    elif state.path is not None:
        found = inspection.inspect(Path(state.path))
    if options.output == "json":
        print(json.dumps(None if found is None else msgspec.to_builtins(found), indent=2))
    elif found is None:
        print("state.url is memory: nothing is kept")
    else:
        print(table(("", ""), _rows(found)).lstrip(), end="")
    return 0


def _rows(found: inspection.Inspection | DatabaseContents) -> list[tuple[str, str]]:
    repos = ", ".join(f"{name} {count}" for name, count in found.accounts.items())
    if isinstance(found, inspection.Inspection):
        where = [("file", found.file)]
        in_use = _holder(found.holder)
    else:
        where = [("database", found.database), ("schema", found.schema)]
        workers = (f"{w.name} ({', '.join(w.accounts) or 'nothing'})" for w in found.workers)
        in_use = f"by {', '.join(workers)}" if found.workers else "no"
    return [
        *where,
        ("size", f"{found.bytes / 2**20:.1f} MiB"),
        ("format", str(found.format)),
        ("in use", in_use),
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
    state = load_settings(options.config).state
    if state.is_database:
        place, found = state.url, opening.database(state).damage(soundness.faults)
    elif state.path is not None:
        place, found = state.path, inspection.damage(Path(state.path), soundness.faults)
    else:
        print("state.url is memory: there is nothing to verify")
        return 0
    for line in found:
        print(line)
    if not found:
        print(f"{place}: sound")
    return 1 if found else 0


def _migrate(options: argparse.Namespace) -> int:
    state = load_settings(options.config).state
    if not state.is_database:
        print("state.url names no database: `run` makes and upgrades the file by itself")
        return 0
    before, now = opening.database(state).migrate()
    made = {None: "are of format", 0: "were made, in format"}.get(before, "were upgraded to format")
    print(f"the tables in schema {state.schema} {made} {now}")
    return 0


def _copy(options: argparse.Namespace) -> int:
    copied = opening.copy(options.source, options.target, schema=options.schema)
    rows = [(name, str(one.rows), f"{one.sum:016x}") for name, one in copied.items()]
    print(table(("TABLE", "ROWS", "DIGEST OF BOTH"), rows), end="")
    return 0


def _places(parser: argparse.ArgumentParser) -> None:
    forms = "sqlite:///PATH or postgresql://HOST/DATABASE"
    parser.add_argument(
        "--from", dest="source", metavar="URL", required=True, help=f"the state to copy: {forms}"
    )
    parser.add_argument(
        "--to", dest="target", metavar="URL", required=True, help="where to, an empty one"
    )
    parser.add_argument(
        "--schema",
        metavar="NAME",
        default="cicd_exporter",
        help="schema of the database (default cicd_exporter)",
    )


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
been for longest). Of a database it has `database` (host and name), `schema` and `owner` (host of
the exporter that writes it, else null) in place of `file` and `holder`, and is read in place.""",
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
MIGRATE = Command(
    name="state migrate",
    text="make or upgrade the tables in a database",
    run=_migrate,
    arguments=(config_file,),
    about="""\
`run` does it by itself. This is for those whose exporter has a role that may not: run it by the
role that owns the schema. Twice does nothing more.""",
    example="""\
$ cicd-exporter state migrate --config.file=config.yaml
the tables in schema cicd_exporter were made, in format 1""",
)
COPY = Command(
    name="state copy",
    text="copy a state from a file into a database, or back",
    run=_copy,
    arguments=(_places,),
    about="""\
Either way, and from file to file. No exporter may use either of them, and the target must be
empty. It is one transaction: whatever goes wrong, the target stays as it was. Rows and their digest
are compared on both sides, so counters go on at the same numbers. The password of a database comes
from where libpq finds it: PGPASSWORD, PGPASSFILE or ~/.pgpass.""",
    example="""\
$ cicd-exporter state copy --from=sqlite:///state.db --to=postgresql://cicd@db.example/cicd
TABLE    ROWS  DIGEST OF BOTH
account  1     5f0c1a9be1d40e77
...""",
)
