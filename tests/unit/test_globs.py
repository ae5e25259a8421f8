"""A glob means what the regular expression for it means, and costs a look at each character."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import globs
from exporter.globs import matches


def by_regular_expression(pattern: str, text: str) -> bool:
    """The meaning, in a form that may take for ever."""
    wild = {"**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*|\*)", pattern)
    expression = "".join(wild.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8))
@example("**a", "b\na")
@example("*", "")
@example("**", "/")
@example("***", "a/b")
@example("a**b*c", "a/b/bc")
@example("*/*", "a/")
def test_it_matches_what_the_regular_expression_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == by_regular_expression(pattern, text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_pattern_and_matches_itself_where_no_star_is_in_it(
    pattern: str, text: str
) -> None:
    assert matches(pattern, text) == by_regular_expression(pattern, text)
    assert matches(text, text)


class Counted(str):
    """Text that counts how many of its characters were looked at."""

    __slots__ = ("looks",)
    looks: int

    def __iter__(self):
        self.looks = 0
        for character in str(self):
            self.looks += 1
            yield character


@pytest.mark.parametrize("stars", [1, 4, 8, 100])
@pytest.mark.parametrize("star", ["*", "**"])
def test_many_stars_look_at_each_character_once(star: str, stars: int) -> None:
    text = Counted("-" * 255)

    assert not matches(f"{star}-" * stars + f"{star}x", text)

    assert text.looks <= 255


def test_a_compiled_pattern_is_no_larger_than_the_pattern() -> None:
    pattern = "*a**b" * 1000

    compiled = globs._compiled(pattern)

    assert compiled.end.bit_length() == len(re.findall(r"\*+|[^*]", pattern)) + 1
    assert [*compiled.literals] == ["a", "b"]
