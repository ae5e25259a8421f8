"""What a source is asked for and what it returns: repos, and pages of their builds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from exporter.errors import ProviderError
from exporter.model import Build
from exporter.payload import each

T = TypeVar("T")


class Repo(msgspec.Struct, frozen=True):
    """One thing to poll: an entry of `repos`, or what a wildcard found."""

    entry: str
    """As in the configuration; the `repo` label of the poll metrics."""
    default_branch: str | None = None
    """Where discovery tells it."""


class Matches(list[Repo]):
    """What a wildcard matches, as far as the list of repos can be read."""

    def __init__(self, repos: Iterable[Repo], error: ProviderError | None = None) -> None:
        super().__init__(repos)
        self.error = error
        """Why there may be more: a page of the list fails."""


class Query(msgspec.Struct, frozen=True):
    """Which page of a repo's builds is wanted."""

    since: float
    """Builds that ended before this need not be listed. Epoch seconds, the provider's clock."""
    size: int
    """How many items a page should have; a hint."""
    token: str | None = None
    """`Page.next` of the page before; None asks for the first, the newest."""
    deep: bool = False
    """Whether all builds since then are wanted, not only what is new or still runs. Else a
    list in order of creation may end at the first build created before `since`."""
    behind: Mapping[str, float] = {}
    """Parts that earlier polls could not read (`Page.unread`), and the time from which on their
    builds are missing."""
    unfilled: frozenset[str] = frozenset()
    """Builds, by `Build.native_id`, whose details could not be read by earlier polls."""

    def since_for(self, part: str) -> float:
        """From when on the builds of one part are wanted: earlier where it could not be read."""
        return min(self.since, self.behind.get(part, self.since))


class Unread(msgspec.Struct, frozen=True):
    """A part of a list that could not be read while its siblings could."""

    part: str
    """Which one, the same at each poll, such as the path of a branch job."""
    error: ProviderError


class Page(msgspec.Struct, frozen=True):
    """Builds as one listing page has them, newest first."""

    builds: tuple[Build, ...]
    next: str | None = None
    """Asks for the page after this one; None at the end of the list."""
    rejected: int = 0
    """Items that could not be understood and are left out."""
    unread: tuple[Unread, ...] = ()
    """Parts that failed. Their builds are read from then on when they answer again."""
    cut_off: bool = False
    """Whether the API lists no further although there is more: what is behind is a gap."""

    @classmethod
    def of(
        cls,
        raws: Iterable[msgspec.Raw],
        into: type[T],
        to_build: Callable[[T], Build],
        next: str | None = None,  # noqa: A002 - as the field
    ) -> Page:
        """The builds of listed items, each decoded as `into`; counts those that are unlike it."""
        items, rejected = each(raws, into)
        return cls(tuple(map(to_build, items)), next, rejected)
