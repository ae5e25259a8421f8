"""Standing by: a process waits to write a state in a database while another one writes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette

from exporter.config import Config
from exporter.daemon.parts import open_state
from exporter.errors import StateError, StateInUse
from exporter.ledger import Ledger
from exporter.threads import apart
from exporter.web.standby import standby_routes

log = logging.getLogger(__name__)

_EVERY = 1.0
"""Seconds between two tries to become the one that writes."""

Serving = Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]
"""Serves routes as long as it is entered."""


async def opened(config: Config, serving: Serving, stop: asyncio.Event) -> Ledger | None:
    """The ledger of a database once nobody else writes it; None if `stop` is set before.

    Raises StateRefused for whatever else is wrong with it at the start.
    """
    take = partial(apart, partial(open_state, config, patience=0.0, alone=False), name="state")
    try:
        return await take()
    except StateInUse as error:
        log.info("standing by: %s", error)
    said = ""
    async with serving(standby_routes()):
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY)
            try:
                ledger = await take()
            except StateInUse:
                said = ""
            except StateError as error:  # it is waited for, whatever is wrong
                if str(error) != said:
                    log.warning("standing by: %s", error)
                said = str(error)
            else:
                log.info("the state is free: this exporter polls from now on")
                return ledger
    return None
