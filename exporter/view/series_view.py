"""The series in memory: what a scrape shows.

A change is computed (`draft`), committed to the ledger, and only then applied here, so
that memory never shows what a crash could take back. Those who keep the bytes of a
scrape learn from the rosters what shows differently then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from time import monotonic

import msgspec

from exporter.ledger.rows import (
    AttemptKey,
    Change,
    Delta,
    Labels,
    Loaded,
    SeriesKey,
    StoredSeries,
    Target,
    Verdict,
)
from exporter.metrics import cardinality, gauges
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.families import Buckets
from exporter.metrics.gauges import Items
from exporter.metrics.labels import clean, pipeline
from exporter.model import Build
from exporter.view import evicted
from exporter.view.active import Running
from exporter.view.evicted import Hidden, Remembered
from exporter.view.hold import Hold
from exporter.view.series import Group, Pipeline, Series
from exporter.view.store import Store, is_pipeline_family, pipeline_of

_decode = msgspec.msgpack.Decoder(Facts).decode


class Rules(msgspec.Struct, frozen=True):
    """What the configuration says about metrics. Spans in seconds."""

    branches: tuple[str, ...]
    buckets: Buckets
    zero_hold: float
    series_limit: int
    max_open_age: float
    native: bool = False
    """Whether native buckets are counted beside the classic ones."""


class SeriesView(Store):
    """All series and facts of one process.

    `hold=False` (the `once` command) lets every increment in at once.
    """

    def __init__(
        self,
        rules: Rules,
        labels_of: dict[str, str],
        *,
        clock: Callable[[], float] = monotonic,
        hold: bool = True,
    ) -> None:
        super().__init__()
        self.targets: dict[int, Target] = {}
        self.hidden: dict[Labels, Hidden] = {}
        """Pipelines that the state knows and a lowered `series_limit` has no room for."""
        self.dropped: Counter[str] = Counter()
        """Increments folded or refused because of the limit, by family."""
        self.clock = clock
        self._holds = hold
        self._hold = Hold(clock)
        self._unshown: dict[int, list[Pipeline]] = {}
        self._running = Running()
        self.rules = rules
        self.obey(rules, labels_of)

    # -- start and reload ------------------------------------------------------------

    def obey(self, rules: Rules, labels_of: dict[str, str]) -> None:
        """Go by these rules from now on, and by these `provider` labels of the accounts.

        The buckets must be the ones that the histograms were begun with.
        """
        is_lower = rules.series_limit < self.rules.series_limit
        self.rules = rules
        self._providers = labels_of
        self._hold.span = rules.zero_hold if self._holds else 0.0
        self._reserve = cardinality.reserve(rules.series_limit)
        if is_lower:
            self._hide()
        for known in self.pipelines.values():
            self._watch(known)
        for target, builds in self.active.items():
            for build in [*builds.values()]:
                self._run(self.targets[target], build)

    def leave_out(self, accounts: Collection[str]) -> None:
        """Show these accounts no longer; `load` brings them back as the ledger has them."""
        left = {target.id for target in self.targets.values() if target.account in accounts}
        self.forget([labels for labels, known in self.pipelines.items() if known.target in left])
        names = set(map(clean, accounts))
        others = self.others.shape.places
        self.others.remove({own for own in others if account_of(SeriesKey(*own)) in names})
        self.hidden = {labels: h for labels, h in self.hidden.items() if labels[1] not in names}
        self._running.forget(left)
        for target in left:
            del self.targets[target]
            self._unshown.pop(target, None)

    def load(self, loaded: Loaded) -> None:
        """Take over what the ledger remembers and is not here yet."""
        here = set(self.targets)
        self.targets.update((target.id, target) for target in loaded.targets)
        rows: dict[Labels, list[StoredSeries]] = {}
        for row in loaded.series:
            if is_pipeline_family(row.series.family):
                rows.setdefault(pipeline_of(row.series), []).append(row)
            elif self.find(row.series) is None:
                self.insert([row])
        known = [
            Remembered(target, labels, _decode(blob), rows.get(labels, []))
            for target, labels, blob in loaded.pipelines
            if labels not in self.pipelines
        ]
        limit = self.rules.series_limit
        is_lower = loaded.series_limit > limit
        shown, hidden = evicted.split(known, self.samples, limit, is_lower=is_lower)
        for one in shown:
            self.hidden.pop(one.labels, None)
            self._remember(one.labels, one.facts, self.targets[one.target])
            self.insert(one.series)
            self._watch(self.pipelines[one.labels])
        for one in hidden:
            keys = [row.series for row in one.series]
            self.hidden[one.labels] = Hidden(one.target, one.facts, keys)
        evicted.tell(self.hidden, limit)
        for target, build in loaded.active:
            if target not in here:
                self._run(self.targets[target], build)

    def _hide(self) -> None:
        """Leave free what is reserved at a lower limit."""
        by_rank = sorted(self.pipelines.values(), key=lambda k: evicted.rank(k.labels, k.facts))
        for idle in by_rank:
            if self.room(0, cardinality.OWN):
                break
            hidden = Hidden(idle.target, idle.facts, self.keys(idle.labels))
            self.forget([idle.labels])
            self.hidden[idle.labels] = hidden
        evicted.tell(self.hidden, self.rules.series_limit)

    def choice(self) -> Iterator[tuple[Target, Change]]:
        """Which pipelines are hidden, as far as the ledger has not been told yet."""
        limit = self.rules.series_limit
        for target, change in evicted.choice(self.hidden, self.pipelines.values(), limit):
            yield self.targets[target], change

    def provider_of(self, target: Target) -> str:
        """The `provider` label of a target's account."""
        return self._providers[target.account]

    def labels(self, target: Target, build: Build) -> Labels:
        """The pipeline labels of a build."""
        return pipeline(
            build,
            provider=self.provider_of(target),
            account=target.account,
            shown=self.rules.branches,
        )

    # -- after the commit ------------------------------------------------------------

    def apply(self, target: Target, verdict: Verdict, change: Change) -> None:
        """Make a committed change visible."""
        self.targets[target.id] = target
        for labels, blob in change.pipelines:
            self._remember(labels, _decode(blob), target)
        new = (delta for delta in change.deltas if self.find(delta.series) is None)
        self.insert(
            StoredSeries(delta.series, (0.0,) * len(delta.vector), held=None, opened=False)
            for delta in new
        )
        for delta in change.deltas:
            self._add(delta)
        self.dropped.update(change.dropped)
        for key in verdict.settled:
            self._recount(self._running.drop(target.id, key))
        for build in verdict.active:
            self._run(target, build)

    def expose(self, target: Target) -> None:
        """The first walk of a repo has ended: its series are shown from now on."""
        self.targets[target.id] = target
        shown = self._unshown.pop(target.id, [])
        all_of_it = cardinality.catch_all(self.provider_of(target), clean(target.account))
        if all_of_it in self.pipelines:
            shown.append(self.pipelines[all_of_it])
        for known in shown:
            if self.pipelines.get(known.labels) is known:  # else it was forgotten meanwhile
                known.is_shown = True
                self._watch(known)
                for group in known.groups:
                    group.mark()

    def polls(self, account: str, repos: Collection[str]) -> None:
        """Show the unfinished builds of these repos of an account, and of no others."""
        targets = [target for target in self.targets.values() if target.account == account]
        self._recount(self._running.polled(t.id for t in targets if t.repo in repos))
        self._recount(self._running.unpolled(t.id for t in targets if t.repo not in repos))

    def homeless(self) -> Iterator[tuple[Target, Verdict]]:
        """The unfinished builds whose pipelines are not there, as news of each repo.

        The limit is lower now, or other branches are shown.
        """
        for number, builds in self.active.items():
            target = self.targets[number]
            found = [build for build in builds.values() if not self._has_home(target, build)]
            if found:
                yield target, Verdict(active=found)

    def _has_home(self, target: Target, build: Build) -> bool:
        known = self.pipelines.get(self.labels(target, build))
        return known is not None and gauges.is_shown(known.facts, build)

    def _run(self, target: Target, build: Build) -> None:
        own = self.labels(target, build)
        known = ((labels, self.pipelines.get(labels)) for labels in cardinality.pipelines(own))
        homes = (
            labels
            for labels, home in known
            if home and (build.only_jobs or build.status in home.facts.statuses)
        )
        labels = next(homes, own)
        self._recount(self._running.put(target.id, build, labels))

    def _recount(self, pipelines: Iterable[Labels]) -> None:
        """The unfinished builds of these pipelines have changed."""
        for labels in pipelines:
            if labels in self.pipelines:
                self.pipelines[labels].mark(*gauges.UNFINISHED)

    def _remember(self, labels: Labels, facts: Facts, target: Target) -> None:
        known = self.pipelines.get(labels)
        if known is None:
            known = self.begin(labels, facts, target)
            if cardinality.is_catch_all(labels):
                known.is_shown = any(
                    other.exposed and other.account == target.account
                    for other in self.targets.values()
                )
            elif not target.exposed:
                self._unshown.setdefault(target.id, []).append(known)
        else:
            self.revise(known, facts)

    def _add(self, delta: Delta) -> None:
        series = self.find(delta.series)
        if series is None:
            return
        if delta.held:
            series.hold(delta.vector)
        else:
            series.add(delta.vector)
        if delta.opened:
            series.open()
        for exemplar in delta.exemplars:
            series.note(exemplar)
        if delta.cells:
            series.spread(delta)
        self._changed(series)

    def _changed(self, series: Series) -> None:
        group = series.group
        group.mark(series.own[0])
        if group.is_shown and group is not self.others:
            self._hold.watch(series)

    def _watch(self, known: Pipeline) -> None:
        """Its series are shown, if they are."""
        for group in known.groups if known.is_shown else ():
            for series in group.series() if group.closed or group.held else ():
                self._hold.watch(series)

    # -- zero hold -------------------------------------------------------------------

    @property
    def immediate(self) -> bool:
        """Whether nothing is held back."""
        return self._hold.span <= 0

    def scraped(self, at: float | None = None) -> None:
        """Somebody has received all of the telemetry path as it was `at` that time, or now."""
        self._hold.scraped(self.clock() if at is None else at)

    def seen_at_zero(self, key: SeriesKey) -> bool:
        """Whether a series that is not open was exposed long enough, and to somebody."""
        return self._hold.is_over(key)

    def due(self) -> list[SeriesKey]:
        """Some of the series whose hold is over, to be opened; none if there are no more."""
        return self._hold.due()

    def release(self, keys: Iterable[SeriesKey]) -> None:
        """Open series after the ledger has: what was held enters."""
        for key in keys:
            series = self.find(key)
            if series is not None:
                series.release()
                self._changed(series)

    # -- forgetting ------------------------------------------------------------------

    def idle(self, before: float) -> list[Labels]:
        """Pipelines that saw no build since `before` (epoch) and have none unfinished."""
        busy = self._running.shown()
        hidden = [labels for labels, known in self.hidden.items() if known.facts.touched < before]
        return hidden + [
            labels
            for labels, known in self.pipelines.items()
            if known.facts.touched < before and labels not in busy
        ]

    def forget(self, pipelines: Iterable[Labels]) -> None:
        """Drop pipelines and their series."""
        for labels in pipelines:
            if self.hidden.pop(labels, None) is not None:
                continue
            for key in self.keys(labels):
                self._hold.forget(key)
            self.end(labels)

    def keys(self, labels: Labels) -> list[SeriesKey]:
        """The series of a pipeline, be it shown or hidden."""
        hidden = self.hidden.get(labels)
        return super().keys(labels) if hidden is None else hidden.series

    # -- reading ---------------------------------------------------------------------

    def room(self, samples: int, kept: float) -> bool:
        """Whether so many more samples stay within `series_limit`.

        `kept` is the share that must be left of what is reserved for series that others
        fold into.
        """
        return self.samples + samples + kept * self._reserve <= self.rules.series_limit

    @property
    def active(self) -> dict[int, dict[AttemptKey, Build]]:
        """The unfinished builds of each target."""
        return self._running.by_target

    def gauges(self, now: float) -> Iterator[tuple[str, Labels, float]]:
        """The gauges of all shown pipelines: family, labels, value. `now` is epoch."""
        for labels, known in self.pipelines.items():
            if known.is_shown:
                for shown in self._gauges_of(known, now):
                    for family, items in shown.items():
                        for own, (value,), _ in items:
                            yield family, labels + own, value

    def _gauges_of(self, known: Pipeline, now: float) -> tuple[Items, Items]:
        builds = self._running.of(known.labels)
        since = now - self.rules.max_open_age
        unfinished, first = gauges.of_unfinished(known.facts, builds, since=since)
        if builds:
            self._running.began(known.labels, first)
        return gauges.of_latest(known.facts), unfinished

    def age(self, now: float) -> None:
        """Let what is too old by now leave the gauges. `now` is epoch."""
        self._recount(self._running.aged(now - self.rules.max_open_age))

    def read(self, group: Group, families: Iterable[str], now: float) -> Items:
        """What there is to show of these families of a group. `now` is epoch."""
        if not group.is_shown:
            return {family: [] for family in families}
        found = group.items(families)
        if isinstance(group, Pipeline) and not _GAUGES.isdisjoint(found):
            for shown in self._gauges_of(group, now):
                for family, items in shown.items():
                    if family in found:
                        found[family] = items
        return found


_GAUGES = frozenset((*gauges.LATEST, *gauges.UNFINISHED))


def account_of(key: SeriesKey) -> str | None:
    """The `account` label of a series; None where its family has none."""
    names = f.BY_NAME[key.family].labels
    return key.labels[names.index("account")] if "account" in names else None
