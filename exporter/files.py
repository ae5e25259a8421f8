"""Files that others own, read within bounds: of kind, of size and of time.

What a configuration names may be a pipe that nobody writes to, a device without an end, or lie
on a disk of the network that does not answer. None of that may hold up who reads it.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO, TypeVar

from exporter.threads import begun

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB

SMALL = 64 * KIB
"""Bytes of a secret, at most: a token, a key, some headers."""
LARGE = 4 * MIB
"""Bytes of a list of certificates, at most."""
PATIENCE = 5.0
"""Seconds that a file has to answer."""

_WRITER = 2.0
"""Seconds that a pipe waits for somebody who writes to it."""
_PIPE = 30.0
"""Seconds that those who write to a pipe have for all of it: they may have to make it."""
_GLANCE = 0.02
_PART = 256 * KIB

_NO_ANSWER = "cannot be read: its disk does not answer"

_silent: dict[str, Future[Any]] = {}
"""Reads that did not end in time, by path. As long as one has not ended no other is begun: a
thread that waits for a disk cannot be ended, and each reload would leave another one behind."""


class UnusableFileError(OSError):
    """The file is there, and of no kind that can be read; `strerror` says so as a predicate."""


def why(error: OSError | ValueError) -> str:
    """What is wrong with a file that could not be read, behind its name in a sentence."""
    if isinstance(error, UnusableFileError):
        return str(error.strerror)
    return f"cannot be read: {(getattr(error, 'strerror', None) or str(error)).lower()}"


def content(path: str | os.PathLike[str], *, most: int, patience: float = PATIENCE) -> bytes:
    """All of a regular file of `most` bytes or fewer; also of the null device, which is empty.

    Raises OSError for one that is of another kind, larger, or does not answer in `patience`
    seconds: `why` tells. ValueError if `path` cannot be one.
    """
    return _in_time(path, lambda: _regular(path, most), patience)


def given(path: str | os.PathLike[str], *, most: int) -> bytes:
    """Like `content`, but what is written to a pipe is read to its end, too."""

    def read() -> bytes:
        if stat.S_ISFIFO(Path(path).stat().st_mode):
            return _piped(path, most)
        return _regular(path, most)

    return _in_time(path, read, _PIPE + _WRITER + PATIENCE)


def status(path: str | os.PathLike[str]) -> os.stat_result:
    """What the system tells of a file, links followed. Raises like `content`."""
    return _in_time(path, Path(path).stat, PATIENCE)


def others_may(path: str | os.PathLike[str]) -> str | None:
    """What everybody on this machine may do with a file: `read`, `write` or both; else None."""

    def look() -> str | None:
        mode = Path(path).stat().st_mode
        every = zip((stat.S_IROTH, stat.S_IWOTH), ("read", "write"), strict=True)
        rights = [word for bit, word in every if mode & bit]
        parents = Path(path).resolve().parents
        is_reached = all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)
        return " and ".join(rights) if rights and is_reached else None

    return _in_time(path, look, PATIENCE)


@contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that holds `data`: for libraries that read nothing else."""
    with _nameless() as file:
        file.write(data)
        file.flush()
        yield f"/dev/fd/{file.fileno()}"


def _nameless() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("content"), "w+b")
    return tempfile.TemporaryFile()


def _in_time(path: str | os.PathLike[str], work: Callable[[], T], seconds: float) -> T:
    """What `work` returns. Where it does not, its thread is left behind, one for each path."""
    name = os.fspath(path)
    if "\0" in name:
        raise ValueError("embedded null byte")
    silent = _silent.pop(name, None)
    if silent is not None and not silent.done():
        _silent[name] = silent
        raise _unusable(_NO_ANSWER)
    promise = begun(work, name="file")
    wait([promise], seconds)
    if promise.done():
        return promise.result()
    _silent[name] = promise
    raise _unusable(_NO_ANSWER)


def _unusable(what: str) -> UnusableFileError:
    return UnusableFileError(errno.EINVAL, what)


def _is_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev


def _opened(path: str | os.PathLike[str]) -> io.FileIO:
    """Not even to open it waits: a pipe would, for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return io.FileIO(descriptor)


def _small(data: bytes, most: int) -> bytes:
    if len(data) > most:
        size = f"{most // MIB} MiB" if most >= MIB else f"{most // KIB} KiB"
        raise _unusable(f"is larger than {size}")
    return data


def _regular(path: str | os.PathLike[str], most: int) -> bytes:
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if _is_null(found):
        return b""
    if not stat.S_ISREG(found.st_mode):  # to open it might already do something
        raise _unusable("is not a regular file")
    with io.BufferedReader(_opened(path)) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise _unusable("is not a regular file")
        return _small(stream.read(most + 1), most)


def _piped(path: str | os.PathLike[str], most: int) -> bytes:
    start = monotonic()
    data = bytearray()
    with _opened(path) as stream:
        ready = select.poll()
        ready.register(stream, select.POLLIN)
        while len(data) <= most:
            part = stream.read(_PART)  # None: there is a writer who has nothing yet
            if part:
                data += part
            elif part is not None and data:
                break
            elif part is not None and monotonic() - start > _WRITER:
                raise _unusable("is a pipe that nobody writes to")
            elif part is not None:
                sleep(_GLANCE)
            elif monotonic() - start > _PIPE:
                raise _unusable(f"is a pipe without an end after {_PIPE:g} s")
            else:
                ready.poll(_GLANCE * 1000)
    return _small(bytes(data), most)
