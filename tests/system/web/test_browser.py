"""The status page in a real Chromium: as people see it, with and without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Page, expect

from exporter.status.document import Ended
from tests.system.web import Logged, Stub, Web, account, provider, repo
from tests.system.web.conftest import DESKTOP, PHONE, Open
from tests.system.web.test_status_page import FLEET, poisoned
from tests.tools.build_logs import MAIN, WHOLE, a_build, record

READABLE = 4.5
"""The contrast of text that WCAG 2.2 AA asks for."""

LONG = "x" * 90
BUILDS = Logged(provider(web_url="https://ci.example"))
record(
    BUILDS.ledger,
    ("1", WHOLE),
    ("2", replace(WHOLE, ref=LONG, title=LONG * 2, repo=LONG, triggered_by=LONG)),
    ("3", a_build(MAIN, 2000.0, "cancelled")),
    ("4", a_build(MAIN, None, ref=None)),
)


def names(page: Page) -> list[str]:
    return page.locator("table.polled tbody th > bdi").all_inner_texts()


# --- filter ---


def test_the_filter_works_without_javascript(look: Open) -> None:
    page = look(Stub(*FLEET), java_script_enabled=False)
    assert len(names(page)) == 100

    page.get_by_role("link", name="Next").click()
    assert len(names(page)) == 53
    page.get_by_label("Search").fill("umbrella")
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["umbrella/old", "umbrella/api"]
    page.get_by_label("only unhealthy").check()
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["umbrella/old"]
    assert page.get_by_label("Search").input_value() == "umbrella"
    page.get_by_label("Search").fill("")
    page.get_by_label("only unhealthy").uncheck()
    page.get_by_label("Account", exact=True).select_option("Umbrella")
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["umbrella/old", "umbrella/api"]


def test_javascript_filters_while_somebody_types(look: Open) -> None:
    page = look(Stub(*FLEET))

    page.get_by_label("Search").press_sequentially("umbrella")

    expect(page.get_by_role("status")).to_have_text("2 of 153 repos match")
    assert names(page) == ["umbrella/old", "umbrella/api"]
    assert page.url.endswith("/status?q=umbrella")
    expect(page.get_by_label("Search")).to_be_focused()
    page.get_by_label("only unhealthy").check()
    expect(page.get_by_role("status")).to_have_text("1 of 153 repos match")
    page.reload()
    assert names(page) == ["umbrella/old"]


def test_javascript_keeps_the_page_fresh_and_says_when_it_cannot(web: Web, look: Open) -> None:
    page = look(Stub(*FLEET))
    page.clock.install()
    page.reload()

    web.show(Stub(account("acme", repo("acme/new"))))
    page.clock.run_for(16_000)
    expect(page.locator("table.polled tbody th > bdi")).to_have_text(["acme/new"])
    expect(page.get_by_text("The exporter does not answer.")).to_be_hidden()

    page.route("**/*", lambda route: route.fulfill(status=200, body="nothing of ours"))
    page.clock.run_for(16_000)
    expect(page.get_by_text("The exporter does not answer.")).to_be_visible()
    assert names(page) == ["acme/new"]


def test_builds_are_found_and_paged_without_javascript(look: Open) -> None:
    page = look(BUILDS, "/builds?limit=2", java_script_enabled=False)
    builds = page.locator("table.finished tbody tr")
    expect(builds).to_have_count(2)

    page.get_by_role("link", name="Older").click()
    expect(builds).to_have_count(2)
    page.get_by_role("link", name="Newest").click()
    page.get_by_text("Filter", exact=True).first.click()
    page.get_by_label("Conclusion").select_option("failed")
    page.get_by_label("Branch").fill(LONG)
    page.get_by_role("button", name="Filter").click()
    expect(builds).to_have_count(1)
    expect(page.get_by_label("Branch")).to_have_value(LONG)
    page.get_by_role("link", name="show all").click()
    expect(builds).to_have_count(4)


# --- harmless ---


POISON = (
    "<script>document.title='owned'</script>",
    "\"' onmouseover=alert(1) autofocus onfocus=alert(1) x='",
    "</title></bdi></table><img src=x onerror=alert(1)>",
    "javascript:alert(1)//\u202egpj.exe\u2066",
    "<style>body{display:none}</style><base href=//evil.example>",
)


def test_a_poisoned_name_does_nothing(look: Open) -> None:
    poison = " ".join(POISON)
    page = look(poisoned(poison))

    shown = poison.translate({0x202E: "\ufffd", 0x2066: "\ufffd"})
    assert page.locator("table.polled tbody th > bdi").text_content() == shown
    page.get_by_label("Search").fill(POISON[0])  # and again by JavaScript
    expect(page.get_by_role("status")).to_have_text("1 of 1 repos match")
    assert page.locator("table.polled tbody th > bdi").text_content() == shown
    assert page.title() == "Status (1 unhealthy) - cicd-exporter"
    assert page.locator("main :is(script, style, img, base)").count() == 0


# --- as it looks ---


HISTORY = [
    Ended(at="2026-02-03T03:00:00Z", conclusion=word)
    for word in ("passed", "failed", "cancelled", "partial", "error") * 4
]
MIXED = (
    account(
        "acme", repo(f"acme/{LONG}", history=HISTORY, last_conclusion="error"), *FLEET[1].repos
    ),
    account(
        LONG,
        repo("a", error=f"{LONG}{LONG}", advice="Do this."),
        up=False,
        state="backing_off",
        error=f"https://{LONG}.example: {LONG}",
        advice="Check it.",
    ),
    account("c", repo("b", state="pending", last_success_at=None), up=False, state="starting"),
    account("d", repo("e"), up=False, state="unauthorized", error="401"),
    account("f", repo("g"), state="limited", error="limited"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["", "?repo=none"])
def test_the_page_of_builds_fits_and_can_be_read(look: Open, scheme: Any, query: str) -> None:
    page = look(BUILDS, f"/builds{query}", color_scheme=scheme)

    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    contrasts: dict[str, float] = page.evaluate(CONTRASTS)
    assert {what: ratio for what, ratio in contrasts.items() if ratio < READABLE} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(look: Open, tmp_path: Path, scheme: Any) -> None:
    page = look(Stub(*MIXED, state_ok=False), color_scheme=scheme)

    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        page.screenshot(path=tmp_path / f"{scheme}-{size['width']}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    contrasts: dict[str, float] = page.evaluate(CONTRASTS)
    assert len(contrasts) > 15
    assert {what: ratio for what, ratio in contrasts.items() if ratio < READABLE} == {}
    colour = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", colour)))
    assert (bright > 600) is (scheme == "light")
    ticks = page.locator(".polled .ticks i")
    looks = ticks.evaluate_all(
        "all => all.map(i => [getComputedStyle(i).backgroundColor, i.offsetHeight].join())"
    )
    assert len(set(looks[:4])) == 4
    assert len(set(looks)) == 4  # an error looks like a failure


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => colour.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const found = {};
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.offsetParent) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const what = `${element.localName}.${element.className}<${element.parentElement.className}`;
    found[what] = Math.min(found[what] ?? 99, ratio);
  }
  return found;
}"""


def test_everything_can_be_reached_and_is_named(look: Open) -> None:
    page = look(Stub(*MIXED))

    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Filter":
            break
    expect(page.get_by_role("button", name="Filter")).to_be_focused()
    page.keyboard.press("Enter")
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('input, select, meter, [role=img], nav, table')]"
        ".filter(e => !(e.labels?.length || e.ariaLabel || e.closest('[aria-labelledby]')))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []
    outline = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => h.localName)")
    assert outline == ["h1", "h2", "h2"]
    assert page.locator("html").get_attribute("lang") == "en"
    duplicates = page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);"
        " return ids.length - new Set(ids).size }"
    )
    assert duplicates == 0
