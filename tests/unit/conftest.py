"""The tests of this folder use no process and no server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Generator
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="package")
def alone() -> Generator[None]:
    """Refuse a test what makes it slow, and another day's tests fail: it belongs elsewhere."""

    def refused(*_: Any, **__: Any) -> None:
        pytest.fail("no unit test: it starts a process or uses the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refused)
        patch.setattr(socket.socket, "bind", refused)
        patch.setattr(socket.socket, "connect", refused)
        yield
