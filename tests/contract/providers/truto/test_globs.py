"""A star stops at a slash, two do not."""

from __future__ import annotations

import pytest

from exporter.globs import matches


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("release/*", "release/1.0", True),
        ("release/*", "release/1.0/rc", False),
        ("release/**", "release/1.0/rc", True),
        ("*", "main", True),
        ("*", "feat/x", False),
        ("**", "feat/x", True),
        ("a*c", "ac", True),
        ("main", "Main", False),
        ("main", "main2", False),
        ("a.c", "abc", False),
        ("[x]?", "[x]?", True),
        ("**/x", "a/b\n/x", True),
    ],
)
def test_a_star_stops_at_a_slash(pattern, text, expected):
    assert expected == matches(pattern, text)
