"""How one poll reads: back to known ground, without losing or asking too much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.errors import Refused, TryLater
from exporter.http import Api
from exporter.metrics import families as f
from exporter.model import Build, BuildKey, Job, Status
from exporter.providers import Page, Query, Repo
from tests.tools.scripted import Rig, Scripted, build, done


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    made = Rig(tmp_path / "s.db")
    yield made
    made.crash()


def _aged(key: str, seconds: float, **values: Any) -> Build:
    at = time.time() - seconds
    return done(build(key, created_at=at, started_at=at + 1, **values), after=5)


def _requests(rig: Rig) -> list[str]:
    asked, rig.provider._requests[:] = list(rig.provider._requests), []
    return asked


def test_a_quiet_repo_costs_one_page(rig: Rig) -> None:
    rig.provider._builds = [_aged(str(n), 3600.0 * n) for n in range(1, 20)]
    rig.poll()
    _requests(rig)

    rig.poll()

    assert _requests(rig) == ["page 0"]


def test_a_burst_between_two_polls_is_counted_whole(rig: Rig) -> None:
    rig.provider._builds = [_aged("old", 7200.0)]
    rig.poll()
    rig.provider._builds += [_aged(f"new-{n}", 60.0 + n / 10) for n in range(200)]

    rig.poll()

    assert rig.value(f.BUILDS) == 201


def test_the_first_poll_reads_back_to_lookback_and_no_further(rig: Rig) -> None:
    rig.provider._builds = [_aged(str(n), 3600.0 * n) for n in range(1, 100)]

    rig.poll()

    assert rig.value(f.BUILDS) == 24  # the 24th ended within it
    assert len(_requests(rig)) <= 10


def test_the_rerun_window_is_read_again_when_max_interval_is_over(rig: Rig) -> None:
    rig.provider._builds = [_aged(str(n), 3600.0 * n) for n in range(1, 20)]
    rig.poll()
    rig.provider._builds[9] = done(build("10", created_at=time.time() - 36000, attempt=2))
    rig.poll()
    assert rig.value(f.RETRIES) == 0

    rig.memory.deep_at = time.monotonic() - 901
    rig.poll()

    assert rig.value(f.RETRIES) == 1
    assert rig.value(f.BUILDS) == 20


def test_an_unfinished_build_is_asked_for_until_it_completes(rig: Rig) -> None:
    long = build("long", created_at=time.time() - 7200, started_at=time.time() - 7000)
    others = [_aged(str(n), 1000.0 + n) for n in range(1, 10)]
    rig.provider._builds = [*others, long]
    rig.poll()
    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    _requests(rig)

    rig.provider._builds = [*others, done(long, after=6900)]
    rig.poll()

    assert _requests(rig)[-1] == "refresh long"
    assert rig.gauge(f.ACTIVE, status="in_progress") == 0
    assert rig.gauge(f.OLDEST_ACTIVE) is None
    assert rig.value(f.BUILDS) == 10


def test_a_build_that_is_gone_three_times_is_given_up_and_not_counted(rig: Rig) -> None:
    rig.provider._builds = [build("1")]
    rig.poll()
    rig.provider._builds = []

    for expected in (1, 1, 0):
        rig.memory.checked.clear()  # else it would be asked for only after some seconds
        rig.poll()
        assert rig.gauge(f.ACTIVE, status="in_progress") == expected
    assert rig.value(f.BUILDS) == 0


def test_an_old_unfinished_build_is_asked_for_less_often(rig: Rig) -> None:
    rig.provider._builds = [build("1", created_at=time.time() - 80000, started_at=None)]
    rig.poll()
    rig.provider._builds += [_aged(str(n), 1000.0 + n) for n in range(2, 10)]
    rig.poll()
    assert _requests(rig)[-1] == "refresh 1"

    rig.poll()

    assert "refresh 1" not in _requests(rig)


def test_a_build_older_than_max_open_age_leaves_the_gauges_but_counts(rig: Rig) -> None:
    begun = time.time() - 8 * 86400
    old = build("1", created_at=begun, started_at=begun)
    rig.provider._builds = [old]
    rig.poll()
    assert rig.gauge(f.ACTIVE, status="in_progress") == 0
    assert rig.gauge(f.OLDEST_ACTIVE) is None

    rig.provider._builds = [done(old, after=8 * 86400 - 10)]
    rig.poll()

    assert rig.value(f.BUILDS) == 1


def test_a_list_that_repeats_its_cursor_is_not_read_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looping(self: Scripted, api: Api, repo: Repo, query: Query) -> Page:
        return Page((_aged(f"{query.token}", 60),), "again")

    monkeypatch.setattr(Scripted, "page", looping)

    rig.poll()

    assert "repeats its cursor" in str(rig.unread["the rest of the list"])
    assert rig.value(f.BUILDS) == 0  # not exposed before the first walk has ended
    monkeypatch.undo()
    rig.poll()
    assert rig.value(f.BUILDS) == 2


def test_a_broken_off_walk_goes_on_where_it_stopped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.provider._builds = [_aged(str(n), 60.0 * n) for n in range(1, 13)]
    rig.provider._on_page = _failing(on_call=3)

    rig.poll()

    assert list(rig.unread) == ["the rest of the list"]
    assert rig.value(f.BUILDS) == 0
    rig.restart()
    rig.provider._on_page = lambda: None
    _requests(rig)
    rig.poll()
    assert _requests(rig) == ["page 0", "page 6", "page 9"]
    assert rig.value(f.BUILDS) == 12


def _failing(*, on_call: int) -> Callable[[], None]:
    calls = 0

    def page() -> None:
        nonlocal calls
        calls += 1
        if calls == on_call:
            raise TryLater("down", reason="server")

    return page


class TestFilling:
    """Builds whose list item lacks something."""

    def _partial(self, key: str, age: float = 60.0) -> Build:
        return replace(_aged(key, age), partial=True)

    def _detail(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Build], Build]) -> None:
        async def detail(
            self: Scripted, api: Api, repo: Repo, build: Build, known: Build | None
        ) -> Build:
            self._requests.append(f"detail {build.key}")
            return answer(build)

        async def refresh(self: Scripted, api: Api, repo: Repo, known: Build) -> Build:
            self._requests.append(f"refresh {known.key}")
            return answer(known)

        monkeypatch.setattr(Scripted, "detail", detail)
        monkeypatch.setattr(Scripted, "refresh", refresh)

    def test_only_news_is_filled_and_only_once(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._detail(monkeypatch, lambda b: replace(b, partial=False))
        rig.provider._builds = [self._partial("1"), self._partial("2", 90000.0)]
        rig.poll()
        assert _requests(rig) == ["page 0", "detail 1"]

        rig.poll()

        assert _requests(rig) == ["page 0"]
        assert rig.value(f.BUILDS) == 1

    def test_a_build_that_cannot_be_filled_waits_unseen_and_holds_nobody_up(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = True

        def answer(asked: Build) -> Build:
            if broken and asked.key.id == "2":
                raise TryLater("down", reason="server")
            return replace(_aged(asked.key.id, 60.0), partial=False)

        self._detail(monkeypatch, answer)
        rig.provider._builds = [self._partial(str(n)) for n in (1, 2, 3)]
        rig.poll()
        assert list(rig.unread) == ["build 2"]
        assert rig.value(f.BUILDS) == 2
        assert rig.gauge(f.ACTIVE) is None

        broken = False
        rig.poll()

        assert rig.value(f.BUILDS) == 3

    def test_a_refused_account_is_not_asked_for_the_rest(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def answer(asked: Build) -> Build:
            raise Refused("no", reason="unauthorized")

        self._detail(monkeypatch, answer)
        rig.provider.__dict__["size"] = 100
        rig.provider._builds = [self._partial(str(n)) for n in range(50)]

        with pytest.raises(Refused):
            rig.poll()

        assert len(_requests(rig)) <= 9


class TestNumbers:
    """Providers whose build numbers have no holes."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Any:
        made = Rig(tmp_path / "s.db", numbered=True)
        yield made
        made.crash()

    def test_builds_that_are_no_longer_listed_are_a_gap(self, rig: Rig) -> None:
        rig.provider._builds = [_aged("5", 3600.0, number=5)]
        rig.poll()
        rig.provider._builds = [_aged("8", 60.0, number=8), _aged("7", 70.0, number=7)]
        rig.poll()
        assert rig.value(f.GAPS) == 1

        rig.poll()

        assert rig.value(f.GAPS) == 1

    def test_the_next_number_is_no_gap(self, rig: Rig) -> None:
        rig.provider._builds = [_aged("5", 3600.0, number=5)]
        rig.poll()
        rig.provider._builds = [_aged("6", 60.0, number=6)]
        rig.poll()

        assert rig.value(f.GAPS) == 0

    def test_numbers_that_start_again_are_new_builds(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Jenkins job that was made anew, behind a list with bare numbers."""

        async def detail(
            self: Scripted, api: Api, repo: Repo, build: Build, known: Build | None
        ) -> Build:
            full = next(b for b in fulls if b.number == build.number)
            key = BuildKey.begun(build.key.id, full.started_at)
            return replace(full, key=key, key_per_attempt=True)

        def bare(number: int) -> Build:
            return Build(
                key=BuildKey(f"shop#{number}"),
                key_per_attempt=True,
                repo="acme/shop",
                status=Status.IN_PROGRESS,
                number=number,
                partial=True,
            )

        monkeypatch.setattr(Scripted, "detail", detail)
        fulls = [_aged(str(n), 3600.0 - n, number=n) for n in range(1, 4)]
        rig.provider._builds = [bare(n) for n in (3, 2, 1)]
        rig.poll()
        rig.poll()
        assert rig.value(f.BUILDS) == 3

        fulls = [_aged(str(n), 60.0 - n, number=n) for n in range(1, 3)]
        rig.provider._builds = [bare(n) for n in (2, 1)]
        rig.poll()

        assert rig.value(f.BUILDS) == 5
        assert rig.value(f.GAPS) == 0


class TestJobs:
    """Jobs of builds, and pipelines that have jobs only."""

    def test_a_job_counts_when_it_is_done_and_once(self, rig: Rig) -> None:
        at = time.time() - 60
        lint = Job(
            id="1",
            name="lint",
            status=Status.COMPLETED,
            conclusion="passed",
            started_at=at,
            completed_at=at + 5,
        )
        test = Job(id="2", name="test", status=Status.IN_PROGRESS, started_at=at)
        rig.provider._builds = [build("1", jobs=(lint, test))]
        rig.poll()
        rig.poll()
        assert rig.value(f.JOBS) == 1
        assert rig.gauge(f.JOBS_ACTIVE, job_name="test") == 1

        ended = replace(test, status=Status.COMPLETED, conclusion="failed", completed_at=at + 9)
        rig.provider._builds = [done(build("1", jobs=(lint, ended)), "failed")]
        rig.poll()

        assert rig.value(f.JOBS) == 2
        assert rig.value(f.JOB_DURATION, conclusion="failed") == 1
        assert rig.gauge(f.JOBS_ACTIVE, job_name="test") == 0

    def test_a_job_carried_over_from_an_earlier_attempt_is_not_counted_again(
        self, rig: Rig
    ) -> None:
        at = time.time() - 600
        green = Job(
            id="1",
            name="lint",
            status=Status.COMPLETED,
            conclusion="passed",
            started_at=at,
            completed_at=at + 5,
        )
        rig.provider._builds = [done(build("1", started_at=at, jobs=(green,)), "failed")]
        rig.poll()
        carried = replace(green, id="9", attempt=2, created_at=at + 300)
        again = build("1", attempt=2, started_at=at + 300, jobs=(carried,))
        rig.provider._builds = [done(again)]
        rig.poll()

        assert rig.value(f.BUILDS) == 2
        assert rig.value(f.JOBS) == 1

    def test_a_container_of_jobs_is_no_build(self, rig: Rig) -> None:
        at = time.time() - 60
        jobs = (
            Job(id="2", name="deploy", status=Status.IN_PROGRESS, started_at=at),
            Job(
                id="1",
                name="deploy",
                status=Status.COMPLETED,
                conclusion="passed",
                started_at=at - 60,
            ),
        )
        rig.provider._builds = [build("ws/p/1", only_jobs=True, jobs=jobs)]
        rig.poll()
        rig.poll()

        assert rig.value(f.JOBS) == 1
        assert rig.value(f.BUILDS) == 0
        assert rig.gauge(f.ACTIVE) is None
        assert rig.gauge(f.JOBS_ACTIVE, job_name="deploy", status="in_progress") == 1

    def test_a_job_that_a_whole_list_lacks_is_active_no_longer(self, rig: Rig) -> None:
        begun = Job(id="1", name="deploy", status=Status.IN_PROGRESS, started_at=time.time() - 60)
        other = replace(begun, id="2", name="test")
        rig.provider._builds = [build("ws/p/1", only_jobs=True, jobs=(begun, other))]
        rig.poll()
        assert rig.gauge(f.JOBS_ACTIVE, job_name="deploy", status="in_progress") == 1

        rig.provider._builds = [build("ws/p/1", only_jobs=True, jobs=(other,))]
        rig.poll()

        assert rig.gauge(f.JOBS_ACTIVE, job_name="deploy", status="in_progress") == 0
        assert rig.gauge(f.JOBS_ACTIVE, job_name="test", status="in_progress") == 1


def test_a_cancelled_poll_leaves_memory_and_file_at_one(tmp_path: Path) -> None:
    """SIGTERM in the middle of a commit: it is finished and shown, not half of it."""
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build(str(n))) for n in range(3)]

    async def cancelled() -> None:
        task = asyncio.ensure_future(rig._poll())
        begin = rig.ledger.transaction
        loop = asyncio.get_running_loop()

        def watched(*accounts: str) -> Any:
            loop.call_soon_threadsafe(task.cancel)
            return begin(*accounts)

        rig.ledger.transaction = watched  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await task
        rig.ledger.transaction = begin  # type: ignore[method-assign]

    rig.run(cancelled)
    before = {key: s.vector for key, s in rig.view.series.items()}
    rig.restart()

    assert {key: s.vector for key, s in rig.view.series.items()} == before
    rig.poll()
    assert rig.value(f.BUILDS) == 3
    rig.crash()
