"""What a command is, and what several of them share: flags, and reading the configuration.

Each module here is one command with its own flags; none knows another. `exporter.cli` lists
them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable

import msgspec

from exporter import logs, times
from exporter.config import Config, host_port, load
from exporter.messages import plain
from exporter.redaction import shown
from exporter.web.config import FLAG, WebConfig
from exporter.web.config import load as load_web

_MOST = 10_000
_LINE = 78
"""Characters of a line of progress: one that wraps cannot be written over."""

Arguments = Callable[[argparse.ArgumentParser], None]
"""Gives a parser its flags."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command of the command line."""

    name: str
    """One word, or two where several commands are about the same thing: `state info`."""
    text: str
    """What it does, in one line."""
    run: Callable[[argparse.Namespace], int]
    """Returns the exit code. Raises ExporterError; ConfigError is exit 2, any other exit 1."""
    arguments: tuple[Arguments, ...] = ()
    about: str = ""
    """More of it, for the help and docs/COMMANDS.md."""
    example: str = ""
    """What somebody typed behind `$ `, and what came of it."""


# -- flags that several commands have


def config_file(parser: argparse.ArgumentParser) -> None:
    """`--config.file`."""
    parser.add_argument(
        "--config.file", dest="config", required=True, metavar="FILE", help="the YAML file"
    )


def listen_address(parser: argparse.ArgumentParser) -> None:
    """`--web.listen-address`."""
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        type=_address,
        metavar="HOST:PORT",
        help="where to serve; wins over web.listen_address",
    )


def web_config(parser: argparse.ArgumentParser) -> None:
    """`--web.config.file`."""
    parser.add_argument(
        FLAG,
        dest="web",
        metavar="FILE",
        help="TLS, users and headers, in the format of all Prometheus exporters",
    )


def sampling(what: str, *, default: int) -> Arguments:
    """`--sample`: how many repos of an account are treated like this."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--sample",
            type=whole_number,
            default=default,
            metavar="NUMBER",
            help=f"how many repos of an account {what} (default {default})",
        )

    return add


def form(*choices: str) -> Arguments:
    """`--format`, the first of `choices` if it is not given; `options.output` is it."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--format",
            dest="output",
            choices=choices,
            default=choices[0],
            help=f"how to print it (default {choices[0]})",
        )

    return add


def _address(text: str) -> tuple[str, int]:
    try:
        return host_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole_number(text: str) -> int:
    """From 1 to 10000; the type of a flag."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= _MOST:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number from 1 to {_MOST}")
    return int(text)


def seconds(text: str) -> float:
    """A span as the configuration writes it; the type of a flag."""
    try:
        return float(text) if text.isdigit() else times.span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def instant(text: str) -> float:
    """Epoch seconds of a date, a time or a span before now; the type of a flag."""
    try:
        return times.point(text, now=time.time())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- what is printed


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as they must be, the last one ragged."""
    lines = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


class Line:
    """One line on standard error that is written over; nothing unless that is a terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def write(self, text: str) -> None:
        """In place of what was there."""
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


class Progress:
    """How many of some parts are done, and what is being done, on one line."""

    def __init__(self, whole: int) -> None:
        """`whole` is how much there is to do."""
        self._whole = whole
        self._done = 0
        self._line = Line()

    def tell(self, what: str) -> None:
        """What is being done now."""
        self._line.write(f"[{self._done}/{self._whole}] {plain(what)}"[:_LINE])

    def done(self) -> None:
        """One part more is done."""
        self._done += 1

    def end(self) -> None:
        """Leave nothing behind."""
        self._line.write("")


# -- the configuration


def loaded(file: str) -> Config:
    """The configuration in `file`, its warnings told. Raises ConfigError."""
    config = load(file)
    _warn(config.warnings)
    return config


def loaded_web(file: str | None) -> WebConfig:
    """The web configuration in `file`, its warnings told. Raises ConfigError."""
    config = load_web(file)
    _warn(config.warnings)
    return config


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        logs.say(f"warning: {warning}")
