"""No text that a provider sends takes long or much memory, whatever is in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from exporter.metrics import labels
from exporter.metrics.labels import MAX_BYTES, clean
from exporter.model import OTHER
from exporter.payload import decoded
from exporter.times import instant
from tests.tools.scripted import build

_RAWS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[msgspec.Raw])


@contextmanager
def quickly(seconds: float = 1.0) -> Iterator[None]:
    """Fails if what is done inside takes more of the processor."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < seconds


@pytest.mark.parametrize(
    "text",
    ["e" + "\u0301\u0316" * 100_000, "\ud800" * 1_000_000, "\u1100\u1161" * 1_000_000],
    ids=["marks", "surrogates", "jamo"],
)
def test_a_label_of_any_text_is_made_at_once(text: str) -> None:
    with quickly():
        shown = clean(text)

    assert 100 < len(shown.encode()) <= MAX_BYTES
    assert shown != clean(text + "x")


def test_long_texts_are_not_remembered() -> None:
    before = labels._remembered.cache_info().currsize
    for n in range(100):
        clean(f"é{n}" * 5_000)

    assert labels._remembered.cache_info().currsize == before


def test_a_branch_that_no_ref_can_be_is_other_and_is_not_looked_at_for_long() -> None:
    odd = build("1", branch="a" + "-" * 5_000)
    with quickly():
        assert labels.branch(odd, ["a*-*-*-*-b"]) == OTHER

    assert labels.branch(build("1", branch="x" * 255), ["**"]) != OTHER


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda size: b'["' + rb"\n" * (size // 2),
        lambda size: b'["' + rb"\ud800" * (size // 6) + b'"',
        lambda size: b'["' + b"\\" * size,
    ],
    ids=["escapes", "halves", "backslashes"],
)
@pytest.mark.parametrize("size", [4_000_000, 32_000_000])
def test_an_answer_that_is_not_json_is_given_up_at_once(
    spoilt: Callable[[int], bytes], size: int
) -> None:
    body = spoilt(size)
    with quickly(1.5), pytest.raises(msgspec.DecodeError):
        decoded(body, _RAWS)


def test_half_an_emoji_on_a_page_of_a_megabyte_spoils_nothing() -> None:
    page = b"[" + b",".join([rb'"\\ud800 \ud83d\ude00 \ud83d"'] * 40_000) + b"]"

    items = decoded(page, _RAWS)

    assert msgspec.json.decode(items[-1]) == "\\ud800 \U0001f600 \ufffd"


@pytest.mark.parametrize("text", ["9" * 5_000_000, f"2026-01-01T00:00:00.{'9' * 5_000_000}Z"])
def test_a_time_of_any_length_is_read_at_once(text: str) -> None:
    with quickly():
        instant(text)
