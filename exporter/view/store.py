"""Where the series are: those of a pipeline together, those of a job in it together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.ledger.rows import Labels, SeriesKey, SeriesRow, Target, Vector
from exporter.metrics import families as f
from exporter.metrics import grouping
from exporter.metrics.facts import Facts
from exporter.metrics.gauges import ENDED_JOBS, LATEST, UNFINISHED, room_for
from exporter.view.repos import Repos
from exporter.view.series import Group, Jobs, Pipeline, Series, interned, own_key
from exporter.view.slots import SlotTable


class Store:
    """Pipelines and series by their names."""

    def __init__(self) -> None:
        self.pipelines: dict[Labels, Pipeline] = {}
        self.of_pipelines = SlotTable[Pipeline](f.PIPELINE, *grouping.OF_PIPELINE)
        self.of_jobs = SlotTable[Jobs](f.JOB, *grouping.OF_JOB)
        self.others = Group()
        """The series that are not of a pipeline."""
        self.repos = Repos()
        self.samples = 0
        """How many samples the pipelines have; of gauges, how many they can ever have."""
        self._jobs: dict[Labels, Jobs] = {}

    def begin(self, labels: Labels, facts: Facts, target: Target) -> Pipeline:
        """A new pipeline."""
        pipeline = Pipeline(
            interned(labels), facts=facts, target=target.id, is_shown=target.exposed
        )
        pipeline.enter(self.of_pipelines)
        self.pipelines[pipeline.labels] = pipeline
        self.samples += room_for(facts)
        self.repos.add(pipeline)
        return pipeline

    def revise(self, pipeline: Pipeline, facts: Facts) -> None:
        """More is known of a pipeline."""
        self.samples += room_for(facts) - room_for(pipeline.facts)
        of_jobs = ENDED_JOBS if facts.jobs != pipeline.facts.jobs else ()
        before, pipeline.facts = pipeline.facts, facts
        self.repos.revise(pipeline, before)
        pipeline.mark(*LATEST, *UNFINISHED, *of_jobs)

    def end(self, labels: Labels) -> None:
        """A pipeline is no more, nor are its series."""
        pipeline = self.pipelines.pop(labels)
        self.samples -= room_for(pipeline.facts)
        self.repos.remove(pipeline)
        for group in pipeline.groups:
            group.leave()
            self._jobs.pop(group.labels, None)
            self.samples -= group.shape.samples

    def find(self, key: SeriesKey) -> Series | None:
        """The series of this name."""
        group = self._group(key.labels[: grouping.depth(key.family)])
        return None if group is None else group.find(own_key(key))

    def put(self, rows: Iterable[SeriesRow]) -> Iterator[tuple[Group, list[SeriesRow]]]:
        """Show series as these rows have them, but none of pipelines that are not there.

        Yields each group with its rows.
        """
        groups: dict[Labels, list[SeriesRow]] = {}
        for row in rows:
            groups.setdefault(row.series.labels[: grouping.depth(row.series.family)], []).append(
                row
            )
        for labels, own in groups.items():
            if not labels:
                self.others.put(own)
                yield self.others, own
            elif labels[: len(f.PIPELINE)] in self.pipelines:
                group = self._group(labels) or self._begin_jobs(labels)
                self.samples += group.put(own)
                yield group, own

    def _group(self, labels: Labels) -> Group | None:
        if not labels:
            return self.others
        return self.pipelines.get(labels) or self._jobs.get(labels)

    def _begin_jobs(self, labels: Labels) -> Jobs:
        pipeline = self.pipelines[labels[: len(f.PIPELINE)]]
        jobs = Jobs(interned(labels), pipeline=pipeline)
        jobs.enter(self.of_jobs)
        pipeline.jobs.append(jobs)
        self._jobs[jobs.labels] = jobs
        return jobs

    # -- reading

    @property
    def series(self) -> dict[SeriesKey, Series]:
        """All series, also those that are not shown."""
        groups: list[Group] = [self.others, *self.pipelines.values(), *self._jobs.values()]
        return {series.key: series for group in groups for series in group.series()}

    def stored(self) -> Iterator[tuple[SeriesKey, Vector]]:
        """Counters and histograms to expose."""
        for key, series in self.series.items():
            if series.group.is_shown:
                yield key, series.vector
