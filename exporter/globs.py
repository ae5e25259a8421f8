"""The one kind of glob of the configuration: `*` stops at `/`, `**` does not.

Nothing else is special, so that names with brackets or question marks mean themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` matches all of `text`, upper and lower case told apart.

    `release/*` matches `release/1.0` and not `release/1.0/rc`; `release/**` both.

    Each character of `text` is looked at once, whatever the pattern.
    """
    if "*" not in pattern:
        return pattern == text
    glob = _compiled(pattern)
    if not text.startswith(glob.head):
        return False
    at = glob.start
    for character in text:
        stay = glob.anything if character == "/" else glob.anything | glob.segment
        at = (at & stay) | (at & glob.literals.get(character, 0)) << 1
        if not at:
            return False
        at |= (at & (glob.segment | glob.anything)) << 1  # a star may match nothing
    return bool(at & glob.end)


class _Glob(NamedTuple):
    """A pattern as a machine that is in several of its places at once: a bit for each place.

    The place before the first part of the pattern is bit 0, the one behind the last is `end`.
    """

    head: str
    """What comes before the first star."""
    literals: dict[str, int]
    """The places before a character, by character."""
    segment: int
    """The places before a `*`."""
    anything: int
    """The places before a `**`."""
    start: int
    end: int


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> _Glob:
    literals: defaultdict[str, int] = defaultdict(int)
    segment = anything = 0
    place = 1
    for part in re.findall(r"\*+|[^*]", pattern, re.DOTALL):
        if part == "*":
            segment |= place
        elif part[0] == "*":
            anything |= place
        else:
            literals[part] |= place
        place <<= 1
    start = 3 if pattern.startswith("*") else 1
    return _Glob(pattern.partition("*")[0], dict(literals), segment, anything, start, place)
