"""The one kind of glob of the configuration: `*` stops at `/`, `**` does not.

Nothing else is special, so that names with brackets or question marks mean themselves.
"""

from __future__ import annotations

import re
from functools import lru_cache


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` matches all of `text`, upper and lower case told apart.

    `release/*` matches `release/1.0` and not `release/1.0/rc`; `release/**` both.
    """
    return _compiled(pattern).fullmatch(text) is not None


_WILD = {"**": ".*", "*": "[^/]*"}


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(_WILD.get(p) or re.escape(p) for p in parts), re.DOTALL)
