"""What differs between the CI systems behind the unified API, as one description each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from exporter.model import Build, Job
from exporter.model.vocabulary import Words
from exporter.payload import at, text
from exporter.providers import Site
from exporter.providers.truto.payload import Resource, Run
from exporter.redaction import shown

Scope = Callable[[str, str], dict[str, str]]
"""Query parameters of a call, from a `repos` entry and a build's id."""

BUILD = ("build_id", "build")
"""How the jobs list names the build. The parameter's name is seen nowhere in the
documentation, and what is not supported is ignored: so both are sent."""


def named(*names: str, build: tuple[str, ...] = ()) -> Scope:
    """Gives each part of an entry its parameter, and the build's id those of `build`.

    The last part keeps its slashes. Two names in one string are two parameters for the
    same part. A part that the entry does not have is not sent.
    """

    def scope(entry: str, build_id: str) -> dict[str, str]:
        parts = zip(names, entry.split("/", len(names) - 1), strict=False)
        params = {name: part for both, part in parts for name in both.split()}
        return params | dict.fromkeys(build, build_id)

    return scope


class Entry(msgspec.Struct, frozen=True):
    """What an entry of `repos` looks like."""

    shape: str
    """In the words of the documentation, for messages."""
    pattern: str
    """A regular expression for all of an entry that is no wildcard."""
    wildcard: str | None = None
    """The shape of a wildcard, `*` for its star; None where there is none."""
    nested: bool = False
    """Whether an entry with more parts is a part of the one with fewer."""
    identity: Callable[[str], str] = str
    """What an entry names, however it is spelled."""
    names: str = r".+"
    """A regular expression for all of a discovered entry, by the names that the system allows."""

    def fault(self, entry: str) -> str | None:
        """Why `entry` is none of these: one line with what to write; None if it is one."""
        said = shown(entry, 100)
        forms = self.shape if self.wildcard is None else f"{self.shape} or {self.wildcard}"
        if entry != entry.strip():
            return f"{said} begins or ends with a space (remove it)"
        if "*" not in entry:
            known = re.fullmatch(self.pattern, entry)
            return None if known else f"{said} is not of the form {self.shape} (write {forms})"
        if self.wildcard is None:
            return f"{said}: nothing can be discovered here (write each {self.shape})"
        star = re.sub(r"\w+", "[^/*]+", self.wildcard.replace("*", r"\*"))
        known = re.fullmatch(star, entry)
        return None if known else f"{said} is no wildcard of this integration (write {forms})"


class Discovery(msgspec.Struct, frozen=True):
    """How a wildcard is resolved."""

    resource: str
    """`repos`, `workspaces` or `workflow`, as the API's path has it."""
    scope: Callable[[str], dict[str, str]]
    """Query parameters, from the pattern."""
    entry: Callable[[str, Resource], str | None]
    """The entry of a found place, from the pattern; None if it is no match after all."""


def owner_of(pattern: str) -> str:
    """The part of a wildcard before its star: `acme` of `acme/*`."""
    return pattern.rpartition("/")[0]


def everything(pattern: str) -> dict[str, str]:
    """No parameters: the account's whole list."""
    del pattern
    return {}


def owned(pattern: str, place: Resource) -> str | None:
    """The entry of an owner's repo: `acme/shop` for `acme/*`.

    Its last part is the raw slug, else the name, else the id. A filter that a system
    does not support is ignored in silence, so a repo that says its full name and is
    another owner's is no match.
    """
    owner = owner_of(pattern)
    name = text(place.name) or place.native_id
    full = text(at(place.remote_data, "full_name")) or name
    if "/" in full:
        raw = map(partial(at, place.remote_data), ("workspace.slug", "workspace.uuid"))
        owners = {owner_of(full), text(place.owner), *map(text, raw)}
        if owner.casefold() not in {o.casefold() for o in owners if o is not None}:
            return None
    slug = text(at(place.remote_data, "slug")) or name.rpartition("/")[2]
    return f"{owner}/{slug}"


def id_of(pattern: str, place: Resource) -> str:
    """An entry that is the id of the place, whatever the pattern."""
    del pattern
    return place.native_id


Refine = Callable[[Build, Run, str], Build]
"""A build as its fields tell it, its list item, and the entry: the build corrected."""


def _as_it_is(build: Build, item: Run, entry: str) -> Build:
    del item, entry
    return build


RefineJobs = Callable[[list[tuple[Run, Job]]], list[Job]]
"""The jobs of a build, with their list items: the jobs corrected."""


def _as_they_are(jobs: list[tuple[Run, Job]]) -> list[Job]:
    return [job for _, job in jobs]


def _any(item: Run, entry: str) -> bool:
    del item, entry
    return True


Origin = Callable[[Run, Build], dict[str, Any]]
"""What was built and who began it, by the raw object of a list item, as fields of a build."""
PageOf = Callable[[Site, Build, Run], str | None]
"""The address of the page of a build, or of one of its jobs, whose list item is given."""


def _no_origin(item: Run, build: Build) -> dict[str, Any]:
    del item, build
    return {}


def _no_page(site: Site, build: Build, item: Run) -> None:
    del site, build, item


def _no_repo_page(site: Site, entry: str) -> None:
    del site, entry


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """The CI system's pages for people."""

    host: str | None = None
    """Of the hosted service; None where every installation has its own."""
    repo: Callable[[Site, str], str | None] = _no_repo_page
    """The address of the page of an entry."""
    build: PageOf = _no_page
    job: PageOf = _no_page


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """One CI system behind the unified API.

    Parameters are those of the builds list and the single-job pages; what the jobs list
    and the single build want is inferred from them, as their pages do not say.
    """

    label: str
    """The `provider` label: the native provider's own word."""
    entry: Entry
    words: Words
    builds: Scope | None = None
    """Of the builds list and the single build; None where there are no builds."""
    jobs: Scope | None = None
    """Of the jobs list; None where there are no jobs."""
    job: Scope | None = None
    """Of the single job; None where there is no such endpoint."""
    bare: frozenset[str] = frozenset()
    """`builds`, `jobs`: whose `remote_data` nobody reads and is not asked for."""
    remote: Mapping[str, str] = {}
    """Where a build's `remote_data` has the field that the item may lack."""
    job_remote: Mapping[str, str] = {}
    """The same for jobs."""
    stage: str | None = None
    """Where `remote_data` tells more finely why an unfinished build or job stands."""
    judged_by_jobs: bool = False
    """A build's own status means nothing; its jobs alone tell how it stands."""
    in_order: bool = True
    """Whether the list of builds is known to be in order of their creation."""
    refine: Refine = _as_it_is
    refine_jobs: RefineJobs = _as_they_are
    belongs: Callable[[Run, str], bool] = _any
    """Whether a listed build is one of the entry's."""
    discovery: Discovery | None = None
    origin: Origin = _no_origin
    pages: Pages = Pages()
    described: str = ""
    """What people read of a build that its answers fill, as in `Provider.described`."""
