"""One server, and one browser, for all tests of a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.system.web import Stub, Web

DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)

Open = Callable[..., Page]

_NOT_FOUND = "Failed to load resource: the server responded with a status of 404 (Not Found)"
"""What Chromium says of a page that tells people what is missing."""

_NAMES = ("chromium", "google-chrome", "chromium-browser")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture
def look(web: Web, browser: Browser) -> Iterator[Open]:
    """Opens a page of a poller; at the end nothing may have been complained about."""
    complaints: list[str] = []
    asked: list[str] = []
    contexts = []

    def look(stub: Stub, path: str = "/status", **options: Any) -> Page:
        web.show(stub)
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        answer = page.goto(f"{web.url}{path}")
        if answer is not None and answer.status == 404:
            complaints.remove(_NOT_FOUND)
        return page

    yield look
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(f"{web.url}/")] == []
