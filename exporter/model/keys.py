"""What tells one build of an account from the others.

first = BuildKey.begun("shop#7", 1_600_000_000.4)
BuildKey("shop#7").is_beginning_of(first)  # the same build, before its start was known
BuildKey("shop#7") != BuildKey("shop#007")  # ids are text: these are two builds
"""

from __future__ import annotations

import msgspec


def without_nul(ident: str) -> str:
    """An id that a database can hold: with one that has a NUL it would not be found again."""
    return ident.replace("\0", "\ufffd")


class BuildKey(msgspec.Struct, frozen=True, array_like=True):
    """The identity of a build in its account, the same in every attempt.

    Most providers never use an id twice. Where one does (a Jenkins job that is made anew
    numbers its builds from 1, a restart at Travis CI keeps the build's id), the start is part of
    the identity, and a key without one stands for the build until its start is known.
    Keys are ordered by id, then by start; a missing start comes first.
    """

    id: str
    started: int | None = None
    """Seconds since the epoch; None where ids are unique, and where the start is not known."""

    def __post_init__(self) -> None:
        if "\0" in self.id:
            msgspec.structs.force_setattr(self, "id", without_nul(self.id))
        if self.started is not None and self.started <= 0:
            raise ValueError(f"no build started at {self.started}")

    @classmethod
    def begun(cls, id: str, started: float | None) -> BuildKey:  # noqa: A002 - the field's name
        """The key of a build by its start in epoch seconds, which may have a fraction."""
        return cls(id, None if started is None else int(started))

    def __lt__(self, other: BuildKey) -> bool:
        return self._rank < other._rank

    def __le__(self, other: BuildKey) -> bool:
        return self._rank <= other._rank

    def __gt__(self, other: BuildKey) -> bool:
        return self._rank > other._rank

    def __ge__(self, other: BuildKey) -> bool:
        return self._rank >= other._rank

    def __str__(self) -> str:
        return self.id if self.started is None else f"{self.id}@{self.started}"

    @property
    def _rank(self) -> tuple[str, int]:
        return self.id, self.started or 0

    @property
    def without_start(self) -> BuildKey:
        """The key that the build has until its start is known."""
        return self if self.started is None else BuildKey(self.id)

    def is_beginning_of(self, other: BuildKey) -> bool:
        """Whether `other` is this key with the start that is missing here."""
        return self.id == other.id and self.started is None and other.started is not None

    def is_same_build(self, other: BuildKey) -> bool:
        """Whether both keys are of one build; either may lack its start."""
        return self == other or self.is_beginning_of(other) or other.is_beginning_of(self)
