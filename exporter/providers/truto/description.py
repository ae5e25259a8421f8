"""What people read of a build behind the unified API: commit, author, title and page. No I/O."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.model import Actor, Build
from exporter.payload import subject, word
from exporter.providers import Site
from exporter.providers.truto.integration import Integration
from exporter.providers.truto.payload import Run

_ACTORS = {
    "user": Actor.USER,
    "team": Actor.USER,
    "organization": Actor.USER,
    "bot": Actor.BOT,
    "app_user": Actor.BOT,
}
"""The unified API's words for who begins builds, and native ones that it passes on."""
_FIELDS = (
    *("commit", "commit_at", "title", "triggered_by", "triggered_by_type"),
    *("pull_request", "url", "environment"),
)


def described(how: Integration, item: Run, build: Build, site: Site) -> Build:
    """`build` with what people read of it, by the list item and then by the raw object in it."""
    fields = how.origin(item, build)
    commit, by = subject(item.commit), subject(item.triggered_by)
    if commit is not None:
        fields["commit"] = commit
    if by is not None:
        kind = _ACTORS.get(word(item.triggered_by_type) or "")
        fields |= {"triggered_by": by, "triggered_by_type": kind or _kind_of(by)}
    return replace(build, url=how.pages.build(site, build, item), **fields)


def described_by(build: Build, other: Build) -> Build:
    """`build` with what it lacks of this taken from another answer about the same attempt."""
    lacking = {
        field: value
        for field in _FIELDS
        if getattr(build, field) is None and (value := getattr(other, field)) is not None
    }
    return replace(build, **lacking) if lacking else build


def _kind_of(name: str) -> Actor | None:
    return Actor.BOT if name.endswith("[bot]") else None
