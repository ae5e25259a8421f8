"""What a configuration refers to and does not hold: tokens, the password of the state, files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any, NamedTuple

from exporter import files
from exporter.config.document import Path
from exporter.config.report import Report
from exporter.ledger import DATABASES
from exporter.providers import Provider
from exporter.redaction import shown

_MAX_SHOWN_PATH = 300
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURELY_A_NAME = re.compile(r"[A-Z][A-Z0-9]{,19}(?:_[A-Z0-9]{,19}){,9}")
_MAYBE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+/=~.-]{20,}")
_FORMS = {"token": re.compile(r"[\x20-\x7e]+"), "password": re.compile(r"[^\0\r\n]+")}
"""What stands in a header, and what a database takes: one line."""
_SECRET_FILES = frozenset({"token_file", "private_key_file", "password_file"})


class Environment(NamedTuple):
    """What there is outside the configuration file."""

    providers: Mapping[str, type[Provider]]
    environ: Mapping[str, str]
    folder: str
    """Where relative file names start."""


def secret_env(name: str, around: Environment, *, what: str = "token") -> str | None:
    """Why a variable cannot be what `what` is read from; None if it can."""
    if not _VARIABLE.fullmatch(name):
        return f"must be the name of an environment variable (not the {what}, and without `$`)"
    # A secret put here by mistake has the form of a name too; such a name is not repeated.
    variable = f"variable {name}" if _SURELY_A_NAME.fullmatch(name) else "this variable"
    if name not in around.environ:
        return f"{variable} is not set (export it, or use {what}_file)"
    return _fault(around.environ[name].encode("utf-8", "surrogatepass"), variable, what)


def secret_file(name: str, around: Environment, *, what: str = "token") -> str | None:
    """Why a file cannot be what `what` is read from; None if it can."""
    path = str(File(around.folder, name))
    secret, fault = content(path, name, most=files.SMALL)
    return fault or _fault(secret, shown_file(path, name), what)


def _fault(secret: bytes, where: str, what: str) -> str | None:
    secret = secret.strip()
    if not secret:
        return f"{where} is empty (put the {what} there)"
    try:
        is_one = _FORMS[what].fullmatch(secret.decode())
    except UnicodeDecodeError:
        is_one = None
    if is_one is None:
        return f"{where} holds more than one line or characters that no {what} has"
    return None


def read_password(report: Report, raw: Mapping[str, Any], around: Environment) -> None:
    """Look for the password of the state's database, and for reasons not to have one."""
    state = raw.get("state")
    if not isinstance(state, dict):
        return
    given = [key for key in ("password_env", "password_file") if state.get(key) is not None]
    for key in given:
        path: Path = ("state", key)
        if len(given) > 1 or not str(state.get("url", "")).startswith(DATABASES):
            why = "the other one is given" if len(given) > 1 else "state.url names no database"
            report.fault(path, f"must not be given as {why} (remove it)")
        elif isinstance(value := state[key], str) and report.sound(path):
            check = secret_env if key == "password_env" else secret_file
            report.fault_if(path, check(value, around, what="password"))
            warn_of_others(report, path, value, around.folder)


def content(path: str, name: str, *, most: int) -> tuple[bytes, str | None]:
    """What is in the file at `path`, or why that cannot be read; `name` is how it is given."""
    file = shown_file(path, name)
    if not name:
        return b"", "must not be empty"
    try:
        return files.content(path, most=most), None
    except (FileNotFoundError, NotADirectoryError):
        return b"", f"{file} not found (check the path)"
    except IsADirectoryError:
        return b"", f"{file} is a directory (name a file in it)"
    except OSError as error:
        return b"", f"{file} {files.why(error)}"


def warn_of_others(report: Report, path: Path, value: Any, folder: str) -> None:
    """Tell of each file with a secret below `value` that everybody on this machine may use."""
    if isinstance(value, dict):
        for key, item in value.items():
            warn_of_others(report, (*path, key), item, folder)
    elif isinstance(value, str) and path[-1] in _SECRET_FILES and report.sound(path):
        with contextlib.suppress(OSError, ValueError):  # told already, or by its provider
            if rights := files.others_may(File(folder, value)):
                report.warn(path, f"others may {rights} this file (chmod 600, or 640 for a group)")


def shown_file(path: str, name: str) -> str:
    """A file's name, unless a token may stand in its place."""
    if not name.startswith(("/", "./", "../")) and _MAYBE_A_TOKEN.fullmatch(name):
        return "file (its name is not shown: it looks like a token)"
    return f"file {shown(path, _MAX_SHOWN_PATH)}"
