"""`/go`: from a pipeline's labels to its build's page."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import pytest

from tests.system.web import Logged, Web, provider
from tests.tools.build_logs import MAIN, a_build, record

SITE = "https://ci.example/pages"
EVERY = ("last", "last_failed", "first_failed", "last_passed")


def ask(web: Web, stub: Logged, **wanted: str | None) -> tuple[int, str]:
    """Status, and where it leads or what it says."""
    labels = dict(zip(("account", "repo", "workflow", "branch"), MAIN[1:], strict=True))
    given = {"build": "last", **labels, **wanted}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    answer = web.ask("GET", f"/go?{query}", stub)
    assert answer.headers["cache-control"] == "no-store"
    assert ("location" in answer.headers) == (answer.status_code == 302)
    return answer.status_code, answer.headers.get("location") or answer.text


def history(*conclusions: str) -> Logged:
    """One pipeline whose builds ended so, the first one at page 0."""
    stub = Logged(provider(web_url=SITE))
    for n, word in enumerate(conclusions):
        build = a_build(MAIN, 1000.0 + n, word, url=f"{SITE}/{n}")
        record(stub.ledger, (str(n), build))
    return stub


@pytest.mark.parametrize(
    ("conclusions", "found"),
    [
        ("passed failed cancelled error skipped", (4, 3, 1, 0)),
        ("failed passed", (1, 0, None, 1)),
        ("failed timeout", (1, 1, 0, None)),
        ("skipped", (0, None, None, None)),
    ],
)
def test_each_build_that_has_a_name_is_found(
    web: Web, conclusions: str, found: tuple[int | None, ...]
) -> None:
    stub = history(*conclusions.split())

    for which, page in zip(EVERY, found, strict=True):
        status, told = ask(web, stub, build=which)
        assert (status, told) == (302, f"{SITE}/{page}") if page is not None else status == 404


def test_where_there_is_no_such_build_a_sentence_says_so(web: Web) -> None:
    green, grey = history("passed"), history("skipped")

    assert ask(web, green, build="last_failed") == (404, "This pipeline has no failed build.\n")
    assert ask(web, grey, build="last_passed") == (404, "This pipeline has no build that passed.\n")
    assert ask(web, green, build="first_failed") == (
        404,
        "This pipeline is not broken: no build has failed since the last one that passed.\n",
    )
    assert ask(web, green, branch="x") == (404, "The build log has no build of this pipeline.\n")
    assert ask(web, green, account="x") == (404, "No account of this name is configured.\n")


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"account": None}, "account: is missing"),
        ({"repo": None}, "repo: is missing"),
        ({"workflow": None}, "workflow: is missing (it is empty for a pipeline without one)"),
        ({"branch": None}, "branch: is missing"),
        ({"build": None}, "build: is missing"),
        ({"account": ""}, "account: is empty"),
        ({"repo": ""}, "repo: is empty"),
        (
            {"build": "first"},
            "build: must be one of last, last_failed, first_failed, last_passed, got 'first'",
        ),
        (
            {"build": ""},
            "build: must be one of last, last_failed, first_failed, last_passed, got ''",
        ),
    ],
)
def test_without_a_needed_parameter_nothing_is_looked_for(
    web: Web, wanted: dict[str, str | None], fault: str
) -> None:
    assert ask(web, history("passed"), **wanted) == (400, f"{fault}\n")


def test_an_empty_workflow_is_the_pipeline_without_one(web: Web) -> None:
    stub = history("passed")
    record(stub.ledger, ("x", a_build((*MAIN[:3], "", "main"), 1.0, url=f"{SITE}/none")))

    assert ask(web, stub, workflow="") == (302, f"{SITE}/none")


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://evil.example/pages/7",
        "https://ci.example@evil.example/",
        "https://ci.example.evil.example/",
        "http://ci.example/pages/7",
        "//evil.example/",
        "javascript:alert(1)",
        "https://ci.example/\r\nSet-Cookie: a=b",
        "https://ci.example/\\evil.example",
    ],
)
def test_it_leads_to_no_other_site(web: Web, url: str | None) -> None:
    stub = Logged(provider(web_url=SITE))
    record(stub.ledger, ("1", a_build(MAIN, 1000.0, url=url)))

    assert ask(web, stub) == (404, "The address of this build's page is not known.\n")


def test_the_site_is_that_of_the_configuration_in_force(web: Web) -> None:
    stub = history("passed")
    assert ask(web, stub) == (302, f"{SITE}/0")

    moved = (provider(web_url="https://other.example"),)
    stub.config = stub.config.model_copy(update={"accounts": moved})

    assert ask(web, stub)[0] == 404


def test_an_address_is_passed_on_as_it_is(web: Web) -> None:
    url = f"{SITE}/a;b=c/%20%C3%A4?x=1&y=[2]#L7"
    stub = Logged(provider(web_url=SITE))
    build = msgspec.structs.replace(a_build(MAIN, 1.0), url=url)
    record(stub.ledger, ("1", build))

    assert ask(web, stub) == (302, url)
