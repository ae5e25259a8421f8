"""Properties of all that reads what others have written: answers, headers, configuration.

`scripts/fuzz SECONDS` tries them with many more examples, other ones each time.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

MORE = int(os.environ.get("CICD_EXPORTER_FUZZ") or 1)
"""How many times as many examples as in the test suite."""


def examples(count: int) -> settings:
    """Settings for a property that is worth so many examples in the test suite.

    There they are the same each time: whoever wants to find something new asks for more.
    """
    again: dict[str, Any] = {"derandomize": True, "database": None} if MORE == 1 else {}
    return settings(
        max_examples=count * MORE,
        **again,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
