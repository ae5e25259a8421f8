"""One word means one thing: retired words stay away, and our own are in the glossary."""

from __future__ import annotations

import io
import re
import tokenize
from functools import cache

import pytest

from tests.conftest import ROOT
from tests.unit.test_house import MODULES

RETIRED = {
    "book": "view",
    "chronicle": "history",
    "court": "reconcile",
    "edition": "cache of a format",
    "ground": "window",
    "heard": "reconciled",
    "hiding": "evicted",
    "homeless": "unassigned",
    "journal": "dirty slots",
    "memo": "cache",
    "oversight": "notifier",
    "pulse": "activity",
    "roster": "slot table",
    "sheet": "buffer",
    "standing": "state",
    "verdict": "findings",
    "wish": "demand",
}
"""Identifiers that were ours alone, and the words in their place."""
PARTS = re.compile(r"_+|(?<=[a-z0-9])(?=[A-Z])")


@cache
def words() -> dict[str, set[str]]:
    """The words that identifiers are made of, and where they are."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for token in tokenize.generate_tokens(io.StringIO(module.read_text()).readline):
            if token.type == tokenize.NAME:
                for word in PARTS.split(token.string):
                    found.setdefault(word.lower(), set()).add(str(module.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_is_in_no_identifier(word: str) -> None:
    assert not words().get(word), f"say {RETIRED[word]}"


def test_each_word_of_the_glossary_is_used() -> None:
    text = (ROOT / "docs/GLOSSARY.md").read_text()
    terms = [
        term.strip()
        for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
        for term in row.split(",")
    ]
    source = "\n".join(module.read_text() for module in MODULES).lower()

    assert len(terms) > 30
    assert not [term for term in terms[1:] if not re.search(rf"\b{re.escape(term[:-1])}", source)]
