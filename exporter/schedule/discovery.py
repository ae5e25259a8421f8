"""Which repos an account has: the entries of its configuration and what wildcards find."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from exporter.errors import Gone, Malformed, ProviderError
from exporter.ledger.polling import StoredPolling
from exporter.providers import Matches, Provider, Repo, Source
from exporter.schedule.health import AccountHealth
from exporter.schedule.stored import Instant
from exporter.sync.paginator import count

_UNSAFE = re.compile(
    r"(?:^|/)(?:\.|%2e){0,2}(?:/|$)|%2f|%5c|[<>?#\\\s\0-\x1f\x7f\ud800-\udfff]", re.IGNORECASE
)
"""What no name of a repo contains, and what would turn its path into another one."""
_SHOWN = 100
"""Characters of a rejected name that are logged."""


class Discovery:
    """Finds the repos of one account."""

    def __init__(self, source: Source[Provider], health: AccountHealth) -> None:
        self.unresolved: dict[str, str] = {}
        """Why wildcards could not be resolved, by wildcard; a sentence each."""
        self.matches: dict[str, tuple[str, ...]] = {}
        """The entries that each wildcard matched in the last discovery."""
        self.unmatched: dict[str, str] = {}
        """A sentence about each wildcard that matches nothing, by wildcard."""
        self.ended_at: float | None = None
        """When the last discovery ended, or earlier to repeat it soon. Monotonic seconds."""
        self.found_by: dict[str, str] = {}
        """The wildcard that matches a repo, by entry."""
        self.rejected = 0
        """Names that were rejected."""
        self._source = source
        self._provider = source.account
        self._health = health

    def named(self) -> dict[str, Repo]:
        """The entries that need no discovery."""
        entries = (e for e in self._provider.repos if not self._provider.is_wildcard(e))
        return apart(self._provider, {entry: Repo(entry) for entry in entries})

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The entries that must be resolved by discovery, sorted."""
        return tuple(sorted(filter(self._provider.is_wildcard, self._provider.repos)))

    def recall(self, stored: StoredPolling, now: Instant) -> dict[str, Repo]:
        """All repos by entry, as an earlier process has discovered them.

        Repos that the configuration no longer matches are left out. With other wildcards than
        before the next discovery is due at once.
        """
        account = stored.account
        if account.discovered_at and account.wildcards == self.wildcards:
            self.ended_at = now.past(account.discovered_at, written_at=account.written_at)
        self.unresolved = _among(self.wildcards, account.unresolved)
        self.unmatched = _among(self.wildcards, account.unmatched)
        found = self.named()
        for entry, row in stored.repos.items():
            is_left_out = self._provider.excludes(entry) or name_fault(self._provider, entry)
            if entry in found or (row.wildcard in self.wildcards and not is_left_out):
                found[entry] = Repo(entry, row.default_branch)
                if row.wildcard is not None:
                    self.found_by[entry] = row.wildcard
        return apart(self._provider, found)

    def inherit(self, old: Discovery, before: Iterable[Repo]) -> dict[str, Repo]:
        """All repos by entry until this discovery ends: also those that `old` had found."""
        found = self.named()
        if self.wildcards:
            self.found_by |= old.found_by
            kept = {r.entry: r for r in before if not self._provider.excludes(r.entry)}
            found = kept | found
        return found

    async def find(self, before: dict[str, Repo]) -> dict[str, Repo]:
        """All repos by entry; those found `before` stay if a wildcard is in trouble.

        Raises ProviderError if the account as a whole fails, or all that it has to go by.
        """
        found = self.named()
        self.unresolved, self.unmatched = {}, {}
        failure: ProviderError | None = None
        for pattern in filter(self._provider.is_wildcard, self._provider.repos):
            try:
                repos = await self._source.discover(pattern)
            except ProviderError as error:
                count(error, self._source.api.stats)
                if error.account_wide:
                    raise
                # One wildcard's trouble is not that of the other entries.
                self._fails(pattern, error)
                failure = failure or error
            else:
                if isinstance(repos, Matches) and repos.error is not None:
                    count(repos.error, self._source.api.stats)
                    self._fails(pattern, repos.error)
                # Discovery knows more of a repo than an entry does.
                kept = [repo for repo in repos if self._is_taken(repo, pattern)]
                self.matches[pattern] = tuple(repo.entry for repo in kept)
                found |= {repo.entry: repo for repo in kept}
                self.found_by |= dict.fromkeys(self.matches[pattern], pattern)
                if not repos and pattern not in self.unresolved:
                    self._matches_nothing(pattern)
        if self.unresolved:  # what it found before may still be there
            found = before | found
        self.found_by = {entry: by for entry, by in self.found_by.items() if entry in found}
        if failure is not None and not found:
            raise failure  # there is nothing else to be polled
        return apart(self._provider, found)

    def _fails(self, pattern: str, error: ProviderError) -> None:
        """A wildcard, or a part of what it matches, cannot be discovered for now."""
        self.unresolved[pattern] = f"{pattern} cannot be discovered: {error}"
        self._health.log("a wildcard cannot be discovered", error, pattern=pattern)

    def _is_taken(self, repo: Repo, pattern: str) -> bool:
        """Whether a discovered repo is polled; one that is not is counted and logged."""
        error = name_fault(self._provider, repo.entry)
        if error is not None:
            self.rejected += 1
            self._health.log("a wildcard found an odd name", error, pattern=pattern)
        return error is None

    def _matches_nothing(self, pattern: str) -> None:
        """Report a wildcard without a match: perhaps its token may not see the repos."""
        rights = f" ({self._provider.rights})" if self._provider.rights else ""
        text = f"{pattern} matches nothing: check its spelling and what the token may see{rights}"
        self.unmatched[pattern] = text
        self._health.log("a wildcard matches nothing", Gone(text, reason="not_found"))


def _among(wildcards: Iterable[str], texts: Mapping[str, str]) -> dict[str, str]:
    return {wildcard: texts[wildcard] for wildcard in wildcards if wildcard in texts}


def name_fault(provider: Provider, entry: str) -> Malformed | None:
    """Why a discovered name is asked for nothing, as it would become part of a path.

    None if it is one that the provider gives.
    """
    is_usual = provider.has_odd_names or not _UNSAFE.search(entry)
    if is_usual and re.fullmatch(provider.name_pattern, entry):
        return None
    text = f"{entry[:_SHOWN]!r} is no name that {provider.label} gives: it is not polled"
    return Malformed(text, reason="bad_shape")


def apart(provider: Provider, found: Mapping[str, Repo]) -> dict[str, Repo]:
    """Without the repos that polling another one reads too, of which there may be thousands.

    One that several entries spell differently is called as the configuration does.
    """
    named = set(provider.repos)
    chosen: dict[str, Repo] = {}
    for entry in sorted(found, key=lambda entry: (entry not in named, entry)):
        repo, name = found[entry], provider.identity(entry)
        first = chosen.setdefault(name, repo)
        if first.default_branch is None and repo.default_branch is not None:
            chosen[name] = replace(first, default_branch=repo.default_branch)

    def is_inside(name: str) -> bool:
        ends = (end for end, letter in enumerate(name) if letter == "/")
        return provider.reads_below and any(name[:end] in chosen for end in ends)

    kept = {repo.entry: repo for name, repo in chosen.items() if not is_inside(name)}
    return {entry: kept[entry] for entry in found if entry in kept}
