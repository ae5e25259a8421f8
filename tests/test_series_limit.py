"""At `metrics.series_limit` nothing is lost: what is beyond folds, and stays where it folded."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.metrics import families as f
from exporter.metrics import folding
from exporter.metrics.store import is_pipeline_family
from exporter.model import ACTIVE, Build, Job, Status
from exporter.record import Cursor, SeriesKey, Vector
from tests.scripted import DAY, Rig, build, done
from tests.test_metrics_book import exposed, room_of

COUNTED = (f.BUILDS, f.RETRIES, f.BUILD_DURATION, f.BUILD_QUEUE)
JOBS_COUNTED = (f.JOBS, f.JOB_DURATION, f.JOB_QUEUE)
UNLIMITED = 100_000
REPOS = ("acme/a", "acme/b", "acme/c")

Sum = tuple[str, str]
"""A family and a conclusion, empty where it has none: what totals are told by."""


def sums(values: dict[SeriesKey, Vector]) -> Counter[Sum]:
    """How many events the series of builds and jobs have counted."""
    found: Counter[Sum] = Counter()
    for key, vector in values.items():
        if is_pipeline_family(key.family):
            names = f.BY_NAME[key.family].labels
            word = key.labels[-1] if names[-1] == "conclusion" else ""
            found[key.family, word] += int(sum(vector if len(vector) == 1 else vector[:-1]))
    return +found


class Life(RuleBasedStateMachine):
    """More repos, workflows, branches and jobs than there is room for; crashes, time, limits."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._clock = mock.patch("time.time", side_effect=lambda: self.now)
        self.now = time.time()
        self._clock.start()
        self.truth: Counter[Sum] = Counter()
        self.gone: Counter[Sum] = Counter()
        """What retention has forgotten."""
        self.placed: dict[SeriesKey, SeriesKey] = {}
        """Where the increments of a label set go."""
        self.running: dict[str, Build] = {}
        self._homes: dict[str, str] = {}
        self.shown: dict[SeriesKey, Vector] = {}
        self._serial = 0

    @initialize(limit=st.sampled_from([400, 600, 900]))
    def first_polls(self, limit: int) -> None:
        self.limit = limit
        self.rig = Rig(Path(self._folder.name, "s.db"), series_limit=limit, retention=2 * DAY)
        for repo in REPOS:
            self._record(repo, [])

    def _record(self, repo: str, builds: list[Build]) -> None:
        async def work() -> None:
            at = self.now
            target = await self.rig.recorder.target("acme", repo, Cursor(at - DAY))
            await self.rig.recorder.record(target, builds, cursor=Cursor(at - DAY, since=at))

        self.rig.run(work)

    def _begin(self, repo: str, workflow: str, branch: str, attempt: int) -> Build:
        self._serial += 1
        spans = {"created_at": self.now - 60, "started_at": self.now - 50}
        names = {"repo": repo, "workflow": workflow, "branch": branch}
        return build(str(self._serial), attempt=attempt, **spans, **names)

    @rule(
        repo=st.sampled_from(REPOS),
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
        spans = {"created_at": self.now - 50, "started_at": self.now - 40}
        known = {"status": Status.COMPLETED, "completed_at": self.now - 30, **spans}
        known["conclusion"] = conclusion
        ran = tuple(Job(id=name, name=name, attempt=begun.attempt, **known) for name in jobs)
        ended = msgspec.structs.replace(done(begun, conclusion), jobs=ran)
        before = dict(self.rig.book.stored())
        if fate:
            self._die(ended, late=fate == "dies after")
            self.rig.restart()
            before = before if fate == "dies after" else dict(self.rig.book.stored())
        if fate != "dies after":
            self._record(ended.repo, [ended])
        self._count(ended)
        self._look_where(ended, before)

    def _die(self, ended: Build, *, late: bool) -> None:
        class Killed(BaseException):
            pass

        begin, left = self.rig.ledger.transaction, 1

        @contextmanager
        def deadly():
            nonlocal left
            left -= 1
            with begin() as tx:
                yield tx
                if left < 0 and not late:
                    raise Killed
            if left < 0:
                raise Killed

        self.rig.ledger.transaction = deadly  # type: ignore[method-assign]
        with suppress(Killed):
            self._record(ended.repo, [ended])

    def _count(self, ended: Build) -> None:
        word = ended.conclusion or ""
        self.truth[f.BUILDS.name, word] += 1
        self.truth[f.BUILD_DURATION.name, word] += 1
        self.truth[f.RETRIES.name, ""] += ended.attempt > 1
        self.truth[f.BUILD_QUEUE.name, ""] += ended.attempt == 1
        for _ in ended.jobs:
            self.truth[f.JOBS.name, word] += 1
            self.truth[f.JOB_DURATION.name, word] += 1
            self.truth[f.JOB_QUEUE.name, ""] += 1

    def _look_where(self, ended: Build, before: dict[SeriesKey, Vector]) -> None:
        """Each increment is where the rules say, and where those like it have been before."""
        own = self.rig.book.labels(self.rig.book.targets[1], ended)
        now = dict(self.rig.book.stored())
        grown = {key for key, vector in now.items() if vector != before.get(key) and any(vector)}
        for family in (*COUNTED, *(JOBS_COUNTED if len(ended.jobs) == 1 else ())):
            taken = [key for key in grown if key.family == family.name]
            known = {"trigger": ended.trigger, "conclusion": ended.conclusion or ""}
            known["job_name"] = ended.jobs[0].name if ended.jobs else ""
            rest = tuple(known[name] for name in family.labels[5:])
            key = SeriesKey(family.name, own + rest)
            for place in taken:
                assert place in [p.series for p in folding.places(key)]
                assert self.placed.setdefault(key, place) == place
            assert len(taken) <= 1

    @rule(
        repo=st.sampled_from(REPOS),
        workflow=st.sampled_from("uvw"),
        branch=st.sampled_from(["main", "feature"]),
        status=st.sampled_from(ACTIVE),
        jobs=st.lists(st.sampled_from("jklmnop"), unique=True, max_size=3),
    )
    def begin(self, repo: str, workflow: str, branch: str, status: Status, jobs: list[str]) -> None:
        at = {"created_at": self.now, "status": Status.QUEUED}
        begun = msgspec.structs.replace(
            self._begin(repo, workflow, branch, 1),
            status=status,
            jobs=tuple(Job(id=name, name=name, **at) for name in jobs),
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
        before = dict(self.rig.book.stored())
        self.rig.restart()
        assert dict(self.rig.book.stored()) == before

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

    @rule(limit=st.sampled_from([400, 600, 900]), how=st.sampled_from(["restart", "reload"]))
    def another_limit(self, limit: int, how: str) -> None:
        """Nothing of what is stored falls; with a higher limit all of it is shown again."""
        before = self._stored()
        self.limit = limit
        self._obey(how)
        after = self._stored()
        assert {key: after[key] for key in before} == before
        self.placed.clear()
        self.shown = {}

    def _obey(self, how: str) -> None:
        rules = msgspec.structs.replace(self.rig.rules, series_limit=self.limit)
        self.rig.rules = rules
        if how == "restart":
            self.rig.restart()
            return

        async def work() -> None:
            recorder = self.rig.recorder
            is_higher = self.limit > recorder.book.rules.series_limit
            loaded = await recorder.remembered(["acme"] if is_higher else [])
            await recorder.change(rules, {"acme": "scripted"}, loaded, retention=2 * DAY)

        self.rig.run(work)

    def _stored(self) -> dict[SeriesKey, Vector]:
        """What the state has of builds and jobs, shown or not."""
        rows = self.rig.ledger.load().series
        return {row.series: row.vector for row in rows if is_pipeline_family(row.series.family)}

    @invariant()
    def no_more_is_exposed_than_the_limit(self) -> None:
        book = self.rig.book
        assert exposed(book).total() <= book.samples == room_of(book) <= self.limit

    @invariant()
    def no_counter_goes_down(self) -> None:
        now = dict(self.rig.book.stored())
        for key, vector in self.shown.items():
            assert all(b >= a for a, b in zip(vector, now[key], strict=True)), key
        self.shown = now

    @invariant()
    def every_attempt_is_counted_once_somewhere(self) -> None:
        assert sums(self._stored()) + self.gone == +self.truth

    @invariant()
    def every_unfinished_build_is_shown_once_somewhere(self) -> None:
        shown: Counter[str] = Counter()
        for family, labels, value in self.rig.book.gauges(self.now):
            if family in (f.ACTIVE.name, f.JOBS_ACTIVE.name):
                shown[f"{family} {labels[-1]}"] += int(value)
        truth = Counter(f"{f.ACTIVE.name} {build.status.value}" for build in self.running.values())
        for begun in self.running.values():
            truth[f"{f.JOBS_ACTIVE.name} {Status.QUEUED.value}"] += len(begun.jobs)
        for name, number in truth.items():
            if name.startswith(f.ACTIVE.name) or not self.rig.book.dropped:
                assert shown[name] == number
        assert shown <= truth

    def teardown(self) -> None:
        try:
            if hasattr(self, "rig") and sys.exc_info()[0] is None:
                self.limit = UNLIMITED
                self._obey("restart")
                assert not self.rig.book.hidden
                assert sums(dict(self.rig.book.stored())) + self.gone == +self.truth
                self.rig.crash()
        finally:
            self._clock.stop()
            self._folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
