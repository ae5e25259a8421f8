"""What every test of the GitHub provider may poll."""

from __future__ import annotations

import pytest

from tests.tools.emulators.github import Hub


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.repo("acme/shop")
    return hub
