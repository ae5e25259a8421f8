"""The series in memory: what a scrape shows.

`SeriesView.apply` is the only way to change what is shown. It takes rows of the ledger as they
stand after a commit, and it does not matter whether they come from a commit of this process or
from loading the state. The slot tables track which encoded bytes of a scrape are out of date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from time import monotonic

import msgspec

from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Labels,
    PipelineRow,
    SeriesKey,
    SeriesRow,
    Target,
)
from exporter.metrics import cardinality, facts, gauges, grouping
from exporter.metrics import families as f
from exporter.metrics.cardinality import Mark
from exporter.metrics.gauges import Items
from exporter.metrics.labels import clean, pipeline
from exporter.metrics.rules import MetricsRules
from exporter.model import Build
from exporter.view.active import Running
from exporter.view.hold import Hold
from exporter.view.series import Group, Pipeline
from exporter.view.store import Store


class SeriesView(Store):
    """All series and facts of one process.

    `hold=False` (the `once` command) lets every increment in at once.
    """

    def __init__(
        self,
        rules: MetricsRules,
        labels_of: dict[str, str],
        *,
        clock: Callable[[], float] = monotonic,
        hold: bool = True,
    ) -> None:
        super().__init__()
        self.targets: dict[int, Target] = {}
        self.dropped: Counter[str] = Counter()
        """Increments folded or refused because of the limit, by family."""
        self.clock = clock
        self._holds = hold
        self._mark = clock
        self._hold = Hold(clock)
        self._unshown: dict[int, list[Pipeline]] = {}
        self._running = Running()
        self._providers: dict[str, str] = {}
        self._names: set[str | None] = {None}
        self.configure(rules, labels_of)

    # -- what is configured

    def emptied(self, rules: MetricsRules) -> SeriesView:
        """A view of the same accounts that shows nothing yet, and goes by these rules."""
        view = SeriesView(rules, self._providers, clock=self.clock, hold=self._holds)
        view.mark_by(self._mark)
        return view

    def mark_by(self, mark: Callable[[], float]) -> None:
        """What a scrape has to be later than, from now on, to have what is shown at its call.

        By default that is the clock, monotonic seconds.
        """
        self._mark = mark
        self._hold = Hold(self.clock, mark)
        self._hold.span = self.rules.zero_hold

    @property
    def labels_of(self) -> Mapping[str, str]:
        """The `provider` label of each account that is shown."""
        return self._providers

    def configure(self, rules: MetricsRules, labels_of: dict[str, str]) -> None:
        """Use these rules from now on, and show the accounts in `labels_of`.

        `labels_of` maps accounts to their `provider` labels. Accounts that were not shown before
        stay empty until their rows are applied. The buckets must be those that the stored
        histograms have.
        """
        self.rules = rules if self._holds else msgspec.structs.replace(rules, zero_hold=0.0)
        self._leave_out(self._providers.keys() - labels_of.keys())
        self._providers = labels_of
        self._names = {None, *map(clean, labels_of)}
        self._hold.span = self.rules.zero_hold
        for known in self.pipelines.values():
            self._watch(known)
            known.mark(f.LAST_INFO.name)  # the one gauge that a rule hides
        for target, builds in self.active.items():
            for build in [*builds.values()]:
                self._run(target, build)

    def _leave_out(self, accounts: Collection[str]) -> None:
        """Show these accounts no longer."""
        left = {target.id for target in self.targets.values() if target.account in accounts}
        self._forget([labels for labels, known in self.pipelines.items() if known.target in left])
        names = set(map(clean, accounts))
        others = self.others.shape.places
        self.others.remove({own for own in others if grouping.account_of(SeriesKey(*own)) in names})
        self._running.forget(left)
        for target in left:
            del self.targets[target]
            self._unshown.pop(target, None)

    def polls(self, account: str, repos: Collection[str]) -> None:
        """Show the unfinished builds of these repos of an account, and of no others."""
        targets = [target for target in self.targets.values() if target.account == account]
        self._recount(self._running.polled(t.id for t in targets if t.repo in repos))
        self._recount(self._running.unpolled(t.id for t in targets if t.repo not in repos))

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

    def targets_of(self, account: str) -> dict[str, int]:
        """The ids of an account's targets, by repo."""
        return {t.repo: t.id for t in self.targets.values() if t.account == account}

    # -- rows of the ledger

    def apply(self, changes: Changes) -> None:
        """Show these rows; those of accounts that are not configured are ignored.

        Idempotent: applying the same rows again, or a later snapshot of the ledger, shows the
        same.
        """
        for target in changes.targets:
            if target.account in self._providers:
                self._take_target(target)
        self._forget(changes.forgotten)
        moved = {*changes.forgotten, *self._take_pipelines(changes.pipelines)}
        self._take_series(changes.series)
        for key, exemplar in changes.exemplars:
            if (series := self.find(key)) is not None:
                series.note(exemplar)
        for family, times in changes.dropped.items():
            self.dropped[family] = times
        for number, closed in changes.closed:
            self._recount(self._running.drop(number, closed))
        for number, build in (*self._running.affected(moved), *changes.open_builds):
            if number in self.targets:
                self._run(number, build)

    def _is_of_ours(self, row: SeriesRow) -> bool:
        """Whether a series belongs to a pipeline, to a configured account, or to no account."""
        return (
            grouping.depth(row.series.family) > 0 or grouping.account_of(row.series) in self._names
        )

    def _take_target(self, target: Target) -> None:
        before = self.targets.get(target.id)
        self.targets[target.id] = target
        if target.exposed and not (before is not None and before.exposed):
            self._expose(target)

    def _expose(self, target: Target) -> None:
        """The first walk of a repo has ended: counters and histograms are shown from now on."""
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

    def _take_pipelines(self, rows: Iterable[PipelineRow]) -> Iterator[Labels]:
        """Show pipelines; yields those that may now show other unfinished builds."""
        for row in rows:
            if row.target not in self.targets:
                continue
            after = facts.decode(row.facts)
            known = self.pipelines.get(row.labels)
            if cardinality.marks(after, self.rules.series_limit) & Mark.EVICTED:
                self._forget([row.labels])
                yield row.labels
            elif known is None:
                self._begin(row, after)
                yield row.labels
            else:
                has_more = known.facts.statuses != after.statuses
                self.revise(known, after)
                if has_more:
                    yield row.labels

    def _begin(self, row: PipelineRow, after: facts.Facts) -> None:
        target = self.targets[row.target]
        known = self.begin(row.labels, after, target)
        if cardinality.is_catch_all(row.labels):
            known.is_shown = any(
                other.exposed and other.account == target.account for other in self.targets.values()
            )
        elif not target.exposed:
            self._unshown.setdefault(target.id, []).append(known)

    def _forget(self, pipelines: Iterable[Labels]) -> None:
        for labels in pipelines:
            if labels in self.pipelines:
                for group in self.pipelines[labels].groups:
                    for series in group.series():
                        self._hold.forget(series.key)
                self.end(labels)

    def _take_series(self, changed: Iterable[SeriesRow]) -> None:
        for group, rows in self.put(filter(self._is_of_ours, changed)):
            group.mark(*{row.series.family for row in rows})
            if group.is_shown and group is not self.others:
                for row in rows:
                    self._hold.watch(row)

    # -- unfinished builds

    def unassigned(self) -> Iterator[tuple[Target, list[Build]]]:
        """The unfinished builds of each repo that their own pipelines do not show.

        There are some after the limit was lowered or `metrics.branches` was changed.
        """
        for number, builds in self.active.items():
            target = self.targets[number]
            found = [build for build in builds.values() if not self._is_assigned(target, build)]
            if found:
                yield target, found

    def _is_assigned(self, target: Target, build: Build) -> bool:
        known = self.pipelines.get(self.labels(target, build))
        return known is not None and gauges.is_shown(known.facts, build)

    def _run(self, number: int, build: Build) -> None:
        own = self.labels(self.targets[number], build)
        known = ((labels, self.pipelines.get(labels)) for labels in cardinality.pipelines(own))
        homes = (
            labels
            for labels, home in known
            if home and (build.only_jobs or build.status in home.facts.statuses)
        )
        home = next(homes, None)
        self._recount(self._running.put(number, build, home or own, is_own=home == own))

    def _recount(self, pipelines: Iterable[Labels]) -> None:
        """The unfinished builds of these pipelines have changed."""
        for labels in pipelines:
            if labels in self.pipelines:
                self.pipelines[labels].mark(*gauges.UNFINISHED)

    def busy(self) -> set[Labels]:
        """The pipelines that show unfinished builds."""
        return self._running.shown()

    # -- zero hold

    def _watch(self, known: Pipeline) -> None:
        """Begin or end the hold of its series, if it is shown."""
        for group in known.groups if known.is_shown else ():
            for series in group.series() if group.closed or group.held else ():
                self._hold.watch(series.row)

    def scraped(self, at: float | None = None) -> None:
        """Note that a scrape was delivered whole, as of the mark `at`; by default the clock now."""
        self._hold.scraped(self.clock() if at is None else at)

    def due(self, accounts: Collection[str] | None = None) -> list[SeriesKey]:
        """Some of the series whose hold is over, to be released; none if there are no more.

        Those of these accounts, by default of all.
        """
        names = None if accounts is None else {*map(clean, accounts)}
        return self._hold.due(lambda key: names is None or grouping.account_of(key) in names)

    # -- reading

    @property
    def active(self) -> dict[int, dict[AttemptKey, Build]]:
        """The unfinished builds of each target."""
        return self._running.by_target

    def gauges(self, now: float) -> Iterator[tuple[str, Labels, float]]:
        """The gauges of all pipelines: family, labels, value. `now` is epoch."""
        for labels, known in self.pipelines.items():
            for shown in (*self._gauges_of(known, now), gauges.of_ended_jobs(known.facts)):
                for family, items in shown.items():
                    for own, (value,), _ in items:
                        yield family, labels + own, value

    def _gauges_of(self, known: Pipeline, now: float) -> tuple[Items, Items]:
        builds = self._running.of(known.labels)
        since = now - self.rules.max_open_age
        unfinished, first = gauges.of_unfinished(known.facts, builds, since=since)
        if builds:
            self._running.began(known.labels, first)
        latest = gauges.of_latest(known.facts)
        if not self.rules.build_info:
            latest.pop(f.LAST_INFO.name, None)
        return latest, unfinished

    def age(self, now: float) -> None:
        """Let what is too old by now leave the gauges. `now` is epoch."""
        self._recount(self._running.aged(now - self.rules.max_open_age))

    def read(self, group: Group, families: Iterable[str], now: float) -> Items:
        """What there is to show of these families of a group. `now` is epoch.

        Gauges are there from the first page on that was read of a repo.
        """
        found = group.items(families) if group.is_shown else {family: [] for family in families}
        if isinstance(group, Pipeline):
            kinds: tuple[Items, ...] = ()
            if not _GAUGES.isdisjoint(found):
                kinds = self._gauges_of(group, now)
            if not _OF_JOBS.isdisjoint(found):
                kinds += (gauges.of_ended_jobs(group.facts),)
            for shown in kinds:
                for family, items in shown.items():
                    if family in found:
                        found[family] = items
        return found


_GAUGES = frozenset((*gauges.LATEST, *gauges.UNFINISHED))
_OF_JOBS = frozenset(gauges.ENDED_JOBS)
