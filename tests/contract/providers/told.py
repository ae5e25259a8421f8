"""What a story of a build leads people to read of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.tools.emulators.rig import Station

COMMITTED = {"commit_at": "a minute before"}
"""The time of a commit, as seen from the creation of its build."""


class Told(NamedTuple):
    """A story, and what people read of it."""

    provider: str
    kind: str
    """The integration of the unified API; else empty."""
    plays: Callable[[Path], Station]
    """Makes a failed build with a failed job, and polls it."""
    fields: dict[str, Any]
    """Fields of the logged build; `job_url` is the address of its job."""
