"""What tells builds apart: identity, order, and how the ledger stores both."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.sql.codec import RottenError, columns, key_of
from exporter.ledger.sqlite import older_keys
from exporter.model import BuildKey
from tests.contract.stores.test_state_keys import ALIKE

IDS = st.sampled_from([*ALIKE, "", "shop#7", "shop#7@", "shop#7@1600000000"]) | st.text()
STARTS = st.none() | st.integers(1, 2**62)
KEYS = st.builds(BuildKey, IDS, STARTS)
FEW = st.builds(BuildKey, st.sampled_from(["7", "007"]), st.none() | st.integers(1, 2))
"""Keys that are often of one build."""


@given(KEYS)
def test_a_key_is_what_it_was_after_it_was_stored(key: BuildKey) -> None:
    assert key_of(*columns(key)) == key
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(key), type=BuildKey) == key


@given(KEYS, KEYS)
def test_two_keys_are_never_stored_as_one(one: BuildKey, other: BuildKey) -> None:
    def stored(key: BuildKey) -> list[tuple[object, type]]:
        return [(value, type(value)) for value in columns(key)]

    assert (stored(one) == stored(other)) == (one == other)
    assert (one == other) == ((one.id, one.started) == (other.id, other.started))
    assert one != other or hash(one) == hash(other)


def test_two_keys_are_never_one_row() -> None:
    keys = [BuildKey(ident, started) for ident in ALIKE for started in (None, 1, 1_600_000_000)]
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE t (key, started INTEGER, PRIMARY KEY (key, started))")
        db.executemany("INSERT INTO t VALUES (?, ?)", map(columns, keys))
        rows = db.execute("SELECT key, started FROM t").fetchall()
    db.close()

    assert sorted(key_of(*row) for row in rows) == sorted(keys)


@given(KEYS, KEYS, KEYS)
def test_keys_are_ordered_by_id_and_then_by_start(a: BuildKey, b: BuildKey, c: BuildKey) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert not (a < b < c) or a < c
    assert a.id == b.id or (a < b) == (a.id < b.id)
    assert a.without_start <= a


@given(FEW, FEW)
def test_keys_of_one_build_meet_whether_or_not_their_start_is_known(
    one: BuildKey, other: BuildKey
) -> None:
    unknown = None in {one.started, other.started}

    assert one.is_same_build(other) == other.is_same_build(one)
    assert one.is_same_build(other) == (one == other or (one.id == other.id and unknown))
    assert one.is_beginning_of(other) == (one == other.without_start and one != other)
    assert not (one.is_beginning_of(other) and other.is_beginning_of(one))
    if one.is_beginning_of(other):
        assert max(one, other) == other


@given(IDS, st.none() | st.floats(1.0, 4e9))
def test_a_start_is_told_to_the_second(ident: str, started: float | None) -> None:
    key = BuildKey.begun(ident, started)

    assert key == BuildKey(ident, None if started is None else int(started))
    assert key.without_start == BuildKey(ident)


@pytest.mark.parametrize("started", [0, -1])
def test_no_build_started_before_there_were_computers(started: int) -> None:
    with pytest.raises(ValueError, match="no build started"):
        BuildKey("7", started)
    if started:
        with pytest.raises(RottenError, match="no build started"):
            key_of(7, started)


@pytest.mark.parametrize(
    ("older", "key"),
    [
        ("shop#7@1600000000", BuildKey("shop#7", 1_600_000_000)),
        ("shop#7@", BuildKey("shop#7")),
        ("1234@1600000000", BuildKey("1234", 1_600_000_000)),
        ("007@1600000000", BuildKey("007", 1_600_000_000)),
        ("a@b/shop@2#7@1600000000", BuildKey("a@b/shop@2#7", 1_600_000_000)),
        ("shop#queue-7", BuildKey("shop#queue-7")),
        ("two\nlines@1600000000", BuildKey("two\nlines", 1_600_000_000)),
        (1234, BuildKey("1234")),
        ("007", BuildKey("007")),
        # no build of format 4 ever had such a start
        ("shop@7", BuildKey("shop@7")),
        ("shop@0000000001", BuildKey("shop@0000000001")),
        ("@1600000000", BuildKey("@1600000000")),
        ("shop@\uff11600000000", BuildKey("shop@\uff11600000000")),
    ],
)
def test_what_a_key_of_format_4_meant(older: str | int, key: BuildKey) -> None:
    assert key_of(older_keys.build_key(older), older_keys.build_started(older)) == key
    assert columns(key) == (older_keys.build_key(older), older_keys.build_started(older))


def test_what_a_job_of_format_4_meant() -> None:
    def job(older: str | int) -> tuple[object, int]:
        return older_keys.job_id(older), older_keys.job_run(older)

    assert job("12@1600000000") == (12, 1_600_000_000)
    assert job("test@1600000000") == ("test", 1_600_000_000)
    assert job("test@") == ("test@", 0)
    assert job(12) == (12, 0)


def test_an_unfinished_build_that_cannot_be_read_is_left_for_who_reads_it() -> None:
    for odd in (b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"key": 7, "jobs": [1]}), "x", None):
        assert older_keys.rekeyed(odd) == odd
