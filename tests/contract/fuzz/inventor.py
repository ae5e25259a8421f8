"""Answers made up from nothing but a provider's types and the words in its source.

Nothing here knows a provider, so that one more is covered as it stands.
"""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec.inspect import AnyType, BoolType, FloatType, IntType, StrType, Type, UnionType

from tests.contract.fuzz.source import Source, plainly

_IDENTITY = re.compile(r"_?(?:u?u?id|number|key)", re.IGNORECASE)
_COUNT = re.compile("attempt|run_?number|rejected|pages|count", re.IGNORECASE)
_SPAN = re.compile("duration|millis", re.IGNORECASE)
_TIME = re.compile(
    r"_(?:at|on)$|time|date|stamp|begun|began|end|start|finish|stop|creat|complet", re.IGNORECASE
)
_DEEPEST = 2
"""Levels below a member that are made up; what nobody is seen to look for has one at most."""


class _Field(NamedTuple):
    name: str
    kinds: frozenset[type[Type]]
    required: bool

    @property
    def strictness(self) -> int:
        """How little it puts up with: of two with the same name the stricter one holds."""
        return (AnyType not in self.kinds) + self.required


@cache
def _fields(structs: tuple[type[msgspec.Struct], ...]) -> tuple[_Field, ...]:
    found: list[_Field] = []
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            info = msgspec.inspect.type_info(field.type)
            options = info.types if isinstance(info, UnionType) else (info,)
            found.append(_Field(field.encode_name, frozenset(map(type, options)), field.required))
    return tuple(found)


def iso(at: float) -> str:
    """An instant as most APIs write it."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Inventor:
    """Makes objects that have the fields of all structs of a provider at once.

    Whatever is asked for, such an object may be it: what is not read does no harm.
    """

    def __init__(self, source: Source, chance: random.Random) -> None:
        self._chance = chance
        self._words = sorted(source.words)
        self._paths = source.paths
        self._fields = _fields(source.structs)
        self._serial = 1000
        self._begun = time.time() - 300
        self._makers = {IntType: self._whole, FloatType: self._whole, StrType: self._text}

    def object(self, *, inside: bool = False) -> dict[str, Any]:
        """One that was created, started and ended within the last minutes.

        Now and then there are others in it, but not in those that are `inside`.
        """
        self._serial += 1
        self._begun += 1
        fields = self._chance.sample(self._fields, k=len(self._fields))
        made: dict[str, Any] = {}
        for field in sorted(fields, key=lambda field: field.strictness):
            if field.required or self._chance.random() < 0.8:
                value = self._value(field)
                if value is not msgspec.UNSET:
                    made[field.name] = value
                elif not inside and self._chance.random() < 0.2:
                    made[field.name] = [self.object(inside=True) for _ in range(2)]
        return made

    def _value(self, field: _Field) -> Any:
        """A value of the field's type; unset for a list and the like."""
        if AnyType in field.kinds:
            return self._anything(field.name, 0)
        make = next((make for kind, make in self._makers.items() if kind in field.kinds), None)
        if make is not None:
            return make(field.name)
        return self._chance.random() < 0.5 if BoolType in field.kinds else msgspec.UNSET

    def _whole(self, name: str) -> int:
        if _TIME.search(name):
            return int(self._instant(name) * 1000)
        return self._chance.randint(1, 3) if _COUNT.search(name) else self._serial

    def _text(self, name: str) -> str:
        if _TIME.search(name):
            return iso(self._instant(name))
        return f"id-{self._serial}" if _IDENTITY.fullmatch(name) else self._word()

    def _anything(self, name: str, depth: int) -> Any:
        if _IDENTITY.fullmatch(name) or _COUNT.search(name):
            return self._whole(name)
        if _SPAN.search(name):
            return self._chance.randint(0, 60_000)
        if _TIME.search(name):
            return iso(self._instant(name))
        paths = self._inside(name) if depth < _DEEPEST else set()
        if paths and self._chance.random() < 0.9:
            inner = self._object_with(paths, depth)
            return [inner, {}] if name.endswith("s") else inner
        return self._guess(depth)

    def _guess(self, depth: int) -> Any:
        match self._chance.randrange(6 if depth == 0 else 4):
            case 0:
                return self._chance.choice((None, True, False, 1, 5000))
            case 1 | 2 | 3:
                return self._word()
        keys = [self._word(), self._word(), "name", "number"]
        inner = {key: self._anything(key, depth + 1) for key in keys}
        return self._chance.choice((inner, [inner]))

    def _inside(self, name: str) -> set[str]:
        """What is looked for inside a member; what is in `actions` is told of an `action`."""
        plain = plainly(name)
        known = self._paths.get(plain) or self._paths.get(plain.removesuffix("s"))
        if known is None:
            short = next((o for o in self._paths if len(o) > 3 and plain.startswith(o)), "")
            known = self._paths.get(short)
        return known or set()

    def _object_with(self, paths: set[str], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for path in sorted(paths):
            if self._chance.random() < 0.8:
                *above, last = path.split(".")
                place = made
                for part in above:
                    inner = place.setdefault(part, {})
                    place = inner if isinstance(inner, dict) else {}
                place.setdefault(last, self._anything(last, depth + 1))
        return made

    def _word(self) -> str:
        return self._chance.choice(self._words)

    def _instant(self, name: str) -> float:
        """What is created comes before what is started, and that before what has ended."""
        lower = name.lower()
        if re.search("finish|stop|end|complet|updat", lower):
            return self._begun + 60.0
        return self._begun + (5.0 if re.search("start|beg[au]n", lower) else 0.0)
