"""What happens over time to the polls of any provider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, ProviderError, TryLater
from exporter.http import Api
from exporter.metrics import families as f
from exporter.model import Build, BuildKey, Job, Status
from exporter.providers import Page, Query, Repo, Unread
from exporter.sync import window
from tests.tools.scripted import DAY, Rig, Scripted, build, done

HOUR = 3600.0


class Parts(Scripted):
    """A list made of parts, each build of the part that its native id begins with."""

    _broken: dict[str, ProviderError] = PrivateAttr(default_factory=dict)
    """Parts that fail."""
    _page_fails: dict[int, ProviderError] = PrivateAttr(default_factory=dict)
    """Pages that fail, by their offset."""
    _details: dict[str, ProviderError] = PrivateAttr(default_factory=dict)
    """Builds whose details fail."""
    _fails_at: int | None = PrivateAttr(default=None)
    """The attempt whose details fail, of any build."""
    _ends: int | None = PrivateAttr(default=None)
    """How many builds the API lists at the most."""

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        start = int(query.token or 0)
        self._requests.append(f"page {start}")
        self._on_page()
        if start in self._page_fails:
            raise self._page_fails[start]
        parts = {b.native_id for b in self._builds if b.native_id} - self._broken.keys()
        listed = [
            b
            for b in self._builds
            if not b.native_id
            or (b.native_id in parts and (b.time or 0) >= query.since_for(b.native_id) - HOUR)
        ]
        listed.sort(key=lambda b: b.created_at or 0.0, reverse=True)
        more = start + self.size < len(listed)
        cut_off = self._ends is not None and more and start + self.size >= self._ends
        return Page(
            tuple(listed[start : start + self.size]),
            str(start + self.size) if more and not cut_off else None,
            unread=tuple(Unread(part, error) for part, error in self._broken.items()),
            cut_off=cut_off,
        )

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        self._requests.append(f"detail {build.key}")
        if build.key.id in self._details:
            raise self._details[build.key.id]
        if build.attempt == self._fails_at:
            raise _down()
        return replace(build, partial=False)

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        if known.attempt == self._fails_at:
            raise _down()
        if known.key.id in self._details:
            raise self._details[known.key.id]
        return replace(await super().refresh(api, repo, known), partial=False)


class World(Rig):
    """A rig whose provider's clock can be put forward."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.provider: Any = Parts(
            name="acme", provider="scripted", token_env="T", repos=["acme/shop"]
        )
        self.provider.__dict__["size"] = 10
        self.ahead = 0.0
        self.remote.now = self.now  # type: ignore[method-assign]

    def now(self) -> float:
        return time.time() + self.ahead

    def passes(self, seconds: float) -> None:
        """Time passes, so that nothing is waited for any more."""
        self.ahead += seconds
        self.memory.checked.clear()

    def ended(self, key: str, *, ago: float = 60.0, **values: Any) -> Build:
        at = self.now() - ago
        began = build(key, created_at=at - 30, started_at=at - 20, **values)
        return done(began, values.pop("conclusion", "passed"), after=20)

    @property
    def counted(self) -> float:
        return self.value(f.BUILDS)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path / "s.db", retention=60 * DAY)
    monkeypatch.setattr(window, "time", SimpleNamespace(time=made.now))
    yield made
    made.crash()


def _down() -> TryLater:
    return TryLater("answered 500", reason="server")


class TestParts:
    """Parts of one list that fail."""

    def test_a_part_that_fails_for_a_day_hides_nobody_and_loses_nothing(self, world: World) -> None:
        """While a branch fails the others count; when it answers again so do its builds."""
        world.provider._builds = [world.ended("m1", native_id="main")]
        world.poll()
        world.provider._broken = {"dev": _down()}
        for hour in range(24):
            world.passes(HOUR)
            world.provider._builds.append(world.ended(f"main-{hour}", native_id="main"))
            world.provider._builds.append(world.ended(f"dev-{hour}", native_id="dev"))
            world.poll()
            assert world.counted == 2 + hour
            assert list(world.unread) == ["dev"]
            if hour == 12:
                world.restart()

        world.provider._broken = {}
        world.poll()

        assert world.counted == 1 + 24 + 24
        assert not world.unread

    def test_a_part_that_answers_again_is_read_no_further_than_before(self, world: World) -> None:
        world.provider._builds = [world.ended("1", native_id="main")]
        world.provider._broken = {"dev": _down()}
        world.poll()
        world.provider._broken = {}
        world.poll()

        assert world.poll().cursor.behind == {}

    def test_what_the_api_lists_no_further_is_one_gap(self, world: World) -> None:
        world.provider._builds = [world.ended(str(n), ago=60.0 * n) for n in range(1, 70)]
        world.provider._ends = 50

        for _ in range(3):
            world.poll()
            world.memory.deep_at = None

        assert world.counted == 50
        assert world.value(f.GAPS) == 1


class TestAttempts:
    """Attempts whose details fail while their build is run again."""

    def test_an_attempt_counts_though_the_next_one_ends_before_it_can_be_read(
        self, world: World
    ) -> None:
        """Its details are asked for until they answer, also after a restart."""
        first = world.ended("1", ago=900.0, conclusion="failed", partial=True)
        second = replace(world.ended("1", ago=60.0), attempt=2, partial=True)
        world.provider._builds = [replace(first, conclusion="failed"), second]
        world.provider._fails_at = 1
        world.poll()
        assert world.counted == 1
        assert world.value(f.RETRIES) == 1

        world.restart()
        world.poll()
        world.provider._fails_at = None
        world.passes(60.0)
        world.poll()
        world.poll()

        assert world.counted == 2
        assert world.value(f.BUILDS, conclusion="failed") == 1
        assert world.value(f.MISSING, field="attempt") == 0
        assert world.gauge(f.STREAK) == 0

    @pytest.mark.parametrize("is_listed", [True, False])
    def test_an_attempt_that_the_provider_forgets_counts_as_it_was_listed(
        self, world: World, is_listed: bool
    ) -> None:
        """Be it that the build goes on under the next number or is deleted."""
        first = replace(world.ended("1", ago=900.0, partial=True), conclusion="failed")
        world.provider._builds = [first]
        world.provider._fails_at = 1
        world.poll()
        assert world.counted == 0

        world.provider._fails_at = None
        again = replace(world.ended("1", ago=60.0), attempt=2)
        world.provider._builds = [again] if is_listed else []
        for _ in range(3):
            world.passes(60.0)
            world.poll()

        assert world.value(f.BUILDS, conclusion="failed") == 1
        assert world.counted == 1 + is_listed
        assert world.value(f.MISSING, field="attempt") == 0


class TestPages:
    """Pages after the first that fail."""

    def test_new_builds_count_while_an_older_page_fails(self, world: World) -> None:
        world.provider._builds = [world.ended("0", ago=2 * HOUR)]
        world.poll()
        world.provider._page_fails = {10: _down()}
        world.provider._builds += [world.ended(str(n), ago=60.0 + n) for n in range(1, 21)]

        world.poll()
        assert world.counted == 11
        world.provider._builds.append(world.ended("new", ago=1.0))
        world.poll()
        assert world.counted == 12

        world.provider._page_fails = {}
        world.poll()
        assert world.counted == 22

    def test_a_page_that_fails_for_good_is_a_gap_in_the_end(self, world: World) -> None:
        """The first walk comes to its end, so that the series are shown."""
        world.provider._page_fails = {10: _down()}
        world.provider._builds = [world.ended(str(n), ago=60.0 + n) for n in range(20)]
        for _ in range(12):
            world.poll()
            world.passes(60.0)

        assert world.counted == 10
        assert world.value(f.GAPS) == 1
        _, world.provider._requests = world.provider._requests, []
        world.memory.deep_at = time.monotonic()
        world.poll()
        assert world.provider._requests == ["page 0"]

    def test_a_page_that_fails_for_good_after_years_of_service_is_a_gap_too(
        self, world: World
    ) -> None:
        world.provider._builds = [world.ended("0", ago=2 * HOUR)]
        world.poll()
        world.memory.deep_at = time.monotonic()
        world.passes(HOUR)
        world.provider._page_fails = {10: _down()}
        world.provider._builds += [world.ended(str(n), ago=60.0 + n) for n in range(1, 16)]
        for _ in range(12):
            world.poll()
            world.passes(60.0)

        assert world.counted == 11
        assert world.value(f.GAPS) == 1
        assert world.poll().cursor.stuck is None

    def test_a_date_that_is_weeks_ahead_hides_no_burst(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only the `Date` of the answers is wrong; the builds' own times are as they should be."""
        monkeypatch.setattr(window, "time", time)
        world.provider._builds = [world.ended("0", ago=2 * HOUR)]
        world.poll()
        began = [world.ended(str(n), ago=60.0 + n) for n in range(1, 51)]
        world.ahead = 40 * DAY
        for seen in (25, 50):
            world.provider._builds += began[seen - 25 : seen]
            world.poll()
            world.memory.deep_at = time.monotonic()

        assert world.counted == 51

    @pytest.mark.parametrize("hours", [-1, 1, 24 * 90])
    def test_a_start_by_a_wrong_clock_of_ours_reads_all_that_the_last_poll_left(
        self, world: World, hours: float
    ) -> None:
        """Until the first answer nothing tells the time but our own clock, which is wrong."""
        world.poll()
        world.passes(4 * HOUR)
        world.provider._builds = [world.ended(str(n), ago=900.0 + n) for n in range(20)]
        world.restart()
        world.remote.has_answered = False
        right, world.ahead = world.ahead, world.ahead + hours * HOUR

        def answers() -> None:
            world.ahead, world.remote.has_answered = right, True

        world.provider._on_page = answers
        world.poll()
        world.poll()

        assert world.counted == 20

    def test_a_page_that_has_expired_is_asked_for_no_more(self, world: World) -> None:
        """An API that answers 500 to an old cursor is read from its newest page again."""
        world.provider._page_fails = {10: _down()}
        world.provider._builds = [world.ended(str(n), ago=60.0 + n) for n in range(15)]
        world.poll()
        world.provider._builds += [world.ended(f"new-{n}") for n in range(5)]
        world.provider._page_fails = {10: Gone("no such page", reason="not_found")}
        world.poll()
        world.provider._page_fails = {}

        world.poll()

        assert world.counted == 20


class TestDetails:
    """Builds whose details fail."""

    def _partial(self, world: World, count: int) -> None:
        world.provider._builds = [
            world.ended(str(n), ago=60.0 + n, partial=True) for n in range(count)
        ]

    def test_many_builds_that_fail_hold_back_none_that_answers(self, world: World) -> None:
        self._partial(world, 55)
        world.provider._details = {str(n): _down() for n in range(30)}

        world.poll()
        world.poll()

        assert world.counted == 25
        assert len(world.unread) == 30

    def test_a_build_counts_as_it_was_listed_after_an_hour_and_ten_polls(
        self, world: World
    ) -> None:
        self._partial(world, 2)
        world.provider._details = {"0": _down()}
        for poll in range(11):
            world.poll()
            assert world.counted == 1 + (poll > 8)
            world.passes(400.0)
            if poll == 5:
                world.restart()

        assert world.value(f.BUILDS, conclusion="passed") == 2
        assert not world.unread
        world.poll()
        assert world.counted == 2

    def test_ten_polls_within_an_hour_are_not_enough(self, world: World) -> None:
        self._partial(world, 1)
        world.provider._details = {"0": _down()}
        for _ in range(20):
            world.poll()
            world.passes(60.0)
        assert world.counted == 0

        world.provider._details = {}
        world.poll()
        assert world.counted == 1

    def test_what_fails_is_shown_also_while_it_is_not_asked_for(self, world: World) -> None:
        self._partial(world, 1)
        world.provider._details = {"0": _down()}
        for _ in range(5):
            world.poll()

        assert list(world.unread) == ["build 0"]
        asked = [request for request in world.provider._requests if request == "detail 0"]
        assert len(asked) == 3


class TestAgain:
    """Builds that go on after their end, under the same attempt."""

    def _at(self, world: World, ago: float, **values: Any) -> Build:
        at = world.now() - ago
        return replace(world.ended("1", ago=ago), changed_at=at, **values)

    @pytest.mark.parametrize("restarts", [False, True], ids=["watched", "after a restart"])
    def test_a_new_end_moves_the_latest_and_the_streak(self, world: World, restarts: bool) -> None:
        world.provider._builds = [self._at(world, 300, conclusion="failed")]
        world.poll()
        assert world.gauge(f.STREAK) == 1
        if restarts:
            world.restart()

        world.provider._builds = [self._at(world, 10, conclusion="passed")]
        world.poll()

        assert world.gauge(f.STREAK) == 0
        assert world.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
        assert world.counted == 1
        assert world.value(f.ANOMALIES) == 1

    def test_it_is_active_until_it_ends_again(self, world: World) -> None:
        world.provider._builds = [self._at(world, 300, conclusion="failed")]
        world.poll()
        again = self._at(world, 5, status=Status.IN_PROGRESS, conclusion=None, completed_at=None)
        world.provider._builds = [again]
        world.restart()
        world.poll()
        assert world.gauge(f.ACTIVE, status="in_progress") == 1
        assert again.changed_at is not None
        oldest = world.gauge(f.OLDEST_ACTIVE, status="in_progress")
        assert oldest == again.changed_at, "its age is that of the part that runs now"

        world.provider._builds = [self._at(world, 1, conclusion="failed")]
        world.poll()

        assert world.gauge(f.ACTIVE, status="in_progress") == 0
        assert world.gauge(f.STREAK) == 1
        assert world.counted == 1

    def test_an_older_page_makes_nothing_active_and_takes_no_end_back(self, world: World) -> None:
        before = self._at(world, 300, status=Status.IN_PROGRESS, conclusion=None, completed_at=None)
        first = self._at(world, 200, conclusion="failed")
        world.provider._builds = [self._at(world, 100, conclusion="passed")]
        world.poll()

        for page in (before, first):
            world.provider._builds = [page]
            world.poll()

        assert world.gauge(f.ACTIVE, status="in_progress") in {None, 0}
        assert world.gauge(f.LAST_CONCLUSION, conclusion="passed") == 1
        assert world.value(f.ANOMALIES) == 0

    def test_the_jobs_of_each_part_count_once(self, world: World) -> None:
        def ran(number: int, ago: float) -> Job:
            at = world.now() - ago
            return Job(
                id=str(number),
                name="test",
                status=Status.COMPLETED,
                conclusion="passed",
                started_at=at - 5,
                completed_at=at,
            )

        jobs = [ran(1, 300)]
        world.provider._builds = [self._at(world, 300, jobs=tuple(jobs))]
        world.poll()
        jobs.append(ran(2, 10))
        world.restart()
        world.provider._builds = [self._at(world, 10, jobs=tuple(jobs))]
        world.poll()
        world.poll()

        assert world.value(f.JOBS) == 2

    def test_a_touched_build_that_tells_no_change_is_no_news(self, world: World) -> None:
        world.provider._builds = [world.ended("1", ago=300)]
        world.poll()
        world.provider._builds = [replace(world.ended("1", ago=10))]
        world.poll()

        assert world.counted == 1
        assert world.value(f.ANOMALIES) == 0


class TestStarts:
    """Keys with a start, which a provider may stop telling."""

    def _run(self, world: World, number: int, start: int | str, **values: Any) -> Build:
        if start == "":
            return Build(
                key=BuildKey(f"shop#{number}"),
                key_per_attempt=True,
                repo="acme/shop",
                workflow="CI",
                branch="main",
                number=number,
                status=Status.COMPLETED,
                conclusion="cancelled",
                **values,
            )
        known = world.ended("x", ago=world.now() - float(start))
        return replace(known, key=BuildKey(f"shop#{number}", int(start)), key_per_attempt=True)

    def test_a_build_that_loses_its_start_and_gets_it_back_counts_once(self, world: World) -> None:
        start = int(world.now()) - 500
        for listed in (start, "", start, ""):
            world.provider._builds = [self._run(world, 7, listed)]
            world.poll()
            world.restart()

        assert world.counted == 1
        assert world.value(f.BUILDS, conclusion="cancelled") == 0

    def test_a_build_first_seen_without_its_start_counts_once(self, world: World) -> None:
        start = int(world.now()) - 500
        for listed in ("", start, "", start):
            world.provider._builds = [self._run(world, 7, listed)]
            world.poll()

        assert world.counted == 1

    def test_a_number_that_begins_again_is_another_build(self, world: World) -> None:
        start = int(world.now()) - 500
        for listed in ("", start, start + 300, ""):
            world.provider._builds = [self._run(world, 7, listed)]
            world.poll()

        assert world.counted == 2

    def test_without_any_time_below_an_older_build_it_is_history(self, world: World) -> None:
        dated = self._run(world, 9, int(world.now()) - 300)
        lost = self._run(world, 8, "", started_before=world.now() - 3 * DAY)
        world.provider._builds = [dated, lost]
        world.poll()

        assert world.counted == 1
