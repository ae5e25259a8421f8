"""One record is one line with stable keys, whatever it says."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import sys
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import logs

FORMS: tuple[Literal["logfmt", "json"], ...] = ("logfmt", "json")
HOSTILE = 'a\nlevel=error msg="got you"\r\n\x1b[31m\x9b31m\u2028\u202e\ud800\0 \\ = é 🚀'


def lines(form: Literal["logfmt", "json"], *records: logging.LogRecord) -> list[str]:
    """What a handler writes of the records."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs._Formatter(form))
    for record in records:
        handler.handle(record)
    return stream.getvalue().split("\n")[:-1]


def record(msg: str, *args: Any, level: int = logging.INFO, **facts: Any) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord(
        "test", level, "file.py", 1, msg, args, None, extra=facts
    )


def read(form: Literal["logfmt", "json"], line: str) -> dict[str, str]:
    """What a reader of logfmt or JSON makes of a line."""
    if form == "json":
        return {key: str(value) for key, value in json.loads(line).items()}
    found: dict[str, str] = {}
    position = 0
    for match in re.finditer(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)', line):
        assert match.start() == position, line[position:]
        position = match.end()
        key, value = match.groups()
        found[key] = json.loads(value) if value.startswith('"') else value
    assert position == len(line)
    return found


@pytest.fixture
def root() -> logging.Logger:
    """The root logger."""
    return logging.getLogger()


def test_a_line_of_logfmt_has_time_level_message_and_facts() -> None:
    said = record("the account is fine again", account="acme", repos=3, why="a=b", none="")

    (line,) = lines("logfmt", said)

    assert re.fullmatch(
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info"
        r' msg="the account is fine again" account=acme repos=3 why="a=b" none=""',
        line,
    )


def test_a_line_of_json_has_the_same() -> None:
    said = record("%d polls failed", 2, account="acme", repos=3)

    (line,) = lines("json", said)

    known = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", known.pop("ts"))
    assert {"level": "info", "msg": "2 polls failed", "account": "acme", "repos": 3} == known


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warn"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "error"),
    ],
)
def test_levels_are_named_like_the_flag_names_them(level: int, word: str) -> None:
    (line,) = lines("logfmt", record("x", level=level))

    assert word in logs.LEVELS
    assert f"level={word} " in line


@pytest.mark.parametrize("form", FORMS)
@given(
    said=st.text(st.characters(exclude_categories=())),
    fact=st.text(st.characters(exclude_categories=())),
)
@example(said=HOSTILE, fact=HOSTILE)
@example(said="", fact="\\")
def test_no_text_breaks_out_of_its_value(
    form: Literal["logfmt", "json"], said: str, fact: str
) -> None:
    (line,) = lines(form, record("%s", said, account=fact))

    assert line.isprintable()
    known = read(form, line)
    assert [*known] == ["ts", "level", "msg", "account"]
    assert [known["msg"], known["account"]] == [said, fact]


@pytest.mark.parametrize("form", FORMS)
def test_a_fact_does_not_take_the_place_of_time_or_level(form: Literal["logfmt", "json"]) -> None:
    (line,) = lines(form, record("x", level=logging.ERROR, ts="then", colour="red"))

    known = read(form, line)
    assert [*known] == ["ts", "level", "msg", "colour"]
    assert known["ts"] != "then"


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_stays_on_the_line(form: Literal["logfmt", "json"]) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        said = record("a poll broke down")
        said.exc_info = sys.exc_info()

    (line,) = lines(form, said)

    known = read(form, line)
    assert [*known] == ["ts", "level", "msg", "traceback"]
    assert known["traceback"].startswith("Traceback (most recent call last):\n")
    assert known["traceback"].endswith(f"ValueError: {HOSTILE}")


@pytest.mark.parametrize("form", FORMS)
def test_values_of_any_type_can_be_told(form: Literal["logfmt", "json"]) -> None:
    (line,) = lines(form, record("x", path=sys, error=ValueError("no"), absent=None))

    assert {"path": str(sys), "error": "no", "absent": "None"}.items() <= read(form, line).items()


def test_lines_go_to_stderr_from_the_level_asked_for(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(level="warn", form="logfmt")

    logging.getLogger("exporter.schedule").info("not told")
    logging.getLogger("exporter.schedule").warning("told")
    logging.getLogger("uvicorn.error").error("told too", extra={"color_message": "\x1b[31m"})
    root.handlers[0].flush()

    out, err = capsys.readouterr()
    assert out == ""
    assert ["told", "told too"] == [read("logfmt", line)["msg"] for line in err.splitlines()]
    assert "color" not in err


def test_libraries_do_not_tell_of_each_request(root: logging.Logger) -> None:
    logs.configure(level="debug", form="json")

    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)
    assert not logging.getLogger("apscheduler.scheduler").isEnabledFor(logging.WARNING)


# -- what is not told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("https://user:pass@host/x?y", "https://<hidden>@host/x?y"),
        ("http://token@host:80", "http://<hidden>@host:80"),
        ("Authorization: Bearer abc.def", "Authorization: <hidden>"),
        ("{'authorization': 'Basic abc=='}", "{'authorization': '<hidden>'}"),
        ("PRIVATE-TOKEN: abc, next", "PRIVATE-TOKEN: <hidden>, next"),
        ("?a=b&access_token=abc&c=d", "?a=b&access_token=<hidden>&c=d"),
        ("password=abc", "password=<hidden>"),
        ("mail me@example.org of https://host/@v1", "mail me@example.org of https://host/@v1"),
        ("the token has expired", "the token has expired"),
        ("authorization failed", "authorization failed"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_credential_is_hidden_whoever_says_it(
    form: Literal["logfmt", "json"], said: str, told: str
) -> None:
    lines_of = lines(form, record(said), record("x", error=said))

    assert [told, told] == [read(form, lines_of[0])["msg"], read(form, lines_of[1])["error"]]


def repeated(*records: logging.LogRecord, seconds: float) -> list[int | None]:
    """How often each record that is let through was repeated before; so long is between two."""
    times = itertools.count(0.0, seconds)
    folding = logs._Folding(lambda: next(times))
    return [getattr(r, "repeated", None) for r in records if folding.filter(r)]


def said_by(name: str, *, level: int = logging.ERROR, **facts: Any) -> Any:
    return logging.getLogger(name).makeRecord(name, level, "file.py", 1, "x", (), None, extra=facts)


def test_what_repeats_is_told_once_in_five_minutes_with_how_often() -> None:
    often = [said_by("exporter.x", **logs.FOLDED) for _ in range(11)]

    assert [None, 4, 4] == repeated(*often, seconds=60)


def test_what_a_library_warns_of_is_folded_and_what_it_tells_is_not() -> None:
    assert [None] == repeated(*(said_by("asyncio") for _ in range(3)), seconds=1)
    info = [said_by("uvicorn", level=logging.INFO) for _ in range(3)]
    assert [None] * 3 == repeated(*info, seconds=1)


def test_our_own_errors_and_those_that_differ_are_each_told() -> None:
    ours = [said_by("exporter.schedule") for _ in range(3)]
    others = [said_by("asyncio", account=str(n)) for n in range(2000)]

    assert [None] * 3 == repeated(*ours, seconds=1)
    assert [None] * 2000 == repeated(*others, seconds=0)
