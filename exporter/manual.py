"""`docs/COMMANDS.md`, made from the commands and their parsers.

python -m exporter.manual > docs/COMMANDS.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from exporter import cli
from exporter.arguments import Flag, Outline
from exporter.commands import Command

_SHARED = ("--log.level", "--log.format", "--help")
_HEAD = """\
# Commands

Made from `exporter/commands/` by `python -m exporter.manual`: change that.

    cicd-exporter COMMAND --flag=VALUE

A flag and its value may stand apart as well: `--flag VALUE`. What a command answers goes to
standard output, logs and complaints to standard error. Exit codes: 0 ok, 1 runtime failure (or
something was found to be wrong), 2 usage or configuration. An unknown command, flag or key of the
configuration is told with what was probably meant.

All commands have `--log.level=debug|info|warn|error` (default info), `--log.format=logfmt|json`
and `--help`; `cicd-exporter --version` tells the version. Where `--format=json` is offered, members
may be added in later versions, and those there are stay.
"""


def manual() -> str:
    """The page."""
    outlines = {outline.path: outline for outline in cli.parser().outlines()}
    sections = (_section(command, outlines[command.name]) for command in cli.COMMANDS)
    return "\n".join([_HEAD, *(line for section in sections for line in section)])


def _section(command: Command, outline: Outline) -> Iterator[str]:
    text = f"{command.text[0].upper()}{command.text[1:]}"
    yield f"## {command.name}\n\n{text}.\n"
    if command.about:
        yield f"{command.about}\n"
    own = [flag for flag in outline.flags if flag.name not in _SHARED]
    if own or outline.argument:
        yield "| flag | meaning |\n|---|---|"
        yield from _rows(outline, own)
        yield ""
    if command.example:
        yield f"```console\n{command.example.strip()}\n```\n"


def _rows(outline: Outline, flags: Iterable[Flag]) -> Iterator[str]:
    if outline.argument:
        yield f"| `{outline.argument}` | {', '.join(word for word, _ in outline.words)} |"
    for flag in flags:
        value = f"={flag.value}" if flag.value else ""
        notes = [flag.text, *["required"] * flag.required, *["may be repeated"] * flag.repeats]
        shown = f"{flag.name}{value}".replace("|", "\\|")  # in a cell
        yield f"| `{shown}` | {'; '.join(notes)} |"


if __name__ == "__main__":
    sys.stdout.write(manual())
