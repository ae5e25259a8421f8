"""Which paths may be asked for: those that no server takes for another place of its API.

Names that anybody may choose become segments of paths, quoted. A server, or a proxy before
it, may undo that quoting more than once, or read backslashes and semicolons in its own way.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_FORBIDDEN = re.compile(r"[?#\s\0-\x1f\x7f-\x9f\ud800-\udfff]|//|^(?!/)")
_BETWEEN = re.compile(r"[/\\]")
_UNQUOTED = 4
"""How often quoting may be undone on the way."""


def is_safe(path: str) -> bool:
    """Whether a quoted path stays where it is, however often it is unquoted."""
    if _FORBIDDEN.search(path):
        return False
    for _ in range(_UNQUOTED):
        # What follows a semicolon are parameters of the segment to some servers.
        if any(part.partition(";")[0] in (".", "..") for part in _BETWEEN.split(path)):
            return False
        try:
            path, before = unquote(path, errors="strict"), path
        except UnicodeDecodeError:  # dots and slashes have overlong forms
            return False
        if path == before:
            return True
    return True
