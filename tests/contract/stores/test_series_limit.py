"""At `metrics.series_limit` nothing is lost: what is beyond folds, and stays where it folded."""

from __future__ import annotations

import itertools
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from exporter.ledger import Transaction
from exporter.ledger.rows import Cursor, Labels, SeriesKey, Vector
from exporter.metrics import cardinality, soundness
from exporter.metrics import families as f
from exporter.metrics.grouping import is_pipeline_family
from exporter.model import ACTIVE, Build, BuildKey, Job, Status
from exporter.view.series_view import SeriesView
from tests.tools import stores
from tests.tools.scripted import DAY, Rig, build, done
from tests.tools.views import scraped
from tests.unit.test_series_view import room_of, samples

pytestmark = pytest.mark.usefixtures("store")

COUNTED = (f.BUILDS, f.RETRIES, f.BUILD_DURATION, f.BUILD_QUEUE)
JOBS_COUNTED = (f.JOBS, f.JOB_DURATION, f.JOB_QUEUE)
UNLIMITED = 100_000
ACCOUNTS = {"acme": "scripted", "globex": "jenkins"}
"""Their providers."""
REPOS = {"acme/a": "acme", "acme/b": "acme", "globex/c": "globex"}
"""Their accounts."""
BRANCHES = (("main",), ("main", "feature"))

MORE = int(os.environ.get("CICD_EXPORTER_EXAMPLES", "0"))
"""How many lives to try instead of the same few as always."""

Sum = tuple[str, str, str]
"""A family, an account and a conclusion, empty where it has none: what totals are told by."""


def sums(values: dict[SeriesKey, Vector]) -> Counter[Sum]:
    """How many events the series of builds and jobs have counted."""
    found: Counter[Sum] = Counter()
    for key, vector in values.items():
        if is_pipeline_family(key.family):
            names = f.BY_NAME[key.family].labels
            word = key.labels[-1] if names[-1] == "conclusion" else ""
            found[key.family, key.labels[1], word] += int(
                sum(vector if len(vector) == 1 else vector[:-1])
            )
    return +found


def evicted(rig: Rig) -> set[Labels]:
    """The pipelines of the state that are not shown."""
    return {row.labels for row in rig.ledger.load().pipelines} - rig.view.pipelines.keys()


def samples_of(view: SeriesView, now: float) -> dict[SeriesKey, Vector]:
    """All that is shown of builds and jobs."""
    gauges = {SeriesKey(name, labels): (value,) for name, labels, value in view.gauges(now)}
    return dict(view.stored()) | gauges


def used(rig: Rig) -> int:
    """How many samples are in use, as the state says."""
    return sum(rig.ledger.load().samples.values())


class Life(RuleBasedStateMachine):
    """More repos, workflows, branches and jobs than there is room for; crashes, time, limits."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.now: float = 1_800_000_000.0
        self._clock = mock.patch("time.time", side_effect=lambda: self.now)
        self._clock.start()
        self.truth: Counter[Sum] = Counter()
        self.gone: Counter[Sum] = Counter()
        """What retention has forgotten."""
        self.placed: dict[SeriesKey, SeriesKey] = {}
        """Where the increments of a label set go."""
        self.running: dict[BuildKey, Build] = {}
        self.shown: dict[SeriesKey, Vector] = {}
        self._serial = 0

    @initialize(limit=st.sampled_from([800, 1000, 1200]), crowd=st.sampled_from([5, 7, 9]))
    def first_polls(self, limit: int, crowd: int) -> None:
        """So many workflows of each repo leave little of the lowest limit."""
        self.limit = limit
        path = Path(self._folder.name, "s.db")
        self.rig = Rig(path, accounts=ACCOUNTS, series_limit=limit, retention=2 * DAY)
        for repo in REPOS:
            begun = [self._begin(repo, f"first {n}", "main", 1) for n in range(crowd)]
            ended = [done(one) for one in begun]
            self._record(repo, ended)
            for one in ended:
                self.truth += sums(dict.fromkeys(self._events(one), (1.0,)))

    def _record(
        self, repo: str, builds: list[Build], arm: Callable[[], None] = lambda: None
    ) -> None:
        async def work() -> None:
            at = self.now
            target = await self.rig.recorder.target(REPOS[repo], repo, Cursor(at - DAY))
            arm()
            await self.rig.recorder.record(target, builds, cursor=Cursor(at - DAY, since=at))

        self.rig.run(work)

    def _begin(self, repo: str, workflow: str, branch: str, attempt: int) -> Build:
        self._serial += 1
        spans = {"created_at": self.now - 60, "started_at": self.now - 50}
        names = {"repo": repo, "workflow": workflow, "branch": branch}
        return build(str(self._serial), attempt=attempt, **spans, **names)

    @rule(
        repo=st.sampled_from([*REPOS]),
        workflow=st.sampled_from("uvw"),
        branch=st.sampled_from(["main", "feature", "release"]),
        conclusion=st.sampled_from(["passed", "failed"]),
        jobs=st.lists(st.sampled_from("jklmnop"), unique=True, max_size=3),
        attempt=st.integers(1, 2),
        fate=st.sampled_from(["", "", "", "dies before", "dies after"]),
    )
    def end(
        self,
        repo: str,
        workflow: str,
        branch: str,
        conclusion: str,
        jobs: list[str],
        attempt: int,
        fate: str,
    ) -> None:
        begun = self._begin(repo, workflow, branch, attempt)
        self._end(begun, conclusion, jobs, fate)

    def _end(self, begun: Build, conclusion: str, jobs: list[str], fate: str = "") -> None:
        ran = Job(
            id="",
            name="",
            attempt=begun.attempt,
            status=Status.COMPLETED,
            conclusion=conclusion,
            created_at=self.now - 50,
            started_at=self.now - 40,
            completed_at=self.now - 30,
        )
        all_ran = tuple(msgspec.structs.replace(ran, id=name, name=name) for name in jobs)
        ended = msgspec.structs.replace(done(begun, conclusion), jobs=all_ran)
        before = dict(self.rig.view.stored())
        if fate:
            self._die(ended, late=fate == "dies after")
            self.rig.restart()
            before = before if fate == "dies after" else dict(self.rig.view.stored())
        if fate != "dies after":
            self._record(ended.repo, [ended])
        events = self._events(ended)
        self.truth += sums(dict.fromkeys(events, (1.0,)))
        self._look_where(events, before)

    def _die(self, ended: Build, *, late: bool) -> None:
        class Killed(BaseException):
            pass

        begin = self.rig.ledger.transaction

        @contextmanager
        def deadly(*accounts: str) -> Iterator[Transaction]:
            with begin(*accounts) as tx:
                yield tx
                if not late:
                    raise Killed
            raise Killed

        def arm() -> None:
            self.rig.ledger.transaction = deadly  # type: ignore[method-assign,assignment]

        with pytest.raises(Killed):
            self._record(ended.repo, [ended], arm)

    def _events(self, ended: Build) -> list[SeriesKey]:
        """What it counts, under its own labels."""
        account = REPOS[ended.repo]
        target = next(t for t in self.rig.view.targets.values() if t.account == account)
        own = self.rig.view.labels(target, ended)
        first = f.RETRIES if ended.attempt > 1 else f.BUILD_QUEUE
        names = [""] * 3 + [job.name for job in ended.jobs for _ in JOBS_COUNTED]
        families = [f.BUILDS, f.BUILD_DURATION, first, *(JOBS_COUNTED * len(ended.jobs))]
        known = {"trigger": ended.trigger, "conclusion": ended.conclusion or ""}
        return [
            SeriesKey(family.name, own + tuple({**known, "job_name": name}[n] for n in rest))
            for family, name in zip(families, names, strict=True)
            for rest in [family.labels[5:]]
        ]

    def _look_where(self, events: list[SeriesKey], before: dict[SeriesKey, Vector]) -> None:
        """Each increment is where the rules say, and where those like it have been before."""
        now = dict(self.rig.view.stored())
        grown = {key for key, vector in now.items() if vector != before.get(key) and any(vector)}
        for family in {key.family for key in events}:
            keys = [key for key in events if key.family == family]
            told = {self.placed[key] for key in keys if key in self.placed}
            taken = {place for place in grown if place.family == family}
            assert told <= taken
            for key in keys:
                assert not taken.isdisjoint(place.series for place in cardinality.places(key))
            new = [key for key in keys if key not in self.placed]
            if len(new) == len(taken - told) == 1:
                (self.placed[new[0]],) = taken - told

    @rule(
        repo=st.sampled_from([*REPOS]),
        workflow=st.sampled_from("uvw"),
        branch=st.sampled_from(["main", "feature"]),
        status=st.sampled_from(ACTIVE),
        jobs=st.lists(st.sampled_from("jklmnop"), unique=True, max_size=3),
    )
    def begin(self, repo: str, workflow: str, branch: str, status: Status, jobs: list[str]) -> None:
        waits = Job(id="", name="", status=Status.QUEUED, created_at=self.now)
        begun = msgspec.structs.replace(
            self._begin(repo, workflow, branch, 1),
            status=status,
            jobs=tuple(msgspec.structs.replace(waits, id=name, name=name) for name in jobs),
        )
        self._record(repo, [begun])
        self.running[begun.key] = begun

    @rule()
    def finish(self) -> None:
        for begun in [*self.running.values()]:
            del self.running[begun.key]
            self._end(begun, "passed", [])

    @rule()
    def restart(self) -> None:
        before = dict(self.rig.view.stored())
        self.rig.restart()
        assert dict(self.rig.view.stored()) == before

    @rule(days=st.sampled_from([0.2, 1.0, 2.1]))
    def time_passes(self, days: float) -> None:
        if self.running:
            return
        self.now += days * DAY
        before = self._stored()
        self.rig.run(self.rig.recorder.sweep)
        after = self._stored()
        lost = {key: vector for key, vector in before.items() if key not in after}
        self.gone += sums(lost)
        if lost:
            self.placed.clear()
            self.shown = {}

    @rule(
        limit=st.sampled_from([800, 1000, 1200]),
        branches=st.sampled_from(BRANCHES),
        how=st.sampled_from(["restart", "reload"]),
    )
    def another_limit(self, limit: int, branches: tuple[str, ...], how: str) -> None:
        """Nothing of what is stored falls; with a higher limit all of it is shown again."""
        before = self._stored()
        self.limit = limit
        self._obey(how, branches)
        after = self._stored()
        assert {key: after[key] for key in before} == before
        self.placed.clear()
        self.shown = {}

    def _obey(self, how: str, branches: tuple[str, ...]) -> None:
        known = self.rig.rules
        rules = msgspec.structs.replace(known, series_limit=self.limit, branches=branches)
        self.rig.rules = rules
        if how == "restart":
            self.rig.restart()
            return

        async def work() -> None:
            await self.rig.recorder.change(rules, ACCOUNTS, retention=2 * DAY)

        self.rig.run(work)

    def _stored(self) -> dict[SeriesKey, Vector]:
        """What the state has of builds and jobs, shown or not."""
        rows = self.rig.ledger.load().series
        return {row.series: row.vector for row in rows if is_pipeline_family(row.series.family)}

    @invariant()
    def no_more_is_exposed_than_the_limit_and_its_totals_are_right(self) -> None:
        view = self.rig.view
        shown = scraped(view)
        assert samples(shown).total() <= view.samples == room_of(view) <= self.limit
        counted: Counter[str] = Counter()
        line = r'^cicd_builds_total{.*?account="(.*?)".* (\d+)'
        for account, n in re.findall(line, shown, re.MULTILINE):
            counted[account] += int(n)
        truth: Counter[str] = Counter()
        for (family, account, _), number in (self.truth - self.gone).items():
            truth[account] += number if family == f.BUILDS.name else 0
        assert +counted == truth or evicted(self.rig)
        assert used(self.rig) == view.samples
        assert not [*soundness.miscounted(self.rig.ledger.load())]

    @invariant()
    def a_process_that_loads_the_state_shows_the_same(self) -> None:
        fresh = SeriesView(self.rig.rules, ACCOUNTS)
        fresh.apply(self.rig.ledger.load())
        assert samples_of(fresh, self.now) == samples_of(self.rig.view, self.now)
        self.rig.view.apply(self.rig.ledger.load())
        assert samples_of(fresh, self.now) == samples_of(self.rig.view, self.now)

    @invariant()
    def no_counter_goes_down(self) -> None:
        now = dict(self.rig.view.stored())
        for key, vector in self.shown.items():
            assert all(b >= a for a, b in zip(vector, now[key], strict=True)), key
        self.shown = now

    @invariant()
    def every_attempt_is_counted_once_somewhere(self) -> None:
        assert sums(self._stored()) + self.gone == +self.truth

    @invariant()
    def every_unfinished_build_is_shown_once_somewhere(self) -> None:
        shown: Counter[str] = Counter()
        for family, labels, value in self.rig.view.gauges(self.now):
            if family in (f.ACTIVE.name, f.JOBS_ACTIVE.name):
                shown[f"{family} {labels[-1]}"] += int(value)
        truth = Counter(f"{f.ACTIVE.name} {build.status.value}" for build in self.running.values())
        for begun in self.running.values():
            truth[f"{f.JOBS_ACTIVE.name} {Status.QUEUED.value}"] += len(begun.jobs)
        assert shown <= truth
        for name, number in truth.items():
            if name.startswith(f.ACTIVE.name) or self._has_room():
                assert shown[name] == number

    def _has_room(self) -> bool:
        return self.rig.view.samples + cardinality.reserve(self.limit) <= self.limit

    def teardown(self) -> None:
        try:
            if hasattr(self, "rig") and sys.exc_info()[0] is None:
                self.limit = UNLIMITED
                self._obey("restart", BRANCHES[0])
                assert not evicted(self.rig)
                assert sums(dict(self.rig.view.stored())) + self.gone == +self.truth
        finally:
            if hasattr(self, "rig"):
                self.rig.crash()
            self._clock.stop()
            self._folder.cleanup()


LIFE = settings(
    max_examples=MORE or 20,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=not MORE,
    phases=tuple(Phase) if MORE else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if MORE else 120)
def test_sums_stay_right_whatever_happens(store: str) -> None:
    run_state_machine_as_test(Life, settings=stores.examples(LIFE, store))


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_an_account_that_comes_back_leaves_room_for_what_is_folded(
    tmp_path: Path, how: str
) -> None:
    rig = Rig(tmp_path / "s.db", accounts=ACCOUNTS, series_limit=5000)
    serial = itertools.count()

    def ends(repo: str, workflow: str, conclusion: str = "passed") -> None:
        async def work() -> None:
            at = time.time()
            cursor = Cursor(at - DAY, since=at)
            target = await rig.recorder.target(REPOS[repo], repo, cursor)
            ended = done(build(str(next(serial)), repo=repo, workflow=workflow), conclusion)
            await rig.recorder.record(target, [ended], cursor=cursor)

        rig.run(work)

    def obey(names: dict[str, str], limit: int) -> None:
        rules = msgspec.structs.replace(rig.rules, series_limit=limit)
        if how == "reload":
            rig.run(lambda: rig.recorder.change(rules, names, retention=30 * DAY))
        rig.rules, rig.accounts = rules, names
        if how == "restart":
            rig.restart()

    for n in range(8):
        ends("globex/c", f"{n}")
    for n in range(16):
        ends("acme/a", f"{n}")
    limit = rig.view.samples + 5
    obey({"acme": "scripted"}, limit)
    assert not {labels for labels in evicted(rig) if labels[1] == "acme"}
    obey(ACCOUNTS, limit)

    assert rig.view.samples <= limit - cardinality.reserve(limit)
    known = evicted(rig)
    assert known
    for n in range(8):
        ends("globex/c", f"new {n}", f"{n}")
        ends("acme/a", f"new {n}", f"{n}")
    stored = {row.series: row.vector for row in rig.ledger.load().series}
    counted = Counter[str]()
    for (family, _, conclusion), number in sums(stored).items():
        counted[family] += number if family == f.BUILD_DURATION.name or conclusion else 0
    assert counted[f.BUILD_DURATION.name] == counted[f.BUILDS.name] == 40
    rig.restart()
    assert evicted(rig) == known, "what shows beside them stays"
    rig.crash()


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_a_running_build_moves_to_the_branch_that_is_shown_now(tmp_path: Path, how: str) -> None:
    rig = Rig(tmp_path / "s.db")
    job = Job(id="j", name="j", status=Status.QUEUED)
    rig.provider._builds = [build("1", branch="feature", jobs=(job,))]
    rig.poll()
    assert running(rig) == {"other": 1, "job in other": 1}

    rig.rules = msgspec.structs.replace(rig.rules, branches=("main", "feature"))
    if how == "restart":
        rig.restart()
    else:
        names = {"acme": "scripted"}
        rig.run(lambda: rig.recorder.change(rig.rules, names, retention=30 * DAY))

    assert running(rig) == {"feature": 1, "job in feature": 1}
    rig.provider._builds = [done(rig.provider._builds[0])]
    rig.poll()
    assert running(rig) == {}
    assert rig.value(f.BUILDS, branch="feature") == 1
    rig.crash()


def running(rig: Rig) -> dict[str, float]:
    """The unfinished builds and jobs that are shown, by branch."""
    found = {}
    for family, labels, value in rig.view.gauges(time.time()):
        if value and family in (f.ACTIVE.name, f.JOBS_ACTIVE.name):
            found["job in " * (family == f.JOBS_ACTIVE.name) + labels[4]] = value
    return found
