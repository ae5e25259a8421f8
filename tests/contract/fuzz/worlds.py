"""A CI system that answers every request, at random but always the same, and as it is told."""

from __future__ import annotations

import random
import re
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote
from zlib import crc32

import httpx
import msgspec
from msgspec.inspect import CollectionType, RawType, StructType, Type, UnionType

from exporter.http import Answer, Api, RetryPolicy
from tests.contract.fuzz.natives import MADE_UP, Kinds, identities
from tests.contract.fuzz.values import spelled

A = TypeVar("A", bound=Api)

CLASSES = 8
"""Requests are of so many classes by their address; a tampering is with one of them."""

_MOST = 150
"""Requests that a world answers; a list that seems endless then ends."""
_LATER = re.compile(r"(?<!per_)(?:page|offset|cursor|token)$", re.IGNORECASE)
_VARYING = re.compile(rb"[0-9a-f]{8}-[0-9a-f-]{27}|\d+")
_RANGE = re.compile(r"\{[1-9]\d*,\d+\}$")
_IDENTITIES = frozenset({"id", "uuid", "number", "name", "full_name", "slug"})
_GOES_ON: dict[str, Any] = {
    "next": "http://ci.test/?page=2",
    "next_page_token": "2",
    "next_cursor": "2",
    "total_count": 10**6,
    "total_page_count": 2,
    "size": 10**6,
    "@pagination": {"next": {"offset": 2}},
}
_GOES_ON_HEADERS = {
    b"x-next-page": b"2",
    b"link": b'<http://ci.test/?page=2>; rel="next"',
    b"x-ms-continuationtoken": b"2",
}
"""How lists say that there is a second page."""

_asked: ContextVar[Any] = ContextVar("asked")


def class_of(url: httpx.URL) -> int:
    """The class of a request: its ids and times make no difference."""
    return crc32(_VARYING.sub(b"#", url.raw_path.partition(b"?")[0])) % CLASSES


class Tampering(NamedTuple):
    """What is done to the answers of one class of requests."""

    status: int
    headers: dict[bytes, bytes]
    body: Any
    """In place of the body, if it is not None."""
    members: dict[str, Any]
    """Added to the body, or in place of its members."""


UNTOUCHED = Tampering(200, {}, None, {})


class Shape(NamedTuple):
    """What an answer of some type looks like."""

    names: frozenset[str]
    lists: tuple[str, ...]
    """The members that list items."""
    is_list: bool
    is_envelope: bool


@cache
def shape(into: Any) -> Shape:
    """The shape of what is decoded as `into`."""
    info = msgspec.inspect.type_info(into)
    options = info.types if isinstance(info, UnionType) else (info,)
    is_list = any(isinstance(option, CollectionType) for option in options)
    struct = next((o for o in options if isinstance(o, StructType)), None)
    if is_list or struct is None:
        return Shape(frozenset(), (), is_list=is_list, is_envelope=False)
    names = frozenset(field.encode_name for field in struct.fields)
    lists = tuple(f.encode_name for f in struct.fields if _lists_items(f.type))
    envelope = bool(lists) and not names & _IDENTITIES
    return Shape(names, lists, is_list=False, is_envelope=envelope)


def _lists_items(info: Type) -> bool:
    options = info.types if isinstance(info, UnionType) else (info,)
    return any(isinstance(o, CollectionType) and isinstance(o.item_type, RawType) for o in options)


class World:
    """Objects by kind, some of them made up, and how they are told.

    `seed` decides how forgiving it is, `pages` (1 or 2) how long its lists are. A `poison`
    is an item, and its place in the first list that is asked for.
    """

    def __init__(
        self,
        kinds: Kinds,
        *,
        seed: int,
        pages: int = 1,
        tampered: dict[int, Tampering] | None = None,
        poison: tuple[int, Any] | None = None,
    ) -> None:
        chance = random.Random(seed)
        self.requests: list[str] = []
        self.first: tuple[str, str] | None = None
        """The address of the first list that was asked for, and the kind of it."""
        self._kinds = kinds
        self._tampered = tampered or {}
        self._poison = poison
        self._pages = pages
        self._is_forgiving = chance.random() < 0.85
        """Whether a single object that is not there is answered with another one."""
        self._completes = chance.random() < 0.85
        """Whether what a single object lacks is made up."""
        self._nests = chance.random() < 0.15

    def api(self, headers: dict[str, str]) -> Listening:
        """A client of it."""
        return connect(Listening, httpx.MockTransport(self._answer), headers)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request, as what `Listening` was asked for."""
        if len(self.requests) >= _MOST:
            return _response(404, {}, b"{}")
        self.requests.append(str(request.url))
        tampering = self._tampered.get(class_of(request.url), UNTOUCHED)
        status, headers = tampering.status, dict(tampering.headers)
        body = self._body(shape(_asked.get()), request.url, headers)
        if body is None:
            status, body = 404, {"message": "not found"}
        if isinstance(body, dict):
            body |= tampering.members
        content = spelled(body if tampering.body is None else tampering.body)
        tag = f'"{crc32(content)}"'.encode()
        if request.headers.get("if-none-match") == tag.decode():
            return _response(304, {b"etag": tag}, b"")
        return _response(status, {b"etag": tag} | headers, content)

    def _body(self, form: Shape, url: httpx.URL, headers: dict[bytes, bytes]) -> Any:
        parts = [unquote(part) for part in url.path.split("/") if part]
        if not form.is_list and not form.is_envelope:
            return self._single(form, parts)
        first = _is_first(url)
        goes_on = first and self._pages > 1
        if goes_on:
            headers.update({k: v for k, v in _GOES_ON_HEADERS.items() if k not in headers})
        if form.is_list:
            return self._page(self._kind("", parts), url.path, first=first)
        listed: dict[str, Any] = {
            name: self._page(self._kind(name, parts), url.path, first=first) for name in form.lists
        }
        hints = form.names & _GOES_ON.keys() if goes_on else ()
        return listed | {name: _GOES_ON[name] for name in hints}

    def _page(self, kind: str, path: str, *, first: bool) -> list[Any]:
        items = self._kinds[kind]
        middle = len(items) if self._pages == 1 else len(items) // 2
        listed = items[:middle] if first else items[middle:]
        self.first = self.first or (path, kind)
        if first and self._poison is not None and self.first == (path, kind):
            place, item = self._poison
            return [*listed[:place], item, *listed[place:]]
        return listed

    def _kind(self, member: str, parts: list[str]) -> str:
        """What a list is of, by the name of its member or else its address."""
        for name in (member, *reversed(parts)):
            found = max(self._kinds, key=lambda kind: _alike(kind, name))
            if _alike(found, name):
                return found
        return MADE_UP

    def _single(self, form: Shape, parts: list[str]) -> Any:
        """The object that the address names, of the kind that is most like what is wanted."""
        items = self._kinds[max(self._kinds, key=lambda kind: self._likeness(kind, form))]
        named = {part.strip("{}") for part in parts}
        found = [item for item in items if named & identities(item)]
        if not found and not (items and self._is_forgiving):
            return None
        item = found[0] if found else items[0]
        if not isinstance(item, dict):
            return item
        made_up = self._kinds[MADE_UP][0] if self._completes else {}
        if isinstance(made_up, dict):
            item = {name: made_up[name] for name in form.names & made_up.keys()} | item
        if self._nests:
            item |= {name: self._kinds[self._kind(name, [])] for name in form.lists}
        return item

    def _likeness(self, kind: str, form: Shape) -> float:
        first = next((item for item in self._kinds[kind] if isinstance(item, dict)), {})
        known = len(form.names & first.keys())
        return known - 0.5 if kind == MADE_UP else known


def _is_first(url: httpx.URL) -> bool:
    return not any(
        (_LATER.search(name) and value not in ("", "0", "1")) or _RANGE.search(value)
        for name, value in url.params.multi_items()
    )


def _alike(kind: str, name: str) -> int:
    """How much the name of a list sounds like that of a kind: `allBuilds` a bit like `builds`."""
    one, other = kind.lower().rstrip("s"), name.lower().rstrip("s")
    if not one or not other:
        return 0
    return 3 if one == other else 2 if one.endswith(f"_{other}") else int(other.endswith(one))


def _response(status: int, headers: dict[bytes, bytes], body: bytes) -> httpx.Response:
    return httpx.Response(status, headers=list(headers.items()), stream=httpx.ByteStream(body))


class Listening(Api):
    """A client that tells a world what is wanted."""

    async def get(self, path: str, params: Any = None, **options: Any) -> Answer[Any]:
        """As `Api.get`."""
        _asked.set(options["into"])
        return await super().get(path, params, **options)


def connect(
    kind: type[A], transport: httpx.AsyncBaseTransport, headers: dict[str, str], prefix: str = ""
) -> A:
    """A client that is real down to the transport; `prefix` is the path of the API root."""
    root = f"http://ci.test{prefix}"
    api = kind(root=root, headers=lambda: headers, timeout=10.0, retries=RetryPolicy(attempts=1))
    api._connections.transport = transport
    return api
