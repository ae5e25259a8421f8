"""What is asked of the build log in a query string: filters, and which part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from exporter.ledger.build_log import BuildFilter
from exporter.web.parameters import instant, number, parameters

_EQUAL = ("account", "provider", "repo", "workflow", "branch", "conclusion")
_OTHER = ("commit", "since", "until", "limit", "cursor")
_USUAL, _MOST = 100, 1000
"""Builds of one answer."""


class BuildQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which builds, how many of them, and after which ones."""

    wanted: BuildFilter = BuildFilter()
    limit: int = _USUAL
    cursor: str | None = None
    given: Mapping[str, str] = {}
    """The parameters as they were given, without empty ones and the cursor."""

    @classmethod
    def parsed(cls, query: bytes) -> BuildQuery:
        """An empty parameter is like none. Raises ParameterFault."""
        known = parameters(query, (*_EQUAL, *_OTHER))
        given = {name: value for name, value in known.items() if value}
        cursor = given.pop("cursor", None)
        equal: dict[str, Any] = {name: given[name] for name in _EQUAL if name in given}
        wanted = BuildFilter(
            **equal,
            commit=given["commit"].lower() if "commit" in given else None,
            since=instant("since", given["since"]) if "since" in given else None,
            until=instant("until", given["until"]) if "until" in given else None,
        )
        limit = number("limit", given["limit"], 1, _MOST) if "limit" in given else _USUAL
        return cls(wanted=wanted, limit=limit, cursor=cursor, given=given)
