"""The command line inside the test's own process: quick, and with the test's environment."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple
from unittest import mock

from exporter import cli


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def command(*args: object) -> Ended:
    """Run a command to its end; the log stays pytest's."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch("exporter.logs.configure"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = cli.main([str(arg) for arg in args])
        except SystemExit as usage:
            code = usage.code if isinstance(usage.code, int) else 1
    return Ended(code, out.getvalue(), err.getvalue())
