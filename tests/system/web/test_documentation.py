"""The documentation that the program serves: every page, its links, and nothing that runs."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from exporter.web.markdown import Rendered, rendered
from tests.conftest import ROOT
from tests.system.web import Stub, Web
from tests.system.web.test_status_page import Tags

DOCS = ROOT / "docs"
PAGES = sorted(str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.rglob("*.md"))


def read(web: Web, path: str) -> Tags:
    response = web.ask("GET", path, Stub())
    assert response.status_code == 200, path
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Tags(response.text)


def ids(page: Tags) -> set[str | None]:
    return {attrs.get("id") for _, attrs in page.tags}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_rendered_and_each_of_its_links_leads_somewhere(web: Web, name: str) -> None:
    page = read(web, f"/docs/{name}")

    title = (DOCS / f"{name}.md").read_text().partition("\n")[0].removeprefix("# ")
    assert page.words.startswith(f"{title.replace('`', '')} - cicd-exporter")
    for address in page.addresses():
        path, anchor = urlsplit(address).path, urlsplit(address).fragment
        if path.startswith("/docs/"):
            response = web.ask("GET", path, Stub())
            assert response.status_code == 200, address
            if anchor:
                assert anchor in ids(Tags(response.text)), address
        elif not path:
            assert anchor in ids(page), address


@pytest.mark.parametrize("name", ["METRICS", "PROVIDERS", "runbooks/CicdDefaultBranchBroken"])
def test_an_address_may_end_as_the_file_does(web: Web, name: str) -> None:
    assert read(web, f"/docs/{name}.md").text == read(web, f"/docs/{name}").text


def test_the_contents_lead_to_every_page(web: Web) -> None:
    for path in ("/docs", "/docs/"):
        assert {f"/docs/{name}" for name in PAGES} <= read(web, path).addresses()


@pytest.mark.parametrize("file", ["config.schema.json", "web-config.yml", "images/fleet.png"])
def test_files_of_the_documentation_are_served_as_they_are(web: Web, file: str) -> None:
    response = web.ask("GET", f"/docs/{file}", Stub())

    assert (response.status_code, response.content) == (200, (DOCS / file).read_bytes())


@pytest.mark.parametrize(
    "path", ["README", "../README.md", "%2e%2e/README.md", "runbooks", "images/"]
)
def test_there_is_nothing_else(web: Web, path: str) -> None:
    assert web.ask("GET", f"/docs/{path}", Stub()).status_code == 404


# -- one page


def page_of(text: str, name: str = "A.md") -> Rendered:
    known = {"B.md": "/base/docs/B", "runbooks/C.md": "/base/docs/runbooks/C"}
    return rendered(text, name=name, address=known.get)


@pytest.mark.parametrize(
    ("name", "link", "shown"),
    [
        ("A.md", "[b](B.md)", '<a href="/base/docs/B">b</a>'),
        ("A.md", "[b](B.md#so)", '<a href="/base/docs/B#so">b</a>'),
        ("A.md", "[c](runbooks/C.md)", '<a href="/base/docs/runbooks/C">c</a>'),
        ("runbooks/C.md", "[b](../B.md)", '<a href="/base/docs/B">b</a>'),
        ("A.md", "[here](#so)", '<a href="#so">here</a>'),
        ("A.md", "[out](https://x.example/)", '<a href="https://x.example/">out</a>'),
        ("A.md", "[readme](../README.md)", "readme"),
        ("A.md", "[other](//evil.example/B.md)", "other"),
        ("A.md", "[ftp](ftp://x.example/)", "ftp"),
        ("A.md", "[run](javascript:alert(1))", "[run](javascript:alert(1))"),
        ("A.md", "![far](https://x.example/a.png)", ""),
        ("A.md", "<b onclick=x>", "&lt;b onclick=x&gt;"),
    ],
)
def test_links_lead_to_the_pages_here_or_outward_or_nowhere(
    name: str, link: str, shown: str
) -> None:
    assert page_of(link, name).html == f"<p>{shown}</p>\n"


def test_the_title_and_the_headings_are_known() -> None:
    page = page_of("# The `x` title\n\n## One: two?\n\n### Three\n\n## One: two?\n")

    assert page.title == "The x title"
    assert page.headings == (
        (2, "one-two", "One: two?"),
        (3, "three", "Three"),
        (2, "one-two-1", "One: two?"),
    )
    assert '<h2 id="one-two-1">' in page.html


def test_code_is_text_and_what_is_wide_can_be_scrolled_by_the_keyboard() -> None:
    page = page_of("```html\n<script>&</script>\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")

    assert '<pre tabindex="0"><code>&lt;script&gt;&amp;&lt;/script&gt;\n</code></pre>' in page.html
    assert '<div class="wide" role="region" aria-label="Table 1: a" tabindex="0">' in page.html
