"""Answers are read with forgiveness where that loses nothing."""

from __future__ import annotations

import contextlib
import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import Malformed
from exporter.payload import decoded, each, listed, subject

_ANY: msgspec.json.Decoder[object] = msgspec.json.Decoder()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"\udc00x\uD83D"', "\ufffdx\ufffd"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud800\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\\ud800"', r"\ud800"),
    ],
)
def test_half_a_surrogate_pair_is_replaced_and_spoils_nothing(body: bytes, value: str) -> None:
    assert decoded(body, _ANY) == value


@given(st.text(max_size=20))
def test_sound_json_is_read_as_it_is(text: str) -> None:
    assert decoded(json.dumps(text).encode(), _ANY) == text


@given(st.binary(max_size=40))
def test_only_decoding_errors_come_of_garbage(body: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        decoded(body, _ANY)


def test_an_odd_item_is_rejected_and_the_others_are_kept() -> None:
    class Item(msgspec.Struct):
        id: int

    raws = [msgspec.Raw(raw) for raw in (b'{"id":1}', b'{"id":"x"}', b"7", b'{"id":2,"x":"\xff"}')]

    assert each(raws, Item) == ([Item(1), Item(2)], 2)


class Numbered(msgspec.Struct):
    id: int


def test_a_list_out_of_all_proportion_is_refused_early() -> None:
    endless = (msgspec.Raw(b'{"id":%d}' % n) for n in itertools.count())

    with pytest.raises(Malformed, match="lists more than 2000 items") as caught:
        each(endless, Numbered)

    assert caught.value.reason == "too_large"
    assert next(endless) == msgspec.Raw(b'{"id":2001}')


def test_a_list_of_nothing_but_odd_items_is_no_list_of_items() -> None:
    endless = (msgspec.Raw(b"%d" % n) for n in itertools.count())

    with pytest.raises(Malformed, match="not as the API promises") as caught:
        each(endless, Numbered, most=10**9)

    assert caught.value.reason == "bad_shape"


def test_a_reader_may_expect_a_longer_list() -> None:
    raws = (msgspec.Raw(b'{"id":1}') for _ in range(5000))

    assert len(each(raws, Numbered, most=5000)[0]) == 5000


def test_a_list_inside_an_item_is_looked_at_as_far_as_a_real_one_goes() -> None:
    assert listed(["a", "b"]) == ["a", "b"]
    assert len(listed([{}] * 240_000)) == 1000
    assert listed({"a": 1}) == listed(None) == listed("abc") == []


@pytest.mark.parametrize(
    ("value", "first"),
    [
        ("Mend the cart\n\nLong story", "Mend the cart"),
        ("  \n Mend it \r\nnow", "Mend it"),
        ("x" * 1_000_000, "x" * 400),
        (" \n ", None),
        ("", None),
        (7, None),
        (True, None),
        (None, None),
        (["Mend it"], None),
        ({"raw": "Mend it"}, None),
    ],
)
def test_the_subject_of_a_message_is_its_first_line(value: object, first: str | None) -> None:
    assert subject(value) == first
