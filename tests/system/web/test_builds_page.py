"""`/builds` as it is written: what it says of builds, where it leads, and that it is harmless."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.ledger.build_log import LoggedBuild
from tests.system.web import Logged, Web, client, provider, served
from tests.system.web.test_status_page import POISON, Tags
from tests.tools.build_logs import MAIN, WHOLE, a_build, record

SITE = "https://ci.example"


def stub(*builds: LoggedBuild) -> Logged:
    made = Logged(provider(web_url=SITE), provider("zenith"))
    record(made.ledger, *((str(n), build) for n, build in enumerate(builds)))
    return made


def page(web: Web, shown: Logged, query: str = "", status: int = 200) -> Tags:
    answer = web.ask("GET", f"/builds{query}", shown)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/html; charset=utf-8",
    )
    assert answer.headers["content-security-policy"].startswith("default-src 'none';")
    return Tags(answer.text)


def links(tags: Tags, name: str = "href") -> list[str]:
    return [attrs[name] or "" for _, attrs in tags.tags if attrs.get(name)]


def test_a_build_is_shown_with_commit_author_jobs_and_links(web: Web) -> None:
    found = page(web, stub(WHOLE))

    for words in ("acme/shop acme", "#7 attempt 2", "c0ffeec0", "Mend the parser", "by octo"):
        assert words in found.words
    for words in ("CI on feature/ä, pull request 12, to production", "failed test", "10 s"):
        assert words in found.words
    assert [link for link in links(found) if link.startswith(SITE)] == [f"{SITE}/7", f"{SITE}/7/1"]
    assert "/repo?account=acme&repo=acme%2Fshop" in links(found)


def test_what_is_not_known_is_not_shown(web: Web) -> None:
    found = page(web, stub(a_build((*MAIN[:3], "", ""), None, ref=None)))

    assert "acme/shop acme build" in found.words
    assert found.words.count("not known") == 2
    assert "None" not in found.text


@pytest.mark.parametrize("url", ["https://evil.example/7", "javascript:alert(1)", "//ci.example/"])
def test_nothing_leads_to_another_site(web: Web, url: str) -> None:
    job = msgspec.structs.replace(WHOLE.jobs[0], url=url)

    found = page(web, stub(msgspec.structs.replace(WHOLE, url=url, jobs=(job,))))

    assert "#7" in found.words
    assert {urlsplit(link).netloc for link in links(found)} == {""}


def test_a_poisoned_build_is_text_on_the_page(web: Web) -> None:
    def shown(text: str) -> Logged:
        named: dict[str, Any] = dict.fromkeys(
            ("title", "triggered_by", "commit", "ref", "environment", "conclusion", "workflow"),
            text,
        )
        return stub(msgspec.structs.replace(WHOLE, **named))

    query = "?repo=&workflow=%3Cscript%3Ealert(1)%3C/script%3E%22%27"
    sound, found = page(web, shown("plain")), page(web, shown(POISON.replace("\0", "")))
    echoed = page(web, stub(), query)

    assert [(tag, sorted(attrs)) for tag, attrs in found.tags] == [
        (tag, sorted(attrs)) for tag, attrs in sound.tags
    ]
    assert "\u202e" not in found.text
    assert not [tag for tag, _ in (*found.tags, *echoed.tags) if tag == "script"]
    (workflow,) = [attrs for _, attrs in echoed.tags if attrs.get("name") == "workflow"]
    assert workflow["value"] == "<script>alert(1)</script>\"'"


def test_the_filter_and_the_pages_keep_what_is_asked_for(web: Web) -> None:
    shown = stub(*(a_build(MAIN, 1000.0 + n, number=n) for n in range(5)))

    first = page(web, shown, "?repo=acme%2Fshop&limit=2&account=acme")

    assert ("#4" in first.words, "#2" in first.words) == (True, False)
    fields = {a.get("name"): a.get("value") for tag, a in first.tags if tag == "input"}
    assert fields["repo"] == "acme/shop"
    assert fields["limit"] == "2"
    chosen = [a["value"] for tag, a in first.tags if tag == "option" and "selected" in a]
    assert chosen == ["acme"]
    (older,) = [a["href"] for _, a in first.tags if a.get("rel") == "next"]
    assert older is not None
    second = page(web, shown, older.removeprefix("/builds"))
    assert ("#2" in second.words, "#0" in second.words) == (True, False)
    (newest,) = [
        link for link in links(second) if link.startswith("/builds?") and "cursor" not in link
    ]
    asked = {"repo": ["acme/shop"], "limit": ["2"], "account": ["acme"]}
    assert parse_qs(urlsplit(newest).query) == asked
    (data,) = [link for link in links(second) if link.startswith("/builds.json")]
    assert parse_qs(urlsplit(data).query) == asked


def test_a_malformed_parameter_is_said_on_the_page(web: Web) -> None:
    found = page(web, stub(WHOLE), "?since=soon", status=400)

    assert "since: 'soon' is no date (write 2026-08-01, 2026-08-01T12:00:00Z or 48h)" in found.words
    assert "#7" not in found.words


def test_nothing_to_show_is_said(web: Web) -> None:
    assert "No build has finished since the log began." in page(web, stub()).words
    assert "No build matches. Show all" in page(web, stub(WHOLE), "?repo=nowhere").words


def test_what_is_chosen_can_be_seen_though_it_is_not_there(web: Web) -> None:
    found = page(web, stub(), "?account=gone&conclusion=odd")

    chosen = [a["value"] for tag, a in found.tags if tag == "option" and "selected" in a]
    assert chosen == ["gone", "odd"]


@pytest.mark.parametrize("path", ["/builds", "/builds.json"])
def test_a_thousand_builds_hold_nobody_up(path: str) -> None:
    shown = stub(*(msgspec.structs.replace(WHOLE, number=n) for n in range(1000)))

    async def main() -> tuple[int, float]:
        async with serving(served(shown)) as url, client(url) as c:
            await c.get(path)  # what is done once is done
            longest = 0.0

            async def others() -> None:
                nonlocal longest
                while True:
                    before = time.thread_time()
                    await asyncio.sleep(0)
                    longest = max(longest, time.thread_time() - before)

            waiting = asyncio.create_task(others())
            gc.disable()  # a collection looks through all that the tests have made
            answer = await c.get(f"{path}?limit=1000")
            gc.enable()
            waiting.cancel()
            return answer.text.count("Mend the parser"), longest

    builds, longest = asyncio.run(main())

    assert builds == 1000
    assert longest < 0.02
