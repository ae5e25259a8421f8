"""The repos that pipelines belong to, and which of them have changed."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.ledger.rows import Labels
from exporter.metrics import cardinality
from exporter.metrics.facts import Facts
from exporter.view.series import Pipeline

OF_REPO = 3
"""How many labels of a pipeline say which repo it is of: provider, account, repo."""


class Repos:
    """The pipelines of each repo, but for those that count for other repos as well."""

    def __init__(self) -> None:
        self._pipelines: dict[Labels, dict[Labels, Pipeline]] = {}
        self._trackers: list[set[Labels]] = []

    def track(self) -> set[Labels]:
        """The repos that come, go, or may have another default branch, beginning with all.

        They are called by provider, account and `repo` label. The reader takes out what it has
        read.
        """
        changed = set(self._pipelines)
        self._trackers.append(changed)
        return changed

    def _mark(self, repo: Labels) -> None:
        for changed in self._trackers:
            changed.add(repo)

    def __iter__(self) -> Iterator[Labels]:
        return iter(self._pipelines)

    def add(self, pipeline: Pipeline) -> None:
        """A pipeline has begun."""
        if not cardinality.is_catch_all(pipeline.labels):
            repo = pipeline.labels[:OF_REPO]
            self._pipelines.setdefault(repo, {})[pipeline.labels] = pipeline
            self._mark(repo)

    def revise(self, pipeline: Pipeline, before: Facts) -> None:
        """More is known of a pipeline than `before`."""
        if before.is_default or pipeline.facts.is_default:
            self._mark(pipeline.labels[:OF_REPO])

    def remove(self, pipeline: Pipeline) -> None:
        """A pipeline is no more."""
        repo = pipeline.labels[:OF_REPO]
        known = self._pipelines.get(repo, {})
        if known.pop(pipeline.labels, None) is not None:
            self._mark(repo)
        if not known:
            self._pipelines.pop(repo, None)

    def target(self, repo: Labels) -> int | None:
        """The target of a repo that is there."""
        return next((one.target for one in self._pipelines.get(repo, {}).values()), None)

    def default_branch(self, repo: Labels) -> str | None:
        """The default branch, as the latest build of one knew it."""
        defaults = [
            (one.facts.latest, labels[-1])
            for labels, one in self._pipelines.get(repo, {}).items()
            if one.facts.is_default and one.facts.latest is not None
        ]
        return max(defaults, default=(None, None))[1]
