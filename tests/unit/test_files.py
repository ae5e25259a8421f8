"""No file that a configuration names holds up who reads it, whatever it is."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from exporter import files


def test_a_regular_file_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"x" * 1000)

    assert files.content(file, most=1000) == b"x" * 1000
    assert files.given(file, most=1000) == b"x" * 1000


def test_one_byte_too_many_is_too_many(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"x" * 1025)

    with pytest.raises(OSError, match="larger than 1 KiB"):
        files.content(file, most=1024)


def test_a_file_of_terabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch()
    os.truncate(file, 2**40)

    with pytest.raises(OSError, match="larger than 64 KiB"):
        files.content(file, most=files.SMALL)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty", "/dev/urandom"])
def test_a_device_is_not_even_opened(device: str) -> None:
    for read in (files.content, files.given):
        with pytest.raises(OSError, match="not a regular file"):
            read(device, most=10)


def test_the_null_device_is_an_empty_file() -> None:
    assert files.content(os.devnull, most=10) == files.given(os.devnull, most=10) == b""


def test_a_pipe_is_no_file_to_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "token"
    os.mkfifo(pipe)

    with pytest.raises(OSError, match="not a regular file"):
        files.content(pipe, most=10)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_pipe_is_read_until_its_writers_have_closed_it(pipe: Path) -> None:
    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            stream.write(b"a" * 100_000)
            stream.write(b"b" * 100_000)

    writer = threading.Thread(target=write)
    writer.start()

    assert files.given(pipe, most=200_000) == b"a" * 100_000 + b"b" * 100_000
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_given_up(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_WRITER", 0.05)

    with pytest.raises(OSError, match="a pipe that nobody writes to"):
        files.given(pipe, most=10)


def test_a_pipe_whose_writer_says_nothing_is_given_up(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PIPE", 0.05)
    silent = os.open(pipe, os.O_RDWR)

    with pytest.raises(OSError, match="a pipe without an end"):
        files.given(pipe, most=10)
    os.close(silent)


def test_a_pipe_that_never_ends_is_too_large(pipe: Path) -> None:
    endless = os.open(pipe, os.O_RDWR)
    os.write(endless, b"x" * 2000)

    with pytest.raises(OSError, match="larger than 1 KiB"):
        files.given(pipe, most=1024)
    os.close(endless)


# -- a disk that does not answer


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that answers when the event is set."""
    answers = threading.Event()
    regular = files._regular

    def read(path: str | os.PathLike[str], most: int) -> bytes:
        answers.wait()
        return regular(path, most)

    monkeypatch.setattr(files, "_regular", read)
    yield answers
    answers.set()


def test_a_disk_that_does_not_answer_costs_one_thread_however_often_it_is_asked(
    tmp_path: Path, disk: threading.Event
) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"secret")
    before = threading.active_count()

    for _ in range(20):
        with pytest.raises(OSError, match="does not answer"):
            files.content(file, most=10, patience=0.01)

    assert threading.active_count() <= before + 1
    disk.set()
    wait(files._silent.values())
    assert files.content(file, most=10) == b"secret"


# -- what others may do


def test_what_everybody_may_read_or_write_is_told() -> None:
    told = {}
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies where nobody else may go
        Path(folder).chmod(0o755)
        file = Path(folder) / "token"
        file.touch()
        for mode in (0o600, 0o640, 0o644, 0o602, 0o666):
            file.chmod(mode)
            told[mode] = files.others_may(file)

    assert told == {
        0o600: None,
        0o640: None,
        0o644: "read",
        0o602: "write",
        0o666: "read and write",
    }


def test_a_folder_that_others_cannot_enter_protects_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "token").touch(mode=0o644)

    assert files.others_may(folder / "token") is None
