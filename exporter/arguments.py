"""A parser of arguments that says what was probably meant, and what it understands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, NoReturn

from exporter.messages import guess, unknown_word
from exporter.redaction import guarded, shown


class Flag(NamedTuple):
    """A flag of a command."""

    name: str
    value: str
    """What its value is called; empty for a switch."""
    choices: tuple[str, ...]
    """All values that there are; empty if any may stand there."""
    text: str
    required: bool
    repeats: bool


class Outline(NamedTuple):
    """A command, or the first word of several."""

    path: str
    """Its words, with blanks between; empty for the top."""
    text: str
    words: tuple[tuple[str, str], ...]
    """What may follow: commands, or the choices of an argument, with their meaning."""
    argument: str
    """What an argument without a flag is called; empty if there is none."""
    flags: tuple[Flag, ...]


class Parser(argparse.ArgumentParser):
    """Says what an unknown flag or word was probably meant to be."""

    def parse_known_args(  # type: ignore[override]  # as all of us call it
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Like argparse, but tells of an unknown flag first: what it lacks may be that one."""
        given = sys.argv[1:] if args is None else args
        # What stands behind the name of a command is that command's.
        ours = takewhile(_is_flag, given) if self._subparsers else given
        for flag in _flags(ours):
            if flag not in self._option_string_actions:
                self.error(self._unknown(flag))
        known, rest = super().parse_known_args(given, namespace)
        if rest:
            self.error(f"unexpected argument {shown(rest[0])}")
        return known, rest

    def error(self, message: str) -> NoReturn:
        """Like argparse, whose own texts quote what somebody may have typed by mistake."""
        super().error(guarded(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Like argparse, which holds its tongue where nothing can be written."""
        (file or sys.stderr).write(message)

    def _unknown(self, flag: str) -> str:
        flags = [known for known in self._option_string_actions if known.startswith("--")]
        near = guess(flag, flags)
        return f"unknown flag {flag} ({f'did you mean {near}?' if near else 'see --help'})"

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Called by argparse for whatever has `choices`."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown_word(value, map(str, action.choices)))

    def outlines(self, path: str = "") -> Iterator[Outline]:
        """This parser and those below it, in order; `path` are the words that lead here."""
        words: list[tuple[str, str]] = []
        below: list[tuple[str, Parser]] = []
        flags: list[Flag] = []
        argument = ""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - has no public name
                words = [(a.dest, a.help or "") for a in action._get_subactions()]  # noqa: SLF001
                below = [*action.choices.items()]
            elif action.option_strings:
                flags.append(_flag(action))
            else:
                argument = str(action.metavar or action.dest)
                words = [(str(choice), action.help or "") for choice in action.choices or ()]
        yield Outline(path, self.description or "", tuple(words), argument, tuple(flags))
        for word, parser in below:
            yield from parser.outlines(f"{path} {word}".strip())


def _flag(action: argparse.Action) -> Flag:
    choices = tuple(map(str, action.choices or ()))
    takes = action.nargs != 0
    value = str(action.metavar or "|".join(choices)) if takes else ""
    repeats = type(action).__name__ == "_AppendAction"
    name = action.option_strings[-1]
    return Flag(name, value, choices, action.help or "", action.required, repeats)


def _is_flag(arg: str) -> bool:
    return arg.startswith("-")


def _flags(args: Iterable[str]) -> Iterator[str]:
    """The names of flags among arguments, as far as they can be flags."""
    for arg in args:
        if arg == "--":
            return
        if arg.startswith("--"):
            yield arg.partition("=")[0]
