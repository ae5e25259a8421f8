"""What becomes of the exporter while something happens at the CI system."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.emulators.rig import Station

Pause = Callable[[Station], None]


def runs_on(rig: Station) -> None:
    """It runs, and polls some time later."""


def restarts(rig: Station) -> None:
    """It is down, and starts again afterwards."""
    rig.restart()


def is_reloaded(rig: Station) -> None:
    """Its configuration is read anew."""
    rig.memories.clear()
    rig.native = type(rig.native)(**rig.native.model_dump(exclude_unset=True))


whatever_it_does = pytest.mark.parametrize("meanwhile", [runs_on, restarts, is_reloaded])
