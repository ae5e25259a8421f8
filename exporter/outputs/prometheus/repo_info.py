"""`cicd_repo_info`: one series for each repo that has a pipeline.

What it says comes from several places: the page from the provider of the account, the default
branch from discovery or else from the builds, the rest from the configuration. So all labels are
those of its group, whose names a reload may change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from exporter.ledger.rows import Labels
from exporter.metrics import families as f
from exporter.metrics.gauges import Items
from exporter.metrics.labels import RepoLabels, address, clean, repo_labels
from exporter.outputs.prometheus.self_metrics import AccountView
from exporter.view.series_view import SeriesView
from exporter.view.slots import SlotTable

_OF_ACCOUNT = 2
"""How many labels say which account it is of."""
_ONE: Items = {f.REPO_INFO.name: [((), (1.0,), None)]}


class _Shown(msgspec.Struct):
    """What was written of a repo."""

    labels: Labels
    slot: int = 0


class RepoInfo:
    """The series of all repos of a view."""

    def __init__(self, view: SeriesView) -> None:
        self.table = SlotTable[_Shown](f.REPO_INFO.labels, f.REPO_INFO)
        self._view = view
        self._stale = view.repos.track()
        self._shown: dict[Labels, _Shown] = {}
        self._rules: tuple[RepoLabels, ...] = ()
        self._accounts: dict[Labels, AccountView] = {}

    def look(self, accounts: Iterable[AccountView], moved: Collection[Labels] = ()) -> None:
        """Write what has changed since the last time.

        `moved` are accounts of whose repos discovery has told other default branches.
        """
        before, self._accounts = self._accounts, {view.labels: view for view in accounts}
        moved = {*moved, *self._with_other_pages(before)}
        rules = self._view.rules.repo_labels
        stale = self._stale
        if rules is not self._rules:
            self._rules = rules
            self.table.labels = (*f.REPO_INFO.labels, *repo_labels("", rules))
            stale.update(self._view.repos)
            for shown in self._shown.values():
                self.table.mark(shown.slot)
        elif moved:
            stale.update(repo for repo in self._view.repos if repo[:_OF_ACCOUNT] in moved)
        for repo in stale:
            self._write(repo)
        stale.clear()

    def _with_other_pages(self, before: Mapping[Labels, AccountView]) -> Iterator[Labels]:
        """The accounts that are new, or have been configured anew."""
        for labels, view in self._accounts.items():
            if labels not in before or before[labels].page_of != view.page_of:
                yield labels

    def _write(self, repo: Labels) -> None:
        shown = self._shown.get(repo)
        target = self._view.repos.target(repo)
        if target is None:
            if shown is not None:
                self.table.remove(self._shown.pop(repo).slot)
            return
        labels = self._labels(repo, self._view.targets[target].repo)
        if shown is None:
            shown = self._shown[repo] = _Shown(labels)
            shown.slot = self.table.add(shown)
        elif shown.labels != labels:
            shown.labels = labels
            self.table.mark(shown.slot)

    def _labels(self, repo: Labels, entry: str) -> Labels:
        """All labels of a repo that is polled by this entry."""
        *account, name = repo
        view = self._accounts.get(tuple(account))
        url = None if view is None else view.page_of(name)
        polled = None if view is None else view.repos.get(entry)
        branch = None if polled is None else polled.default_branch
        branch = branch or self._view.repos.default_branch(repo)
        more = repo_labels(name, self._rules).values()
        return (*repo, address(url), clean(branch or ""), *more)


def read(_: object, families: Iterable[str]) -> Items:
    """What there is to show of a repo."""
    return {family: _ONE[family] for family in families}
