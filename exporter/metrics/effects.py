"""The effects of findings, event by event, regardless of whether there is room for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import msgspec

from exporter.ledger.rows import Findings, JobCompleted, Labels, SeriesKey, Target, Touched
from exporter.metrics import cardinality, facts, grouping, increments
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.increments import Increment
from exporter.metrics.labels import build_info, pipeline
from exporter.metrics.rules import MetricsRules
from exporter.model import Build, Job

Observed = tuple[Build | Job, Build]
"""A build or job, and the build that it belongs to."""


class Effect(msgspec.Struct, frozen=True):
    """The effect of one event."""

    labels: Labels | None = None
    """The pipeline, if the event belongs to one."""
    learn: Callable[[Facts, float], Facts] | None = None
    """Returns the pipeline's facts after the event, given those before and the time."""
    unfinished: Build | None = None
    """An unfinished build, to be shown in the gauges."""
    ended: Build | None = None
    """A build that has ended, or has ended again."""
    jobs: tuple[JobCompleted, ...] = ()
    """Jobs of the pipeline that have ended, to be shown in the gauges."""
    zeros: tuple[SeriesKey, ...] = ()
    """Counters of the pipeline that start at 0 unless they exist."""
    increments: tuple[Increment, ...] = ()
    observed: Observed | None = None
    """What the increments were observed on."""


def effects_of(
    findings: Findings,
    *,
    target: Target,
    provider: str,
    rules: MetricsRules,
    events: Iterable[Increment] = (),
) -> list[Effect]:
    """The effects of `findings` about a repo; `provider` is the label of its account.

    `events` are increments that belong to no build, such as a gap.
    """

    def labels_of(build: Build) -> Labels:
        return pipeline(build, provider=provider, account=target.account, shown=rules.branches)

    effects = [_unfinished(build, labels_of(build)) for build in findings.active]
    for news in findings.completed:
        labels = labels_of(news.build)
        effects.append(
            Effect(
                labels,
                _completes(news.build, facts.completed, rules),
                zeros=increments.build_zeros(labels, news.build.trigger),
                increments=tuple(increments.of_build(news, labels, rules.buckets)),
                observed=(news.build, news.build),
                ended=news.build,
            )
        )
    ended: dict[Labels, list[JobCompleted]] = {}
    for done in findings.jobs:
        ended.setdefault(labels_of(done.build), []).append(done)
    effects += [Effect(labels, jobs=tuple(jobs)) for labels, jobs in ended.items()]
    for labels, done in ((labels, done) for labels, jobs in ended.items() for done in jobs):
        effects.append(
            Effect(
                labels,
                zeros=increments.job_zeros(labels, done.job.name),
                increments=tuple(increments.of_job(done, labels, rules.buckets)),
                observed=(done.job, done.build),
            )
        )
    for again in findings.corrected:
        how = functools.partial(facts.corrected, ended=again.ended)
        learn = _completes(again.build, how, rules)
        effects.append(Effect(labels_of(again.build), learn, ended=again.build))
    counted = [increments.count(f.ANOMALIES, provider, kind) for kind in findings.anomalies]
    counted += [increments.count(f.UNMAPPED, provider, word.field) for word in findings.unmapped]
    counted += events
    if counted:
        effects.append(Effect(increments=tuple(counted)))
    return effects


def touched(effects: Iterable[Effect], *, folded: bool = False) -> Touched:
    """The rows that these effects may read or change.

    With `folded`, the series that increments fold into are included; they are needed only if
    there is not room for all new series.
    """
    homes: dict[Labels, None] = {}
    keys: dict[SeriesKey, None] = {}
    for effect in effects:
        if effect.labels is not None and effect.labels not in homes:
            homes.update(dict.fromkeys(cardinality.pipelines(effect.labels)))
        keys.update(dict.fromkeys(effect.zeros))
        for key, _ in effect.increments:
            keys[key] = None
            if folded and key.family in grouping.OF_PIPELINES:
                keys.update((place.series, None) for place in cardinality.places(key))
    return Touched(homes, keys)


def _completes(
    build: Build, how: Callable[..., Facts], rules: MetricsRules
) -> Callable[[Facts, float], Facts]:
    word = increments.conclusion_label(build)
    info = build_info(build) if rules.build_info else None

    def learn(known: Facts, now: float) -> Facts:
        after = how(known, build, conclusion=word, now=now, info=info)
        return after if after.own else msgspec.structs.replace(after, own=True)

    return learn


def _unfinished(build: Build, labels: Labels) -> Effect:
    if build.partial:  # it only waits for what will tell how it stands
        return Effect()
    zeros = () if build.only_jobs else increments.build_zeros(labels, build.trigger)
    for job in build.jobs:
        zeros += increments.job_zeros(labels, job.name)
    return Effect(labels, unfinished=build, zeros=zeros)
