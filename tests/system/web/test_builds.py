"""`/builds.json`: the build log for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.demo.serve import serving
from exporter.errors import StateUnavailable
from exporter.ledger.build_log import BuildLog
from exporter.ledger.sql import build_log
from exporter.web import log_reader
from exporter.web.build_query import BuildQuery
from exporter.web.parameters import ParameterFault
from tests.conftest import ROOT
from tests.system.web import Logged, Web, client, provider, served
from tests.system.web.test_live import Running, polling
from tests.tools.build_logs import MAIN, WHOLE, a_build, record
from tests.tools.scripted import Rig, build, done

T = TypeVar("T")

OTHER = ("gitlab", "zenith", "zenith/site", "", "main")


@pytest.fixture
def stub() -> Logged:
    """Four builds, of which 4 is the newest."""
    made = Logged(provider())
    record(
        made.ledger,
        ("1", a_build(MAIN, 1000.0, number=1, commit="c0ffee01")),
        ("2", a_build(MAIN, 2000.0, "failed", number=2, commit="c0ffee02")),
        ("3", a_build(OTHER, 3000.0, number=3)),
        ("4", a_build((*MAIN[:4], "other"), 4000.0, "cancelled", number=4, ref="topic/x")),
    )
    return made


def numbers(web: Web, stub: Logged, query: str = "") -> list[int]:
    answer = web.ask("GET", f"/builds.json?{query}", stub)
    assert answer.status_code == 200, answer.text
    return [build["number"] for build in answer.json()["builds"]]


# --- what it says ---


def test_a_build_has_all_that_is_known_of_it_in_its_place(web: Web) -> None:
    stub = Logged(provider(web_url="https://ci.example"))
    record(stub.ledger, ("7", WHOLE))

    answer = web.ask("GET", "/builds.json", stub)

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "builds": [
            {
                "provider": "github",
                "account": "acme",
                "repo": "acme/shop",
                "workflow": "CI",
                "branch": "other",
                "number": 7,
                "attempt": 2,
                "status": "completed",
                "conclusion": "failed",
                "trigger": "push",
                "commit": "c0ffee" * 6,
                "title": "Mend the parser",
                "triggered_by": "octo",
                "created_at": "1970-01-01T00:01:40Z",
                "started_at": "1970-01-01T00:01:41Z",
                "completed_at": "1970-01-01T00:01:51Z",
                "duration_seconds": 10.25,
                "queue_seconds": 1.25,
                "url": "https://ci.example/7",
                "ref": "feature/ä",
                "commit_at": "1970-01-01T00:01:30Z",
                "triggered_by_type": "user",
                "pull_request": 12,
                "environment": "production",
                "jobs": [
                    {
                        "name": "test",
                        "conclusion": "failed",
                        "started_at": "1970-01-01T00:01:41Z",
                        "completed_at": "1970-01-01T00:01:51Z",
                        "url": "https://ci.example/7/1",
                    }
                ],
            }
        ],
        "next_cursor": None,
    }


def test_what_is_not_known_is_null_and_all_of_it_is_as_the_schema_says(web: Web) -> None:
    stub = Logged()
    record(stub.ledger, ("1", a_build(MAIN, None, ref=None)), ("2", WHOLE))

    told = web.ask("GET", "/builds.json", stub).json()

    jsonschema.validate(told, json.loads((ROOT / "docs/builds.schema.json").read_text()))
    bare = told["builds"][0]
    assert {key for key, value in bare.items() if value is None} == {
        *("number", "commit", "title", "triggered_by", "created_at", "started_at", "completed_at"),
        *("duration_seconds", "queue_seconds", "url", "commit_at", "triggered_by_type"),
        *("pull_request", "environment"),
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://ci.example.evil.example/7",
        "http://ci.example/pages/7",
        "https://evil.example/ci.example/7",
        "javascript:alert(1)",
        'https://ci.example/7"onclick',
    ],
)
def test_an_address_of_another_site_is_left_out(web: Web, url: str) -> None:
    stub = Logged(provider())
    job = msgspec.structs.replace(WHOLE.jobs[0], url=url)
    record(stub.ledger, ("7", msgspec.structs.replace(WHOLE, url=url, jobs=(job,))))

    (told,) = web.ask("GET", "/builds.json", stub).json()["builds"]

    assert (told["url"], told["jobs"][0]["url"]) == (None, None)


# --- which builds ---


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [4, 3, 2, 1]),
        ("account=zenith", [3]),
        ("provider=github", [4, 2, 1]),
        ("repo=acme/shop", [4, 2, 1]),
        ("repo=acme%2Fshop&conclusion=failed", [2]),
        ("workflow=CI", [4, 2, 1]),
        ("branch=main", [3, 2, 1]),
        ("branch=topic/x", [4]),
        ("branch=other", [4]),
        ("commit=C0FFEE", [2, 1]),
        ("commit=c0ffee02", [2]),
        ("since=2000", [4, 3, 2]),
        ("until=2000", [1]),
        ("since=1970-01-01T00:33:20Z&until=1970-01-01T00:50:00Z", [2]),
        ("since=1970-01-01", [4, 3, 2, 1]),
        ("since=24h", []),
        ("limit=2", [4, 3]),
        ("limit=1000", [4, 3, 2, 1]),
        ("account=nobody", []),
        ("account=&repo=&limit=&since=", [4, 3, 2, 1]),
        ("account=%EF%BF%BD", []),
        ("unknown=1&unknown=2", [4, 3, 2, 1]),
    ],
)
def test_builds_are_found_by_what_is_asked_for(
    web: Web, stub: Logged, query: str, found: list[int]
) -> None:
    assert numbers(web, stub, query) == found


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("limit=0", "limit: must be a whole number from 1 to 1000, got '0'"),
        ("limit=1001", "limit: must be a whole number from 1 to 1000, got '1001'"),
        ("limit=-1", "limit: must be a whole number from 1 to 1000, got '-1'"),
        ("limit=1.5", "limit: must be a whole number from 1 to 1000, got '1.5'"),
        ("limit=%D9%A2", "limit: must be a whole number from 1 to 1000, got '\u0662'"),
        ("since=soon", "since: 'soon' is no date (write 2026-08-01, 2026-08-01T12:00:00Z or 48h)"),
        ("until=nan", "until: 'nan' is no date (write 2026-08-01, 2026-08-01T12:00:00Z or 48h)"),
        ("cursor=x", "cursor: is none that a page of this log gave"),
        ("account=a&account=b", "account: is given more than once"),
        ("repo=a%00b", "repo: holds a control character"),
        ("repo=a%0Ab", "repo: holds a control character"),
        ("repo=%ff", "the query is not percent-encoded UTF-8"),
        ("branch=%ED%A0%80", "the query is not percent-encoded UTF-8"),
        (f"branch={'x' * 1001}", "branch: is longer than 1000 characters"),
        ("&".join(["x=1"] * 101), "the query has more than 100 parameters"),
    ],
)
def test_a_malformed_parameter_is_refused_in_one_line(
    web: Web, stub: Logged, query: str, fault: str
) -> None:
    answer = web.ask("GET", f"/builds.json?{query}", stub)

    assert (answer.status_code, answer.text) == (400, f"{fault}\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


HOSTILE = (
    *(
        "9" * 5000,
        "1e308",
        "-1e308",
        "inf",
        "nan",
        "0x10",
        "٢",
        " ",
        "+",
        "%",
        "%s%n",
        "../..",
        "*",
    ),
    *("0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "99999999999999d"),
    *(
        "' OR 1=1 --",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "\u202e",
        "a\u2028b",
        "\x7f",
        "\x1b[2J",
    ),
    *("0x1p+1023_1", "nan_1", "inf_999999999999999999", "-0x0p+0_0", "_", "1_1", "0x1.8p+99999_1"),
)


@pytest.mark.parametrize(
    "name", ["account", "repo", "branch", "commit", "since", "until", "limit", "cursor"]
)
def test_whatever_a_parameter_holds_is_refused_or_finds_something(
    web: Web, stub: Logged, name: str
) -> None:
    for value in HOSTILE:
        for path in ("/builds.json", "/go"):
            answer = web.ask("GET", f"{path}?{name}={quote(value, safe='%')}", stub)

            assert answer.status_code in (200, 400, 404), (value, answer.text)
            assert answer.status_code == 200 or answer.text.count("\n") == 1
            assert answer.status_code == 200 or answer.text.rstrip("\n").isprintable()


_NAMES = ["account", "repo", "commit", "since", "until", "limit", "cursor", "x", ""]


@given(
    st.binary(max_size=60)
    | st.lists(st.tuples(st.sampled_from(_NAMES), st.text(max_size=20))).map(
        lambda pairs: urlencode(pairs, errors="surrogatepass").encode()
    )
)
def test_any_query_is_understood_or_refused_in_one_printable_line(query: bytes) -> None:
    try:
        asked, fault = BuildQuery.parsed(query), ""
    except ParameterFault as error:
        asked, fault = BuildQuery(), str(error)

    assert fault.isprintable()
    assert 1 <= asked.limit <= 1000
    assert all(asked.given.values())


# --- page by page ---


def test_a_cursor_goes_on_where_a_page_ended(web: Web, stub: Logged) -> None:
    first = web.ask("GET", "/builds.json?limit=3", stub).json()
    record(stub.ledger, ("5", a_build(MAIN, 5000.0, number=5)))
    query = f"limit=3&cursor={first['next_cursor']}"

    assert re.fullmatch(r"[\w.-]+", first["next_cursor"])  # safe in a query as it is
    assert [build["number"] for build in first["builds"]] == [4, 3, 2]
    assert numbers(web, stub, query) == [1]
    assert web.ask("GET", f"/builds.json?{query}", stub).json()["next_cursor"] is None


def test_a_rare_build_is_looked_for_far_back_but_not_for_ever(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_log, "_SCANNED", 3)
    stub = Logged()
    words = ["failed" if n % 8 == 0 else "passed" for n in range(40)]
    builds = (a_build(MAIN, 1000.0 + n, word, number=n) for n, word in enumerate(words))
    record(stub.ledger, *((str(n), build) for n, build in enumerate(builds)))

    def asked(query: str) -> tuple[list[int], str | None]:
        told = web.ask("GET", f"/builds.json?conclusion=failed&{query}", stub).json()
        return [build["number"] for build in told["builds"]], told["next_cursor"]

    found, cursor = asked("limit=3")
    assert found == [32, 24, 16]
    assert asked(f"limit=3&cursor={cursor}") == ([8, 0], None)
    monkeypatch.setattr(log_reader, "_MOST_CALLS", 2)
    found, cursor = asked("limit=3")
    assert found == []
    assert asked(f"limit=3&cursor={cursor}")[0] == [32]
    page = web.ask("GET", "/builds?conclusion=failed", stub).text
    assert "None of the builds that were looked at matches; there are older ones." in page


def test_ten_thousand_builds_are_paged_through_while_others_arrive(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db", size=1000)
    old = [done(build(str(n), number=n, workflow=f"w{n % 250}")) for n in range(10_000)]
    rig.provider._builds = old
    rig.poll()

    async def main() -> list[int]:
        async with (
            polling(rig) as poller,
            serving(served(WithLog(poller))) as url,
            client(url) as c,
        ):
            return await paged(c, rig, poller)

    found = asyncio.run(main())

    assert len(found) == len(set(found))
    assert sorted(n for n in found if n < 10_000) == list(range(10_000))
    assert len(found) > 10_000, "none of those that arrived had ended long ago"


class WithLog:
    """A running poller whose recorder is where the log is read."""

    def __init__(self, poller: Running) -> None:
        self._poller = poller
        self.read_log = poller.recorder.read_log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


async def paged(c: Any, rig: Rig, poller: Running) -> list[int]:
    """The numbers of all builds, read in pages; before each page some more have ended."""
    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        new = 10_000 + len(found)
        rig.provider._builds += [done(build(str(new), number=new, workflow="new"))]
        ago = time.time() - 3600
        late = build(str(new + 1), number=new + 1, workflow="new", created_at=ago, started_at=ago)
        rig.provider._builds += [done(late)]
        assert await poller.once()
        page = (await c.get("/builds.json", params={"limit": 997, "cursor": cursor})).json()
        found += [build["number"] for build in page["builds"]]
        cursor = page["next_cursor"]
    return found


# --- as often as one likes ---


def test_what_has_not_changed_is_not_sent_again(web: Web, stub: Logged) -> None:
    first = web.ask("GET", "/builds.json", stub)
    tag = first.headers["etag"]

    def again(known: str) -> tuple[int, bytes, str | None]:
        answer = web.ask("GET", "/builds.json", stub, headers={"If-None-Match": known})
        return answer.status_code, answer.content, answer.headers.get("etag")

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        assert again(known) == (304, b"", tag)
    assert again('"other"')[0] == 200
    record(stub.ledger, ("5", a_build(MAIN, 5000.0, number=5)))
    assert again(tag)[0] == 200
    assert again(tag)[2] != tag


# --- a log that does not answer ---


class Failing(Logged):
    """The state cannot be read."""

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        raise StateUnavailable("state file s.db cannot be read: disk I/O error")


class Hanging(Logged):
    """The disk of the state does not answer."""

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        await asyncio.Event().wait()
        raise AssertionError


PATHS = (
    "/builds.json",
    "/go?account=acme&repo=acme/shop&workflow=CI&branch=main&build=last",
)


@pytest.mark.parametrize("path", PATHS)
def test_a_state_that_fails_is_said(web: Web, path: str) -> None:
    answer = web.ask("GET", path, Failing(provider()))

    assert answer.status_code == 503
    assert answer.text == "state file s.db cannot be read: disk I/O error.\n"


@pytest.mark.parametrize("path", PATHS)
def test_a_state_that_hangs_holds_nobody_for_long(
    web: Web, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "_PATIENCE", 0.05)

    answer = web.ask("GET", path, Hanging(provider()))

    assert (answer.status_code, answer.text) == (
        503,
        "the build log does not answer: try again.\n",
    )


def test_so_many_wait_for_the_log_and_no_more() -> None:
    stub = Hanging(provider())

    async def main() -> None:
        async with serving(served(stub)) as url, client(url) as c:
            waiting = [asyncio.create_task(c.get("/builds.json")) for _ in range(log_reader._MOST)]
            while True:  # until they all wait
                answer = asyncio.create_task(c.get("/builds.json"))
                done, _ = await asyncio.wait([answer], timeout=0.1)
                if done:
                    break
                waiting.append(answer)
            assert answer.result().status_code == 503
            assert answer.result().text == "too many requests wait for the build log: try again.\n"
            for task in waiting:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    asyncio.run(main())
