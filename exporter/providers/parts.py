"""Requests of which some may fail: the trouble of one part is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

from exporter.errors import ProviderError
from exporter.providers.listing import Unread

T = TypeVar("T")


async def tried(call: Awaitable[T]) -> T | ProviderError:
    """What a call returns, or the error if it is about this one thing.

    Raises what is about the whole account.
    """
    try:
        return await call
    except ProviderError as error:
        if error.account_wide:
            raise
        return error


async def together(calls: Iterable[Awaitable[T]]) -> list[T | ProviderError]:
    """What calls return that are made side by side, each as `tried` says; in their order.

    Raises only when all have ended.
    """
    results = await asyncio.gather(*map(tried, calls), return_exceptions=True)
    found: list[T | ProviderError] = []
    for result in results:
        if isinstance(result, ProviderError) and not result.account_wide:
            found.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            found.append(result)
    return found


async def by_part(
    calls: Mapping[str, Awaitable[T]], *, all_may_fail: bool = False
) -> tuple[dict[str, T], tuple[Unread, ...]]:
    """The results of calls made side by side, by part, and the parts that failed.

    Raises the failure if it speaks of the whole account, or the first one if all have failed
    and that is not said to be their own matter.
    """
    found: dict[str, T] = {}
    unread: list[Unread] = []
    for part, result in zip(calls, await together(calls.values()), strict=True):
        if isinstance(result, ProviderError):
            unread.append(Unread(part, result))
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
