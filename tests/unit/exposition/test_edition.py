"""What is written once and kept says the same as what is written anew, whatever happens."""

from __future__ import annotations

import gzip
from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.ledger.rows import Changes, Cursor, Findings, Labels, Target, Vector
from exporter.metrics import families as f
from exporter.metrics.families import Family
from exporter.outputs.prometheus import Exposition, Format
from exporter.view.series_view import SeriesView
from tests.tools.scripted import build
from tests.tools.views import a_view, completed, job_done, some_findings
from tests.unit.exposition import FORMATS, Polled, account_view, exposition, written
from tests.unit.exposition.messages import families, native_of

NOW = 1e6
"""Epoch seconds: a time when builds made up with times up to now are not too old."""


def packed(shown: Exposition, form: Format) -> bytes:
    for _ in shown.steps(form, packed=True):
        pass
    ((body,),) = shown.answer(form, packed=True).batches
    return gzip.decompress(body)


def samples(view: SeriesView, now: float) -> list[bytes]:
    """The lines of all build and job families, by the view's own account."""
    shown = defaultdict[Family, dict[Labels, Vector]](dict)
    for key, vector in view.stored():
        shown[f.BY_NAME[key.family]][key.labels] = vector
    for name, labels, value in view.gauges(now):
        shown[f.BY_NAME[name]][labels] = (value,)
    return of_builds(written(shown, view.rules.buckets, "text"))


def of_builds(body: bytes) -> list[bytes]:
    lines = (line.partition(b" # ")[0] for line in body.splitlines())
    return sorted(line for line in lines if line.startswith((b"cicd_build", b"cicd_job")))


def of_repos(body: bytes) -> list[bytes]:
    return sorted(line for line in body.splitlines() if line.startswith(b"cicd_exporter_poll"))


def in_protobuf(body: bytes) -> dict[str, list[bytes]]:
    """What there is of builds, jobs and repos; also sees that native buckets have their count."""
    found: dict[str, list[bytes]] = {}
    for family in families(body):
        if family.name.startswith(("cicd_build", "cicd_job", "cicd_exporter_poll")):
            found[family.name] = sorted(metric.SerializeToString() for metric in family.metric)
        if family.name.startswith(("cicd_build", "cicd_job")):
            for metric in family.metric:
                if metric.HasField("histogram"):
                    native_of(metric.histogram)
    return found


class Life(RuleBasedStateMachine):
    """Polls, scrapes, reloads and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.at, self.serial = NOW, 0.0, 0
        self.view = a_view(native=True, clock=lambda: self.at)
        self.views = [account_view("acme"), account_view("other")]
        self.targets = [
            Target(1, "acme", "a", Cursor(0.0, since=1.0)),
            Target(2, "acme", "b", Cursor(0.0, since=1.0)),
            Target(3, "acme", "c", Cursor(0.0)),
        ]

    @initialize(zero_hold=st.sampled_from([0.0, 60.0]), limit=st.sampled_from([100, 100_000]))
    def begin(self, zero_hold: float, limit: int) -> None:
        rules = msgspec.structs.replace(
            self.view.rules, zero_hold=zero_hold, series_limit=limit, max_open_age=2e5
        )
        self.view.configure(rules, {"acme": "scripted"})
        self.shown = self.anew()

    def anew(self) -> Exposition:
        return exposition(self.view, self.views, clock=lambda: self.now)

    @rule(
        findings=some_findings("a", st.sampled_from([7.9e5, 8.1e5, 8.6e5, NOW])),
        n=st.integers(0, 2),
    )
    def poll(self, findings: Findings, n: int) -> None:
        target = self.targets[n]
        self.view.learn(findings, target, now=self.now)

    @rule(created_at=st.sampled_from([8.1e5, 8.6e5, NOW]), n=st.integers(0, 2))
    def build_begins(self, created_at: float, n: int) -> None:
        self.serial += 1
        self.poll(Findings(active=[build(str(self.serial), created_at=created_at)]), n)

    @rule(conclusion=st.sampled_from(["passed", "failed"]), n=st.integers(0, 2))
    def build_ends(self, conclusion: str, n: int) -> None:
        self.serial += 1
        news = completed(conclusion=conclusion, number=self.serial)
        self.poll(Findings(completed=news.completed, jobs=job_done().jobs), n)

    @rule(n=st.integers(0, 2), count=st.integers(1, 3))
    def end_builds(self, n: int, count: int) -> None:
        running = list(self.view.active.get(self.targets[n].id, {}))
        self.view.learn(Findings(), self.targets[n], closed=running[:count], now=self.now)

    @rule()
    def first_walk_ends(self) -> None:
        self.targets[2] = msgspec.structs.replace(self.targets[2], cursor=Cursor(0.0, since=1.0))
        self.view.apply(Changes(targets=[self.targets[2]]))

    @rule(repos=st.sets(st.sampled_from("abc")))
    def repos_are_polled(self, repos: set[str]) -> None:
        self.view.polls("acme", repos)

    @rule(seconds=st.sampled_from([1.0, 5e4, 2e5]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        self.at += seconds

    @rule()
    def release(self) -> None:
        self.view.scraped()
        self.at += 100.0
        self.view.release(self.view.due())

    @rule(pick=st.randoms(use_true_random=False))
    def retention_ends(self, pick: Any) -> None:
        idle = [labels for labels in self.view.pipelines if pick.random() < 0.5]
        self.view.forget(idle)

    @rule(branches=st.sampled_from([("main",), ("main", "release/*")]), age=st.floats(1e3, 1e6))
    def reload(self, branches: tuple[str, ...], age: float) -> None:
        rules = msgspec.structs.replace(self.view.rules, branches=branches, max_open_age=age)
        self.view.configure(rules, {"acme": "scripted"})

    @rule()
    def account_leaves_and_comes_back(self) -> None:
        self.view.configure(self.view.rules, {})
        self.view.configure(self.view.rules, {"acme": "scripted"})
        self.view.apply(self.view.snapshot())

    @rule(entry=st.sampled_from(["acme", "x", "y"]), at=st.sampled_from([0.0, 1.0, 2.0]))
    def repo_is_polled(self, entry: str, at: float) -> None:
        known: Any = self.views[0].repos
        known[entry] = Polled(at, 60.0)

    @rule(entry=st.sampled_from(["acme", "x", "y"]))
    def repo_is_gone(self, entry: str) -> None:
        known: Any = self.views[0].repos
        known.pop(entry, None)

    @rule(form=st.sampled_from([*FORMATS, "protobuf"]), steps=st.integers(0, 5))
    def scrape_is_cut_short(self, form: Format, steps: int) -> None:
        work = self.shown.steps(form, packed=True)
        for _ in range(steps):
            next(work, None)

    @invariant()
    def what_is_kept_is_what_is_there(self) -> None:
        if not hasattr(self, "shown"):
            return
        there = samples(self.view, self.now)
        for form in FORMATS:
            fresh = self.anew().text(form)
            assert of_builds(fresh) == there
            for body in (self.shown.text(form), packed(self.shown, form)):
                assert of_builds(body) == there
                assert of_repos(body) == of_repos(fresh)
        native = in_protobuf(self.anew().text("protobuf"))
        assert in_protobuf(self.shown.text("protobuf")) == native
        assert in_protobuf(packed(self.shown, "protobuf")) == native


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
