"""One server for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.web import Web


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running
