"""The contract of a store holds for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools import stores


@pytest.fixture(params=stores.KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Open this kind of store wherever a test opens a state file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "kind", request.param)
        yield str(request.param)
