"""A request to the emulator."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request as HttpRequest


class Request(msgspec.Struct, kw_only=True):
    """Method, path, query and headers of one HTTP request."""

    method: str
    path: str
    """Decoded, without the query."""
    query: list[tuple[str, str]]
    """Names and values in the order sent; names keep their brackets."""
    headers: dict[str, str]
    """By name in lower case. The token is among them."""

    @classmethod
    def of(cls, http: HttpRequest, **more: Any) -> Self:
        """Take a request from Starlette; `more` are the fields of a subclass."""
        query = http.scope["query_string"].decode("latin-1")
        return cls(
            **more,
            method=http.method,
            path=http.scope["path"],
            query=parse_qsl(query, keep_blank_values=True),
            headers=dict(http.headers),
        )

    @property
    def params(self) -> dict[str, str]:
        """The query with the last value of each name."""
        return dict(self.query)
