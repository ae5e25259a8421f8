"""A report of all repos is made once for all who ask within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from exporter.demo.serve import serving
from exporter.status.document import StatusReport
from exporter.web import application, report_cache
from exporter.web.report_cache import ReportCache
from tests.system.web import CONFIG, Stub, account, repo, status


class Counting:
    """Makes reports in some steps, and counts them."""

    def __init__(self) -> None:
        self.begun = self.at_once = self.most = 0
        self.state = object()

    def steps(self) -> Generator[None, None, StatusReport]:
        self.begun += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        for _ in range(5):
            yield
        self.at_once -= 1
        return status()


def test_all_who_ask_at_once_share_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.slices.SLICE", 0.0)
    counting, now = Counting(), [100.0]

    async def main() -> None:
        latest = ReportCache(counting.steps, lambda: counting.state, lambda: now[0])
        reports = await asyncio.gather(*(latest.get() for _ in range(126)))
        assert len({id(report) for report in reports}) == 1
        assert reports[0].encoded is reports[1].encoded
        now[0] += report_cache.FRESH
        assert await latest.get() is reports[0]
        now[0] += 0.1
        assert await latest.get() is not reports[0]

    asyncio.run(main())

    assert (counting.begun, counting.most) == (2, 1)


def test_what_a_reload_has_changed_is_told_at_once() -> None:
    counting = Counting()

    async def main() -> None:
        latest = ReportCache(counting.steps, lambda: counting.state)
        before = await latest.get()
        counting.state = object()
        assert await latest.get() is not before

    asyncio.run(main())


def test_nobody_who_asks_no_more_keeps_it_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_cache, "FRESH", 0.01)
    counting = Counting()

    async def main() -> None:
        latest = ReportCache(counting.steps, lambda: counting.state)
        await latest.get()
        async with asyncio.timeout(10):
            while latest._last is not None:  # noqa: ASYNC110 - a timer, which tells nobody
                await asyncio.sleep(0.01)

    asyncio.run(main())


class Large(Stub):
    """Has thousands of repos, and counts its reports."""

    def __init__(self) -> None:
        super().__init__(account("acme", *(repo(f"acme/{n}") for n in range(3000))))
        self.reports = 0

    def report(self) -> Generator[None, None, StatusReport]:
        self.reports += 1
        return (yield from super().report())


@pytest.mark.parametrize("path", ["/status.json", "/"])
def test_126_requests_at_once_make_one_report_and_are_all_answered(path: str) -> None:
    poller: Any = Large()

    async def main() -> None:
        app = application(poller, telemetry_path="/metrics", config=lambda: CONFIG)
        limits = httpx.Limits(max_connections=None)
        async with (
            serving(app) as url,
            httpx.AsyncClient(trust_env=False, timeout=60.0, limits=limits) as client,
        ):
            answers = await asyncio.gather(*(client.get(f"{url}{path}") for _ in range(126)))
        assert {200} == {answer.status_code for answer in answers}
        assert len({answer.content for answer in answers}) == 1

    asyncio.run(main())

    assert poller.reports <= (2 if path == "/status.json" else 20)
