"""What several tests of whole processes need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools import postgres
from tests.tools.postgres import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A database server of its own, which may be killed: what it has answered is on the disk."""
    with postgres.cluster(durable=True) as made:
        yield made
