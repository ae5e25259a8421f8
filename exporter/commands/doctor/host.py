"""This machine: whether the state can be written and the port be had."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
from pathlib import Path

from exporter import daemon
from exporter.commands.doctor.checks import About, Check
from exporter.config import State
from exporter.errors import ExporterError, StateError, StateRefused
from exporter.ledger import opening
from exporter.ledger.sqlite import inspection, mounts

_ROOM = 256 * 2**20
"""Bytes free on the disk of the state below which it is worth a warning."""
_OURS = b"cicd-exporter is healthy"
"""What an exporter says of itself."""
_SLOW = 0.005
"""Seconds of a round trip to the database from which on it is worth a warning."""
_OWN = "let the exporter's user own it"
_ABOUT = About(None)


def state(wanted: State) -> Check:
    """The check `state`. Nothing is touched."""
    if wanted.is_database:
        return _in_database(wanted)
    path = wanted.path
    if path is None:
        return _ABOUT.ok("state", "memory: nothing survives a restart")
    file = Path(path)
    kind = mounts.network(file)
    if kind is not None:
        text = f"{file} is on a network file system ({kind}), where SQLite cannot lock"
        return _ABOUT.failed("state", text, "let state.url name a local disk or a block volume")
    try:
        return _in_folder(file, file.absolute().parent)
    except OSError as error:
        text = f"{file} cannot be read: {(error.strerror or str(error)).lower()}"
        return _ABOUT.failed("state", text, _OWN)
    except StateRefused as error:
        text, _, mend = str(error).partition(": ")
        return _ABOUT.failed("state", text, mend)


def _in_database(wanted: State) -> Check:
    try:
        found = opening.database(wanted).health()
    except StateError as error:
        return _ABOUT.failed("state", str(error), "mend state.url, its role or the network")
    text = f"PostgreSQL {found.version} answers in {found.round_trip * 1000:.1f} ms"
    if found.workers:
        text += f", written by {', '.join(found.workers)}"
    if found.is_standby:
        mend = "let state.url name the primary (target_session_attrs=read-write)"
        return _ABOUT.failed("state", f"{text}, but it is a standby", mend)
    if not found.is_synchronous:
        return _ABOUT.warning(
            "state",
            f"{text}; synchronous_commit is off, so that a crash takes back what was counted",
            "turn it on for the exporter's role: ALTER ROLE ... SET synchronous_commit = on",
        )
    if not found.is_agreed:
        mend = "give all of them the same file; until then they go by the rules of before"
        return _ABOUT.warning("state", f"{text}; their rules or accounts differ", mend)
    if found.round_trip > _SLOW:
        mend = "let the exporter run nearer to it: each poll with news takes some round trips"
        return _ABOUT.warning("state", text, mend)
    return _ABOUT.ok("state", text)


def _in_folder(file: Path, folder: Path) -> Check:
    """Raises OSError, StateRefused."""
    if not folder.is_dir():
        mend = "make it, owned by the exporter's user, or set another state.url"
        return _ABOUT.failed("state", f"the folder {folder} is not there", mend)
    found = _present(file) if file.exists() else _ABOUT.ok("state", f"{file} will be made")
    if found.status == "failed" or not os.access(folder, os.W_OK | os.X_OK):
        text = f"the folder {folder} cannot be written"
        return found if found.status == "failed" else _ABOUT.failed("state", text, _OWN)
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        text = f"{found.text}; only {free >> 20} MiB are free on its disk"
        return _ABOUT.warning("state", text, "make room")
    return found


def _present(file: Path) -> Check:
    """A state file that is there. Raises OSError, StateRefused."""
    process = inspection.holder(file)
    if process is not None:
        who = f" (process {process})" if process else ""
        return _ABOUT.ok("state", f"{file} is in use by a running exporter{who}")
    if not os.access(file, os.R_OK | os.W_OK):
        return _ABOUT.failed("state", f"{file} cannot be written", _OWN)
    if not file.stat().st_size:
        return _ABOUT.ok("state", f"{file} is empty: a new state")
    found = inspection.inspect(file)
    size = f"{found.bytes / 2**20:.1f} MiB"
    return _ABOUT.ok("state", f"{file} can be written ({size}, {found.builds} builds)")


def is_held(path: str | None) -> bool:
    """Whether a process has the state at `path`."""
    with contextlib.suppress(OSError):
        return path is not None and inspection.holder(Path(path)) is not None
    return False


def port(address: tuple[str, int], *, held: bool) -> Check:
    """The check `port`; `held` tells that a running exporter has the state."""
    host, number = address
    shown = f"{host}:{number}"
    try:
        daemon.listening(address).close()
    except ExporterError as error:
        if held or _is_ours(host, number):
            return _ABOUT.ok("port", f"{shown} is in use by a running exporter")
        mend = "stop who has it, or set another web.listen_address"
        return _ABOUT.failed("port", str(error).partition(" (")[0], mend)
    return _ABOUT.ok("port", f"{shown} is free")


def _is_ours(host: str, number: int) -> bool:
    """Whether an exporter answers there."""
    connection = http.client.HTTPConnection(host or "localhost", number, timeout=1)
    try:
        connection.request("GET", "/-/healthy")
        return _OURS in connection.getresponse().read(1000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
