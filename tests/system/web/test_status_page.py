"""The status page as it is written: what it says, what it leaves out, and that it is harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest

from exporter.model import CONCLUSIONS
from exporter.status.document import (
    BudgetReport,
    Ended,
    LimitReport,
    ReloadReport,
    SeriesReport,
    WorkerReport,
)
from exporter.web.status_page import PageQuery, query
from exporter.web.wording import elapsed
from tests.system.web import Stub, Web, account, repo

POISON = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}\n\0\u202e"


class Tags(HTMLParser):
    """The tags of a page, their attributes and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self) -> set[str]:
        """What it refers to."""
        found = (attrs.get("href") or attrs.get("src") for _, attrs in self.tags)
        return {link for link in found if link is not None}

    def links(self) -> set[str]:
        """What it refers to, without queries and fragments."""
        return {urlsplit(link).path for link in self.addresses()} - {""}


def page(web: Web, stub: Stub, path: str = "/status") -> Tags:
    response = web.ask("GET", path, stub)
    assert response.status_code == 200
    return Tags(response.text)


# --- what it says ---


def test_the_page_says_what_is_up_and_down_why_and_what_to_do(web: Web) -> None:
    down = account(
        "other",
        up=False,
        state="unauthorized",
        error="https://x: answered 401",
        advice="Check that the token is valid.",
        since="2026-02-03T03:05:30Z",
        next_try_at="2026-02-03T04:07:30Z",
    )

    said = page(web, Stub(account(), down)).words

    for words in (
        "acme github at https://api.github.com up",
        "unauthorised for 1 h next try in 2 min https://x: answered 401",
        "Check that the token is valid.",
        "Accounts 2 1 not up",
    ):
        assert words in said


def test_the_page_says_how_a_repo_does(web: Web) -> None:
    history = [
        Ended(at="2026-02-03T03:00:00Z", conclusion="passed"),
        Ended(at=None, conclusion="failed"),
    ]
    shop = repo(
        active=3,
        active_by_status={"queued": 1, "in_progress": 2},
        oldest_active_at="2026-02-03T03:51:30Z",
        last_conclusion="failed",
        last_completed_at="2026-02-03T04:00:30Z",
        history=history,
        builds=1234,
    )

    found = page(web, Stub(account("acme", shop)))

    assert (
        "acme/shop acme up to date 24 s ago in 36 s 3 1 queued, 2 running oldest 14 min"
        in found.words
    )
    assert "failed 5 min ago 1,234" in found.words
    ticks = [attrs for tag, attrs in found.tags if tag == "i" and attrs.get("title")]
    assert [(tick["class"], tick["title"]) for tick in ticks] == [
        ("passed", "passed, 2026-02-03 03:00:00 UTC"),
        ("failed", "failed"),
    ]
    told = [attrs["aria-label"] for tag, attrs in found.tags if attrs.get("role") == "img"]
    assert told == ["Last 2 builds, the newest failed: 1 passed, 1 failed"]


def test_what_is_not_known_is_not_drawn(web: Web) -> None:
    young = repo(state="pending", last_success_at=None, age_seconds=None, builds=0)

    found = page(web, Stub(account("acme", young)))

    assert "acme/shop acme not polled yet never in 36 s none none 0" in found.words
    assert not [attrs for tag, attrs in found.tags if tag == "i" and attrs.get("title")]


def test_the_page_shows_the_budget_and_the_series(web: Web) -> None:
    budget = BudgetReport(
        exhausted=True,
        next_request_in_seconds=1.0,
        requests_per_hour_limit=900,
        limits={"core": LimitReport(limit=5000.0, remaining=12.0, reset_at="2026-02-03T04:20:00Z")},
    )
    series = SeriesReport(used=490_000, limit=500_000, dropped=3)

    found = page(web, Stub(account(budget=budget), series=series))

    assert "core: 12 of 5,000 left, full again in 14 min polls wait for the budget" in found.words
    assert "490,000 of 500,000 3 dropped: raise metrics.series_limit" in found.words
    meters = [attrs for tag, attrs in found.tags if tag == "meter"]
    assert [(m["value"], m["max"]) for m in meters] == [("490000", "500000"), ("12.0", "5000.0")]
    assert all(m["aria-label"] for m in meters)


def test_the_page_says_which_exporter_polls_what_where_several_share_a_state(web: Web) -> None:
    workers = [
        WorkerReport(name=name, version="0.1.0", started_at="2026-02-03T02:00:00Z", accounts=[])
        for name in ("east", "<b>west</b>")
    ]

    said = page(web, Stub(account("a", worker="<b>west</b>"), account("b"), workers=workers)).words

    assert "Exporters 2 east 0.1.0, <b>west</b> 0.1.0" in said
    assert "polled by <b>west</b>" in said
    assert said.count("polled by nobody") == 1
    assert "polled by" not in page(web, Stub()).words


def test_a_failed_reload_and_a_state_in_trouble_stand_at_the_top(web: Web) -> None:
    failed = ReloadReport(ok=False, at="2026-02-03T04:00:30Z", error="c.yml:1:2: <b>: bad\nc: 2")

    said = page(web, Stub(state_ok=False, reload=failed)).words

    assert "configuration failed 5 min ago The configuration from before is still" in said
    assert said.index("c.yml:1:2: <b>: bad c: 2") < said.index("Accounts")
    assert said.index("The state cannot be written") < said.index("Accounts")


def test_the_page_links_to_the_rest(web: Web) -> None:
    links = page(web, Stub()).links()

    assert links >= {"/metrics", "/status.json", "/config", "/docs/"}
    assert {web.ask("GET", link, Stub()).status_code for link in links} == {200}


# --- what is asked for ---


FLEET = (
    account("acme", *(repo(f"acme/r{n}") for n in range(150)), repo("acme/red", error="boom 503")),
    account("Umbrella", repo("umbrella/api"), repo("umbrella/old", state="stale", stale=True)),
)


@pytest.mark.parametrize(
    ("asked", "count", "first"),
    [
        ("", "153 repos, page 1 of 2", "acme/red"),
        ("?page=2", "153 repos, page 2 of 2", "acme/r98"),
        ("?page=99", "153 repos, page 2 of 2", "acme/r98"),
        ("?page=-1", "153 repos, page 1 of 2", "acme/red"),
        ("?page=%D9%A2", "153 repos, page 1 of 2", "acme/red"),
        ("?q=UMBRELLA/A", "1 of 153 repos match", "umbrella/api"),
        ("?q=boom", "1 of 153 repos match", "acme/red"),
        ("?q=+r14+", "11 of 153 repos match", "acme/r14"),
        ("?account=Umbrella", "2 of 153 repos match", "umbrella/old"),
        ("?show=unhealthy", "2 of 153 repos match", "acme/red"),
        ("?show=unhealthy&account=Umbrella&q=old", "1 of 153 repos match", "umbrella/old"),
        ("?nothing=known&show=x&page=x", "153 repos, page 1 of 2", "acme/red"),
    ],
)
def test_repos_can_be_searched_and_paged(web: Web, asked: str, count: str, first: str) -> None:
    response = web.ask("GET", f"/status{asked}", Stub(*FLEET))

    assert f'role="status">{count}</p>' in response.text
    rows = re.findall(r'data-label="Repo"><bdi>([^<]+)</bdi>', response.text)
    assert rows[0] == first
    assert len(rows) <= 100


def test_a_filter_is_kept_by_the_form_and_the_pages(web: Web) -> None:
    found = page(web, Stub(*FLEET), "/status?q=acme%2Fr&account=acme&show=")

    inputs = {attrs.get("name"): attrs for tag, attrs in found.tags if tag == "input"}
    assert inputs["q"]["value"] == "acme/r"
    assert [a["value"] for tag, a in found.tags if tag == "option" and "selected" in a] == ["acme"]
    (onward,) = (attrs["href"] for tag, attrs in found.tags if attrs.get("rel") == "next")
    assert onward == "/status?q=acme%2Fr&account=acme&page=2#repos"


def test_nothing_matching_is_said(web: Web) -> None:
    said = page(web, Stub(*FLEET), "/status?q=nowhere").words

    assert "0 of 153 repos match No repo matches. Show all" in said


def test_a_query_is_bounded() -> None:
    assert PageQuery(text="x" * 200) == query({"q": "x" * 5000, "page": "9" * 5000})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (86400 * 400, "400 d"),
    ],
)
def test_a_span_is_said_as_people_do(seconds: float, said: str) -> None:
    assert said == elapsed(seconds)


# --- harmless ---


def poisoned(text: str) -> Stub:
    """A poller of which everything that others may name is `text`."""
    limits = {text: LimitReport(limit=10.0, remaining=1.0, reset_at=None)}
    budget = BudgetReport(
        exhausted=False, next_request_in_seconds=0.0, requests_per_hour_limit=None, limits=limits
    )
    named: dict[str, Any] = {"provider": text, "url": text, "error": text, "budget": budget}
    poison = repo(text, error=text, last_conclusion=text)
    failed = ReloadReport(ok=False, at="2026-02-03T04:00:30Z", error=text)
    return Stub(account(text, poison, **named), reload=failed)


def test_a_poisoned_name_is_text_on_the_page(web: Web) -> None:
    sound = page(web, poisoned("plain"), "/status?q=plain")
    found = page(web, poisoned(POISON), f"/status?q={'%3Cscript%3Ealert(1)%3C/script%3E%22%27'}")

    def shape(tags: Tags) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in tags.tags]

    assert shape(found) == shape(sound)
    assert found.text.count("<script>alert(1)</script>\"'><img") == sound.text.count("plain")
    assert "{{7*7}}" in found.text
    assert "\u202e" not in found.text


def test_the_page_may_load_and_run_nothing_but_its_own_files(web: Web) -> None:
    response = web.ask("GET", "/status", Stub())

    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-store"
    assert not re.search(
        r"\sstyle=|\son\w+=|<style|//[a-z]+\.", response.text.replace("//api.", "")
    )


def test_lone_surrogates_do_not_take_the_page_down(web: Web) -> None:
    stub = Stub(account("acme", repo("a\ud800b", error="c\udfffd")))

    text = web.ask("GET", "/status", stub).text

    assert {"a?b", "c?d"} <= set(re.findall(r"<bdi>([^<]*)</bdi>", text))


def test_every_conclusion_has_its_look(web: Web) -> None:
    style = web.ask("GET", "/static/site.css", Stub()).text

    assert [word for word in (*CONCLUSIONS, "other") if f".ticks .{word}" not in style] == []
