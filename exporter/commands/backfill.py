"""`backfill`: the past for a Prometheus that was not there."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from exporter import backfill
from exporter.commands import Command, Line, config_file, instant, loaded, seconds
from exporter.config import Config
from exporter.errors import ConfigError, ExporterError
from exporter.redaction import shown
from exporter.threads import to_the_end

log = logging.getLogger(__name__)

_HEAD_BLOCK = 3 * 3600.0
"""Seconds that a running Prometheus keeps in memory, beside which nothing is to be imported."""
_WIDTH, _REDRAWN = 30, 0.2
"""Characters of the progress bar, and seconds before it is drawn again."""
_SHORTEST_STEP = 15.0
"""Seconds between two samples, at least: more would tell nothing more of builds."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TAKEN = frozenset(
    {"le", *(name for family in backfill.FAMILIES for name in family.labels)},
)


def _run(options: argparse.Namespace) -> int:
    now = time.time()
    config = loaded(options.config)
    accounts = options.account or [account.name for account in config.accounts]
    wanted = _wanted(options, config, accounts, now)
    bar = _Bar()

    def tell(progress: backfill.Progress, builds: int) -> None:
        text = f"reading: {progress.done} of {progress.repos} repos, {builds} builds"
        bar.show(progress.done, progress.repos, text)

    with _stoppable(), _output(options.output) as out:
        labels = dict(options.labels)
        history = to_the_end(
            backfill.read(config, wanted, accounts=accounts, labels=labels, tell=tell)
        )
        bar.clear()
        for one in history.unread:
            log.error("left out: %s", one)
        if history.unread and not history.builds:
            raise ExporterError("no history could be read: nothing is written")
        _write(history, out, bar)
    if history.timeless:
        log.warning(
            "builds and jobs are left out, as their time is not known",
            extra={"count": history.timeless},
        )
    log.info(
        "the history is written",
        extra={
            "builds": history.builds,
            "samples": history.samples,
            "since": _shown(wanted.since),
            "until": _shown(wanted.until),
            "file": options.output,
        },
    )
    if wanted.until > now - _HEAD_BLOCK:
        log.warning(
            "a running Prometheus still has the last 3 hours in memory: import while it is"
            " stopped, or end earlier with --until"
        )
    return 1 if history.unread else 0


def _wanted(
    options: argparse.Namespace, config: Config, accounts: list[str], now: float
) -> backfill.Grid:
    """The grid asked for. Raises ConfigError if the flags contradict each other or the file."""
    known = sorted(account.name for account in config.accounts)
    faults = [
        f"--account={shown(name)}: {options.config} has no such account (it has {', '.join(known)})"
        for name in accounts
        if name not in known
    ]
    until = now if options.until is None else options.until
    if until > now:
        faults.append("--until: lies in the future")
    if faults:
        raise ConfigError(faults)
    try:
        return backfill.grid(options.since, until, options.step)
    except ValueError as error:
        raise ConfigError([f"--since: {error}"]) from None


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- what is written, whole or not at all


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end it in one line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise ExporterError("stopped: nothing is written") from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """Where to write. A file takes its name only at the end, if nothing was raised.

    Raises ExporterError if it cannot be written, before anything is read.
    """
    if name == "-":
        yield sys.stdout.buffer
        return
    path = Path(os.path.realpath(name))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise ExporterError(f"--output={name}: is no regular file (- is standard output)")
        try:
            with part.open("xb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ExporterError(
            f"--output={name}: cannot be written: {error.strerror} (nothing is left of it)"
        ) from None


def _write(history: backfill.History, out: BinaryIO, bar: _Bar) -> None:
    done = 0
    for piece, samples in history.text():
        out.write(piece)
        done += samples
        bar.show(done, history.samples, f"writing: {done} of {history.samples} samples")
    bar.clear()


# -- progress


class _Bar:
    """A bar with some words on one line."""

    def __init__(self) -> None:
        self._line = Line()
        self._drawn = -math.inf

    def show(self, done: int, total: int, text: str) -> None:
        """Draw it, if it was not drawn a moment ago."""
        now = time.monotonic()
        if now - self._drawn > _REDRAWN:
            self._drawn = now
            full = _WIDTH * done // max(total, 1)
            self._line.write(f"[{'#' * full}{'.' * (_WIDTH - full)}] {text}")

    def clear(self) -> None:
        """Leave nothing of it; what comes next is drawn at once."""
        self._drawn = -math.inf
        self._line.write("")


# -- flags


def _history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        type=instant,
        required=True,
        metavar="DATE",
        help="the beginning: 2026-08-01, 2026-08-01T12:00:00Z (UTC if nothing is said) or, for"
        " so long ago, 48h",
    )
    parser.add_argument(
        "--until",
        type=instant,
        metavar="DATE",
        help="the end, written alike: when Prometheus first scraped the exporter (default now)",
    )
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME",
        help="only this account; may be given more than once",
    )
    parser.add_argument(
        "--step",
        type=_step,
        default=60,
        metavar="DURATION",
        help="time between two samples, 15s to 5m (default 1m)",
    )
    parser.add_argument(
        "--label",
        dest="labels",
        type=_label,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a label more for each series, such as job=cicd-exporter or instance=backfill",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="where to write; - is standard output"
    )


def _step(text: str) -> int:
    step = seconds(text)
    if not _SHORTEST_STEP <= step <= backfill.LONGEST_STEP or step != int(step):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not from 15s to 5m (a query sees a sample for 5 minutes)"
        )
    return int(step)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not _LABEL.fullmatch(name) or name.startswith("__"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not NAME=VALUE")
    if name in _TAKEN:
        raise argparse.ArgumentTypeError(f"{shown(name)} is a label that the metrics have already")
    return name, value


COMMAND = Command(
    name="backfill",
    text="write the history as OpenMetrics, for promtool tsdb create-blocks-from openmetrics",
    run=_run,
    arguments=(config_file, _history),
    about=(
        "Reads the builds that completed between --since and --until as the exporter would and"
        " writes what its counters and histograms would have shown at each step. The state of a"
        " running exporter is not touched, but the API's rate limit is used."
    ),
    example="""\
$ cicd-exporter backfill --config.file=config.yaml --since=48h --output=history.om
$ promtool tsdb create-blocks-from openmetrics history.om /var/lib/prometheus""",
)
