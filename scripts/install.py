"""Installs locks into .venv: one process at a time, and wholly or not at all.

For scripts/venv, which calls it only when something is to be done. Needs nothing but
the standard library. Arguments: names of lock files in the project's folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = VENV / "locks"
"""Copies of the locks that are installed."""
BASE = os.path.realpath(sys.executable)
"""What .venv is made from, by its real name: not a shim, not a .venv about to be removed, and
not a name that will be the next minor version some day."""
UNFINISHED = VENV / "unfinished"
"""There while .venv is being changed; if it is there before, somebody was interrupted."""


def main(locks: list[str]) -> None:
    """Make .venv hold what `locks` pin, unless another process just has."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is no traceback
    mutex = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another start, which is installing")
        fcntl.flock(mutex, fcntl.LOCK_EX)
    # Children inherit it: should this process be killed, what it started still holds others back.
    os.set_inheritable(mutex, True)  # noqa: FBT003 - the standard library's signature
    if not (PYTHON.exists() and all(installed(lock) for lock in locks)):
        install(locks)


def installed(lock: str) -> bool:
    """Whether .venv holds what `lock` pins."""
    copy = LOCKS / lock
    return copy.exists() and copy.read_bytes() == (ROOT / lock).read_bytes()


def install(locks: list[str]) -> None:
    """Make .venv if need be, install, and remember what is installed."""
    say(f"installing {' and '.join(locks)} into {VENV}, this once")
    if VENV.exists() and (UNFINISHED.exists() or not usable()):
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    shutil.rmtree(LOCKS, ignore_errors=True)  # one lock's versions may undo another's
    if not (VENV / "pyvenv.cfg").exists() or not has_pip():
        run(BASE, "-I", "-m", "venv", str(VENV))
    files = [part for lock in locks for part in ("--requirement", str(ROOT / lock))]
    # No dependencies: the locks name them all.
    run(
        *(str(PYTHON), "-I", "-m", "pip", "install", "-qq", "--no-input"),
        *("--disable-pip-version-check", "--require-hashes", "--no-deps", *files),
    )
    LOCKS.mkdir()
    for lock in locks:
        shutil.copyfile(ROOT / lock, LOCKS / lock)
    UNFINISHED.unlink()


def usable() -> bool:
    """Whether the Python of .venv runs and is one that we support."""
    return works("import sys; sys.exit(sys.version_info < (3, 11))")


def has_pip() -> bool:
    """Whether .venv has pip; one made by another tool need not."""
    return works("import pip")


def works(code: str) -> bool:
    """Whether the Python of .venv can run `code`."""
    try:
        done = subprocess.run([PYTHON, "-I", "-c", code], check=False, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def run(*command: str) -> None:
    """Run `command` or exit with one line; standard output is the caller's alone."""
    done = subprocess.run(command, check=False, close_fds=False, stdout=sys.stderr)
    if done.returncode != 0:
        sys.exit(f"cicd-exporter: could not install into {VENV} (see above)")


def say(text: str) -> None:
    """One line to the person who waits."""
    print(f"cicd-exporter: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
