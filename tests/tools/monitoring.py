"""Real servers of the Prometheus family, each a child of the test."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tools.system import get


def free_address() -> str:
    """A free port of the loopback, with the host."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def running(program: Path, file: Path, content: Any, *flags: str) -> Iterator[str]:
    """The URL of a server of theirs with this configuration, in `file`."""
    file.write_text(json.dumps(content))
    address = free_address()
    common = (f"--config.file={file}", f"--web.listen-address={address}", "--log.level=error")
    process = subprocess.Popen([program, *common, *flags])
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def served(prometheus: Path, folder: Path, *flags: str, **content: Any) -> Iterator[str]:
    """The URL of a Prometheus with this configuration; its data are in `folder`/data."""
    data = f"--storage.tsdb.path={folder}/data"
    with running(prometheus, folder / "prometheus.yml", content, data, *flags) as url:
        yield url


def assert_ready(url: str) -> None:
    try:
        assert get(url, "/-/ready").status == 200
    except ConnectionError as error:
        raise AssertionError(str(error)) from error
