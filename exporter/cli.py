"""The command line: which commands there are, and their exit codes.

Exit codes: 0 ok, 1 runtime failure, 2 usage or configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from exporter import __version__, logs
from exporter.commands import (
    Command,
    backfill,
    check_config,
    config,
    demo,
    discover,
    doctor,
    metrics,
    once,
    run,
    state,
)
from exporter.config.words import guess, unknown_word
from exporter.errors import ConfigError, ExporterError

COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    check_config.COMMAND,
    doctor.COMMAND,
    discover.COMMAND,
    once.COMMAND,
    backfill.COMMAND,
    state.INFO,
    state.VERIFY,
    metrics.COMMAND,
    config.SCHEMA,
    demo.COMMAND,
)
"""In the order of the help."""
GROUPS: dict[str, str] = {
    "config": "the form of the configuration",
    "state": "look at the state, also beside a running exporter",
}
"""The first word of commands that have two, and what they are about."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(argv)
    logs.configure(level=options.level, form=options.form)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 2
    except ExporterError as error:
        print(f"cicd-exporter: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


class Parser(argparse.ArgumentParser):
    """Says what an unknown flag or word was probably meant to be."""

    def parse_known_args(  # type: ignore[override]  # as all of us call it
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Like argparse, but tells of an unknown flag first: what it lacks may be that one."""
        given = sys.argv[1:] if args is None else args
        if not self._subparsers:
            for flag in _flags(given):
                if flag not in self._option_string_actions:
                    self.error(self._unknown(flag))
        known, rest = super().parse_known_args(given, namespace)
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        return known, rest

    def _unknown(self, flag: str) -> str:
        flags = [known for known in self._option_string_actions if known.startswith("--")]
        near = guess(flag, flags)
        return f"unknown flag {flag} ({f'did you mean {near}?' if near else 'see --help'})"

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Called by argparse for whatever has `choices`."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown_word(value, map(str, action.choices)))


def _flags(args: Iterable[str]) -> Iterator[str]:
    """The names of flags among arguments, as far as they can be flags."""
    for arg in args:
        if arg == "--":
            return
        if arg.startswith("--"):
            yield arg.partition("=")[0]


def parser() -> Parser:
    """What understands the arguments; it sets `run` to what the chosen command does."""
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
            word, help=command.text, description=command.text, allow_abbrev=False
        )
        for add in (*command.arguments, _logging):
            add(own)
        own.set_defaults(run=command.run)
    return top


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
