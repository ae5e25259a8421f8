"""Where faults are gathered, so that all are told at once and in the file's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.config.document import START, Document, Fault, Path, Position
from exporter.config.fault_texts import pydantic_fault
from exporter.errors import ConfigError
from exporter.messages import unknown_key

_Model = TypeVar("_Model", bound=BaseModel)

MOST = 200
"""Faults that are told at once."""


class Report:
    """The faults and warnings of one document."""

    def __init__(self, file: str, document: Document) -> None:
        """`file` is the name that every line begins with."""
        self._file = file
        self._document = document
        self._faults: list[Fault] = []
        self._more = 0
        """Faults beyond those that are told."""
        self._warnings: list[Fault] = []
        self._bad: set[Path] = set()
        self._holds_bad: set[Path] = set()
        for fault in document.faults:
            self._faults.append(fault)
            if fault.position == document.values.get(fault.path):  # else of the key, not the value
                self._blame(fault.path)
        self._unsound = frozenset(self._bad)

    def fault(
        self, path: Path, what: str | Callable[[], str], *, position: Position | None = None
    ) -> None:
        """`what` is wrong with the value at `path`, or with what should stand there.

        It may be made only when it is needed, as of very many faults not all are told.
        """
        if path in self._unsound:  # said already, and the rest would follow from it
            return
        self._blame(path)
        if len(self._faults) < MOST:
            text = what if isinstance(what, str) else what()
            self._faults.append(Fault(position or self.position(path), path, text))
        else:
            self._more += 1

    def fault_if(self, path: Path, what: str | None) -> None:
        """A fault, unless `what` is None."""
        if what:
            self.fault(path, what)

    def _blame(self, path: Path) -> None:
        self._bad.add(path)
        self._holds_bad.update(path[:end] for end in range(len(path) + 1))

    def warn(self, path: Path, what: str) -> None:
        """`what` is doubtful; the configuration can be used all the same."""
        self._warnings.append(Fault(self.position(path), path, what))

    def position(self, path: Path) -> Position:
        """Where the value begins; of one that is not there, where the mapping around it does."""
        return self._document.values[self.known(path)] if self._document.values else START

    def known(self, path: Path) -> Path:
        """As much of `path` as the file has."""
        while path and path not in self._document.values:
            path = path[:-1]
        return path

    def key_position(self, path: Path) -> Position:
        """Where the key at the end of `path` begins."""
        return self._document.keys.get(path) or self.position(path)

    def blamed(self, path: Path) -> bool:
        """Whether something is wrong with the value at `path` or with what it is part of."""
        return any(path[:end] in self._bad for end in range(len(path) + 1))

    def sound(self, *paths: Path) -> bool:
        """Whether nothing is wrong with these values, their parts or what they are part of."""
        return not any(self.blamed(path) or path in self._holds_bad for path in paths)

    def warnings(self) -> tuple[str, ...]:
        """One line for each, in the file's order."""
        return tuple(self._lines(self._warnings))

    def close(self) -> None:
        """Raise ConfigError with every fault, in the file's order, if there is one."""
        if self._faults:
            more = Fault(START, ("file",), f"{self._more} faults more (mend these first)")
            last = [more.text(self._file)] if self._more else []
            raise ConfigError([*self._lines(self._faults), *last])

    def _lines(self, faults: Iterable[Fault]) -> list[str]:
        lines = {fault.text(self._file): fault.position for fault in faults}
        return [text for text, _ in sorted(lines.items(), key=lambda item: (item[1], item[0]))]

    def validated(
        self,
        model: type[_Model],
        raw: Mapping[str, Any],
        path: Path,
        *,
        stand_ins: Mapping[str, Any] = MappingProxyType({}),
    ) -> _Model | None:
        """`raw` as a `model`; faulty keys are reported and replaced by their defaults.

        `stand_ins` are for keys without a default: with them what is sound in a faulty
        mapping can still be checked further. None if a faulty key has neither.
        """
        value = _try(model, raw, lambda error: self._validation_fault(model, error, path))
        if value is not None:
            return value
        left = {
            key: self._mended((*path, key), item)
            for key, item in raw.items()
            if not self.blamed((*path, key))
        }
        return _try(model, {**stand_ins, **left}, lambda _: None)

    def _mended(self, path: Path, value: Any) -> Any:
        """A list with a sound item in the place of each faulty one, so that places stay."""
        if self.sound(path) or not isinstance(value, list):
            return value
        sound = [self.sound((*path, i)) for i in range(len(value))]
        spare = next((item for item, good in zip(value, sound, strict=True) if good), "unnamed")
        return [item if good else spare for item, good in zip(value, sound, strict=True)]

    def _validation_fault(
        self, model: type[BaseModel], error: Mapping[str, Any], path: Path
    ) -> None:
        where = (*path, *error["loc"])
        if error["type"] == "extra_forbidden":
            known = _keys(model, error["loc"][:-1])
            what = partial(unknown_key, str(where[-1]), known)
            self.fault(where, what, position=self.key_position(where))
        elif error["type"] == "missing":
            self.fault((*self.known(where[:-1]), where[-1]), pydantic_fault(error))
        else:  # pydantic adds its own words to a place, such as the branch of a union
            self.fault(self.known(where), pydantic_fault(error))


def _try(
    model: type[_Model], raw: Mapping[str, Any], note: Callable[[Mapping[str, Any]], None]
) -> _Model | None:
    """Not a caught exception but its parts: it holds the input, which no traceback shall show."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for details in errors:
        note(details)
    return None


def _keys(model: type[BaseModel], inside: tuple[str | int, ...]) -> list[str]:
    """The keys of the mapping at `inside` of a `model`; none if its type does not tell."""
    keys = model.model_fields
    for part in inside:
        field = keys.get(str(part))
        annotation = field.annotation if field else None
        choices: tuple[Any, ...] = (annotation, *getattr(annotation, "__args__", ()))
        keys = next((c.model_fields for c in choices if hasattr(c, "model_fields")), {})
    return list(keys)
