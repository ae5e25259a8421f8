"""Requests of which some may fail: the trouble of one part is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from exporter.errors import ProviderError
from exporter.providers.listing import Unread

T = TypeVar("T")


async def by_part(
    calls: Mapping[str, Awaitable[T]], *, all_may_fail: bool = False
) -> tuple[dict[str, T], tuple[Unread, ...]]:
    """The results of calls made side by side, by part, and the parts that failed.

    Raises the failure if it speaks of the whole account, or the first one if all have failed
    and that is not said to be their own matter.
    """
    results = await asyncio.gather(*calls.values(), return_exceptions=True)
    found: dict[str, T] = {}
    unread: list[Unread] = []
    for part, result in zip(calls, results, strict=True):
        if isinstance(result, ProviderError) and not result.account_wide:
            unread.append(Unread(part, result))
        elif isinstance(result, BaseException):
            raise result
        else:
            found[part] = result
    if unread and not found and not all_may_fail:
        raise unread[0].error
    return found, tuple(unread)


async def optional(call: Awaitable[T]) -> T | None:
    """What a call returns; None if this one thing is gone or refused.

    Raises what fails for now, and what speaks of the whole account.
    """
    try:
        return await call
    except ProviderError as error:
        if not error.is_final:
            raise
        return None
