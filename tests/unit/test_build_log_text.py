"""What strangers wrote into a build is shown as one harmless line, or as a link home."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.build_log import line, logged
from exporter.model import Build, BuildKey, Job, Status
from exporter.providers.site import Site

_SITE = Site("https://ci.example/tools")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "//ci.example/tools/x",
        "https://ci.example.evil.example/x",
        "https://ci.example@evil.example/x",
        "https://ci.example:8443/x",
        "http://ci.example/x",
        "https://CI.example/x",
        "https://ci.example/\nx",
        'https://ci.example/"onclick="x',
        "https://ci.example/\\evil.example",
        "https://ci.example/\u202ex",
        "https://ci.example/" + "x" * 3000,
        "https://ci.example",
        "",
        None,
        7,
    ],
)
def test_an_address_that_leads_elsewhere_is_no_link(url: object) -> None:
    assert _SITE.own(url) is None


def test_an_address_at_the_site_stays_as_it_is() -> None:
    url = "https://ci.example/other/acme%2Fshop/-/jobs/7?tab=log#L10"
    assert _SITE.own(url) == url


def test_a_made_address_quotes_its_parts() -> None:
    assert (
        _SITE.page("acme/shop", "a b#?%\n")
        == "https://ci.example/tools/acme/shop/a%20b%23%3F%25%0A"
    )
    assert _SITE.page("acme", None) is None
    assert Site(None).page("acme") is None


def test_foreign_addresses_of_a_build_and_its_jobs_are_dropped() -> None:
    jobs = (
        Job(id="1", name="a", status=Status.COMPLETED, url="https://evil.example/1"),
        Job(id="2", name="b", status=Status.COMPLETED, url="https://ci.example/2"),
    )
    build = Build(
        key=BuildKey("7"), repo="r", status=Status.COMPLETED, url="javascript:0", jobs=jobs
    )
    kept = _SITE.with_own_links(build)
    assert kept.url is None
    assert [job.url for job in kept.jobs] == [None, "https://ci.example/2"]
    assert _SITE.with_own_links(kept) is kept


@given(st.text(max_size=400), st.integers(1, 50))
def test_a_line_is_printable_and_short(text: str, longest: int) -> None:
    shown = line(text, longest)
    assert shown is None or (shown.isprintable() and 0 < len(shown) <= longest)


def test_a_line_is_the_first_one_and_says_that_it_is_cut() -> None:
    assert (
        line("  Mend\tthe \x1b[31mparser\u202e\n\nlong story", 100)
        == "Mend the \ufffd[31mparser\ufffd"
    )
    assert line("x" * 30, 10) == "x" * 9 + "…"
    assert line("\n \n", 10) is None
    assert line(None, 10) is None


def test_a_logged_build_lists_the_jobs_that_did_not_pass_the_failed_ones_first() -> None:
    jobs = tuple(
        Job(id=str(i), name=word, status=Status.COMPLETED, conclusion=word, completed_at=i)
        for i, word in enumerate(["passed", "cancelled", "failed", "skipped", "timeout"])
    )
    build = Build(key=BuildKey("7"), repo="r", status=Status.COMPLETED, jobs=jobs)
    row = logged(build, ("p", "a", "r", "w", "b"), conclusion="failed")
    assert [job.name for job in row.jobs] == ["failed", "timeout", "cancelled"]
    assert row.is_failing


def test_of_the_failed_jobs_of_a_logged_build_that_which_ended_first_comes_first() -> None:
    ends = {"late": 30.0, "unknown": None, "early": 10.0}
    jobs = tuple(
        Job(id=name, name=name, status=Status.COMPLETED, conclusion="failed", completed_at=at)
        for name, at in ends.items()
    )
    build = Build(key=BuildKey("7"), repo="r", status=Status.COMPLETED, jobs=jobs)

    row = logged(build, ("p", "a", "r", "w", "b"), conclusion="failed")

    assert [job.name for job in row.jobs] == ["unknown", "early", "late"]


def test_a_logged_build_lists_twenty_jobs_at_most() -> None:
    jobs = tuple(
        Job(id=str(i), name=str(i), status=Status.COMPLETED, conclusion="failed") for i in range(50)
    )
    build = Build(key=BuildKey("7"), repo="r", status=Status.COMPLETED, jobs=jobs)
    assert len(logged(build, ("p", "a", "r", "w", "b"), conclusion="failed").jobs) == 20
