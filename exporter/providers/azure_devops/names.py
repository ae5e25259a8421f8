"""The names of the pipelines and repositories of one project."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec


class Definition(msgspec.Struct, frozen=True):
    """A pipeline. Its name is its folder's own: another folder may have one of the same name."""

    id: int
    """0 if it is not told."""
    name: str
    path: str = ""

    @property
    def full_name(self) -> str:
        r"""With its folder in front: `team\CI`, and `\CI` at the top."""
        folder = self.path.strip("\\")
        return f"{folder}\\{self.name}"


class Names:
    """The names of the pipelines and repositories of one project.

    A name that was given stays, so that it does not pass to another when the oldest is deleted.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        """Held by whoever reads the project's list of pipelines."""
        self.due = 0.0
        """When the project's list of pipelines is to be read, epoch seconds; then never again."""
        self._oldest: dict[str, int] = {}
        self._spelled: dict[str, str] = {}

    def learn(self, pipelines: Iterable[Definition]) -> None:
        """Register pipelines, in any order. Older ones have lower ids."""
        for pipeline in pipelines:
            if pipeline.id:
                oldest = self._oldest.get(pipeline.name, pipeline.id)
                self._oldest[pipeline.name] = min(oldest, pipeline.id)

    def pipeline(self, own: Definition) -> str:
        """The name, or that with its folder if an older one has the name."""
        is_oldest = self._oldest.get(own.name, own.id) == own.id
        return own.name if is_oldest or not (own.id and own.name) else own.full_name

    def repository(self, named: str) -> str:
        """As it was spelled first: each pipeline may spell one of GitHub in its own way."""
        return self._spelled.setdefault(named.casefold(), named)
