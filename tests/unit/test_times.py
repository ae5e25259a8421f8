"""Times, globs and the vocabulary: what every provider builds on."""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.globs import matches
from exporter.model import Build, BuildKey, Job, Ref, Status, carried_over
from exporter.times import instant, point, span

AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()


def short(value: object) -> str:
    return repr(value)[:40]


# --- instants ---


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-02-03T04:05:06Z", AT),
        ("2026-02-03T04:05:06z", AT),
        ("2026-02-03t04:05:06Z", AT),
        ("2026-02-03T04:05:06+00:00", AT),
        ("2026-02-03T04:05:06+0000", AT),
        ("2026-02-03T04:05:06-0000", AT),
        ("2026-02-03T04:05:06+00", AT),
        ("2026-02-03T06:05:06+02:00", AT),
        ("2026-02-03T06:05:06+0200", AT),
        ("2026-02-03T06:05:06+02", AT),
        ("2026-02-02T22:35:06-05:30", AT),
        ("2026-02-03T04:05:06", AT),
        ("2026-02-03 04:05:06", AT),
        ("2026-02-03 04:05:06 UTC", AT),
        ("2026-02-03 04:05:06 +0000", AT),
        ("2026-02-03T04:05:06GMT", AT),
        (" 2026-02-03T04:05:06Z\n", AT),
        ("2026-02-03T04:05:06.5Z", AT + 0.5),
        ("2026-02-03T04:05:06,5Z", AT + 0.5),
        ("2026-02-03T04:05:06.123Z", AT + 0.123),
        ("2026-02-03T04:05:06.123456Z", AT + 0.123456),
        ("2026-02-03T04:05:06.1234567Z", AT + 0.1234567),
        ("2026-02-03T04:05:06.123456789Z", AT + 0.123456789),
        ("2026-02-03T04:05:60Z", AT + 54),
        (AT, AT),
        (int(AT), AT),
        (str(int(AT)), AT),
        (f"{int(AT)}.25", AT + 0.25),
        (int(AT) * 1000 + 7, AT + 0.007),
        (str(int(AT) * 1000), AT),
        (AT * 1000.0, AT),
    ],
    ids=short,
)
def test_an_instant_is_read_in_every_form(written: Any, seconds: float) -> None:
    assert instant(written) == pytest.approx(seconds, abs=1e-6)


def test_a_leap_second_is_the_second_after_59() -> None:
    assert instant("2016-12-31T23:59:60Z") == instant("2017-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        " ",
        "-",
        "null",
        "now",
        "2026-02-03",
        "2026-02-03T04:05Z",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-03T04:60:00Z",
        "2026-02-03T04:05:61Z",
        "2026-02-03T04:05:06+25:00",
        "2026-02-03T04:05:06 CET",
        "2026-02-03T04:05:06.Z",
        "Tue, 03 Feb 2026 04:05:06 GMT",
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00",
        "1970-01-01T00:00:00Z",
        "2004-12-31T23:59:59Z",
        "2100-01-01T00:00:01Z",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:59-01:00",
        0,
        0.0,
        -1,
        -62135596800,
        -62135596800000,
        1,
        1000,
        True,
        False,
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        "nan",
        "Infinity",
        "9" * 5000,
    ],
    ids=short,
)
def test_what_names_no_real_instant_is_not_known(written: Any) -> None:
    assert instant(written) is None


@given(st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_no_value_breaks_the_reading_of_an_instant(value: Any) -> None:
    read = instant(value)

    assert read is None or 1_100_000_000 < read < 4_200_000_000


@given(st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{0,9})?(Z|[+-]\d\d:?\d\d)?"))
def test_no_text_like_a_date_breaks_the_reading_of_an_instant(text: str) -> None:
    read = instant(text)

    assert read is None or math.isfinite(read)


@given(
    st.from_regex(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d|.{4}-.{2}-.{2}T.{2}:.{2}:.{2}", fullmatch=True)
)
def test_the_form_that_is_read_faster_is_read_like_any_other(text: str) -> None:
    assert instant(f"{text}Z") == instant(f"{text}+00:00")


@given(
    st.datetimes(datetime(2006, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001 - given a zone below
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_is_the_same_in_every_zone(at: datetime, minutes: int) -> None:
    utc = at.replace(tzinfo=UTC)
    there = utc.astimezone(timezone(timedelta(minutes=minutes)))

    assert instant(there.isoformat()) == pytest.approx(utc.timestamp(), abs=1e-6)


# --- spans ---


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("0s", 0),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("2h", 7200),
        ("1d", 86400),
        ("1d2h3m4s", 93784),
        ("90m", 5400),
        (" 5m ", 300),
    ],
)
def test_a_span_is_read_as_people_write_it(written: str, seconds: float) -> None:
    assert span(written) == seconds


@pytest.mark.parametrize(
    "written", ["", " ", "5", "1:30", "m", "-5m", "5 m", "5M", "30s5m", "1.5h", "1w", "5ms", "inf"]
)
def test_what_is_no_span_is_refused_with_a_hint(written: str) -> None:
    with pytest.raises(ValueError, match="write 30s, 5m, 1h30m, 1d or a number of seconds"):
        span(written)


@given(st.text())
def test_no_text_breaks_the_reading_of_a_span(text: str) -> None:
    try:
        seconds = span(text)
    except ValueError:
        return
    assert seconds >= 0


# --- globs ---


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("main", ["main"], ["Main", "main2", "amain", "main/x", ""]),
        ("release/*", ["release/1.0", "release/"], ["release", "release/1.0/rc", "prerelease/1"]),
        ("release/**", ["release/1.0", "release/1.0/rc", "release/"], ["release"]),
        ("*", ["main", ""], ["a/b"]),
        ("**", ["main", "", "a/b", "a\nb"], []),
        ("*-fix", ["hot-fix", "-fix"], ["a/hot-fix", "fix", "hot-fix-2"]),
        ("**/fix", ["a/fix", "a/b/fix"], ["fix"]),
        ("v*.*", ["v1.0", "v."], ["v1", "v1/2.0"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[ab]?", ["[ab]?"], ["a", "ab"]),
        ("a+(b)|c^$", ["a+(b)|c^$"], ["aab"]),
    ],
)
def test_a_star_stops_at_a_slash_and_two_do_not(
    glob: str, matching: list[str], other: list[str]
) -> None:
    assert [] == [text for text in matching if not matches(glob, text)]
    assert [] == [text for text in other if matches(glob, text)]


@given(st.text())
def test_a_glob_without_stars_matches_itself_only(text: str) -> None:
    plain = text.replace("*", "")

    assert matches(plain, plain)
    assert not matches(plain, plain + "x")


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8))
def test_two_stars_match_whatever_one_does(glob: str, text: str) -> None:
    wide = re.sub(r"\*+", "**", glob)

    assert matches(wide, text) or not matches(glob, text)


# --- the vocabulary ---


def run(**times: Any) -> Build:
    return Build(key=BuildKey("1"), repo="acme/shop", status=Status.COMPLETED, **times)


@pytest.mark.parametrize(
    ("build", "duration", "queue"),
    [
        (run(created_at=10, started_at=15, completed_at=40), 25, 5),
        (run(created_at=10, started_at=10, completed_at=10), 0, 0),
        (run(created_at=10, completed_at=40), None, None),
        (run(started_at=15, completed_at=40), 25, None),
        (run(created_at=10, started_at=15), None, 5),
        (run(), None, None),
        (run(created_at=0, started_at=0, completed_at=0), 0, 0),
        (run(created_at=20, started_at=15, completed_at=10), -5, -5),
        (run(started_at=15, completed_at=40, conclusion="skipped"), None, None),
        (run(created_at=10, started_at=15, completed_at=40, attempt=2), 25, None),
    ],
)
def test_a_span_of_a_build_is_known_if_both_ends_are(
    build: Build, duration: float | None, queue: float | None
) -> None:
    assert (duration, queue) == (build.duration, build.queue)


@pytest.mark.parametrize(
    ("build", "time"),
    [
        (run(created_at=10, started_at=15, completed_at=12), 12),
        (run(created_at=10, started_at=15), 15),
        (run(created_at=20, started_at=15), 20),
        (run(created_at=10), 10),
        (run(), None),
    ],
)
def test_the_time_of_a_build_is_its_completion_or_the_newest_it_has(
    build: Build, time: float | None
) -> None:
    assert build.time == time


def test_builds_are_in_order_of_completion_then_start_then_creation_then_number() -> None:
    ordered = [
        run(),
        run(created_at=1),
        run(created_at=1, started_at=2),
        run(created_at=1, started_at=2, completed_at=3),
        run(created_at=1, started_at=3, completed_at=3, number=7),
        run(created_at=1, started_at=2, completed_at=3, number=8),
        run(created_at=1, started_at=2, completed_at=3, number=8, attempt=2),
        run(created_at=1, started_at=2, completed_at=4, number=1),
        run(created_at=5),
    ]

    assert [] == [pair for pair in pairwise(ordered) if pair[0].order >= pair[1].order]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("19700102", 86400.0),
        ("1970-01-01T01:00:00Z", 3600.0),
        ("1970-01-01T01:00", 3600.0),
        ("1970-01-01T01:00:00.5+01:00", 0.5),
        (" 90 ", 90.0),
        ("1785542400", 1785542400.0),
        ("1785542400.25", 1785542400.25),
        ("1h30m", 1000.0 - 5400.0),
        ("0s", 1000.0),
    ],
)
def test_people_name_a_point_in_time_by_date_seconds_or_span(text: str, seconds: float) -> None:
    assert point(text, now=1000.0) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "soon", "1e3", "-5", "nan", "\u0665", "9" * 13, f"{'9' * 400}d", "2026-13-01", "+1"],
)
def test_what_names_no_point_in_time_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date \(write 2026-08-01, .* or 48h\)"):
        point(text, now=1000.0)


@given(st.text(max_size=30))
def test_any_text_names_a_finite_point_in_time_or_none(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert math.isfinite(point(text, now=1000.0))


def job(**values: Any) -> Job:
    return Job(**{"id": "1", "name": "test", "status": Status.COMPLETED, **values})


@pytest.mark.parametrize(
    ("job", "build", "carried"),
    [
        # A first attempt has nothing to carry over.
        (job(completed_at=90), run(started_at=100), False),
        # Ended before the attempt it is listed in began.
        (job(attempt=2, completed_at=90), run(attempt=2, started_at=100), True),
        (job(attempt=2, completed_at=101), run(attempt=2, started_at=100), False),
        # Cancelled as soon as the attempt began, it took no time and is the attempt's own.
        (job(attempt=2, completed_at=100), run(attempt=2, started_at=100), False),
        (
            job(attempt=2, started_at=100, completed_at=100),
            run(attempt=2, started_at=100),
            False,
        ),
        # It says itself that it is of an earlier attempt: the ledger knows it from there.
        (job(attempt=1, completed_at=90), run(attempt=2, started_at=100), False),
        # GitHub makes a copy whose creation is that of the new attempt.
        (job(attempt=2, created_at=100, started_at=50), run(attempt=2), True),
        (job(attempt=2, created_at=100, started_at=101), run(attempt=2), False),
        # Nothing tells: it counts.
        (job(attempt=2), run(attempt=2), False),
    ],
)
def test_a_job_that_ended_before_its_attempt_began_is_carried_over(
    job: Job, build: Build, carried: bool
) -> None:
    assert carried_over(job, build) is carried


def test_the_words_of_a_label_are_its_values() -> None:
    assert "waiting" == f"{Status.WAITING}" == Status("waiting")
    assert "pull_request" == f"{Ref.PULL_REQUEST}"
