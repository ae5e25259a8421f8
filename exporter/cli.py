"""The command line: which commands there are, and their exit codes.

Exit codes: 0 ok, 1 runtime failure, 2 usage or configuration.
"""

from __future__ import annotations

import argparse
import functools
import sys
import textwrap
from collections.abc import Sequence

from exporter import __version__, logs
from exporter.arguments import Parser
from exporter.commands import (
    Command,
    backfill,
    builds,
    check_config,
    completion,
    config,
    demo,
    discover,
    doctor,
    metrics,
    once,
    run,
    state,
)
from exporter.errors import ConfigError, ExporterError
from exporter.redaction import redacted

_WIDTH = 80

COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    check_config.COMMAND,
    doctor.COMMAND,
    discover.COMMAND,
    once.COMMAND,
    backfill.COMMAND,
    builds.COMMAND,
    state.INFO,
    state.VERIFY,
    state.MIGRATE,
    state.COPY,
    metrics.COMMAND,
    config.SCHEMA,
    completion.COMMAND,
    demo.COMMAND,
)
"""In the order of the help."""
GROUPS: dict[str, str] = {
    "config": "the form of the configuration",
    "state": "look at the state, also beside a running exporter, or copy it",
}
"""The first word of commands that have two, and what they are about."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        options = parser().parse_args(argv)
        logs.configure(level=options.level, form=options.form)
        code: int = options.run(options)
        sys.stdout.flush()
    except ConfigError as error:
        for fault in error.faults:
            logs.say(fault)
        return 2
    except ExporterError as error:
        logs.say(f"cicd-exporter: {redacted(str(error))}")
        return 1
    except BrokenPipeError:  # whoever read our output has had enough of it
        return 1
    except OSError as error:
        what = error.filename or "standard output"
        logs.say(f"cicd-exporter: {what}: {(error.strerror or str(error)).lower()}")
        return 1
    return code


@functools.cache
def parser() -> Parser:
    """What understands the arguments.

    It sets `run` to what the chosen command does, and `parser` to itself.
    """
    top = Parser(
        prog="cicd-exporter",
        description="Prometheus exporter for the builds and jobs of many CI systems.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"cicd-exporter {__version__}")
    commands = {"": top.add_subparsers(metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, word = command.name.rpartition(" ")
        if group not in commands:
            text = GROUPS[group]
            grouped = commands[""].add_parser(
                group, help=text, description=text, allow_abbrev=False
            )
            commands[group] = grouped.add_subparsers(metavar="COMMAND", required=True)
        own = commands[group].add_parser(
            word,
            help=command.text,
            description=_filled(f"{command.text}\n\n{command.about}"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for add in (*command.arguments, _logging):
            add(own)
        own.set_defaults(run=command.run, parser=top)
    return top


def _filled(text: str) -> str:
    """Paragraphs as wide as a terminal; one with an indented line or a list stays."""
    return "\n\n".join(
        paragraph
        if any(line.startswith((" ", "- ")) for line in paragraph.splitlines())
        else textwrap.fill(paragraph, _WIDTH)
        for paragraph in text.strip().split("\n\n")
    )


def _logging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log.level",
        dest="level",
        choices=("debug", "info", "warn", "error"),
        default="info",
        help="the least that is logged (default info)",
    )
    parser.add_argument(
        "--log.format",
        dest="form",
        choices=("logfmt", "json"),
        default="logfmt",
        help="how (default logfmt)",
    )
