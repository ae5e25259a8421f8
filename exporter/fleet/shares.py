"""Who should poll which accounts: a decision made of nothing but what is known.

A group is the accounts with one credential, which one worker polls. Each worker has its share of
the groups that it knows. It takes what nobody has until it has its share; what nobody else takes
for a while it takes beyond that. Nobody gives anything back that is within its share and one: an
account keeps its worker for days, as what was learned of it is worth more than balance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from exporter.ledger.shared import Beat

Groups = Mapping[bytes, frozenset[str]]
"""The accounts of each credential."""


class Wishes(NamedTuple):
    """What a worker should do next."""

    take: list[bytes]
    give_back: bytes | None


def holders(beat: Beat, accounts: frozenset[str]) -> set[str]:
    """The workers that hold any of these accounts."""
    return {beat.held[name].worker for name in accounts if name in beat.held}


def wishes(
    groups: Groups, beat: Beat, worker: str, *, overdue: frozenset[bytes], is_steady: bool
) -> Wishes:
    """What `worker` should take and give back.

    `overdue` are groups that nobody has held for a while, although others could have taken them.
    `is_steady` tells whether the workers have long been the same; nothing is given back before.
    """
    mine: list[bytes] = []
    free: list[bytes] = []
    for name, accounts in groups.items():
        if holders(beat, accounts) <= {worker}:
            (mine if accounts <= beat.held.keys() else free).append(name)
    share = math.ceil(len(groups) / max(_sharing(groups, beat, worker), 1))
    free.sort(key=lambda name: hashlib.blake2b(worker.encode() + name).digest())
    take = free[: max(share - len(mine), 0)]
    take += [name for name in free if name in overdue and name not in take]
    gives = is_steady and not free and len(mine) > share + 1
    return Wishes(take, max(mine) if gives else None)


def _sharing(groups: Groups, beat: Beat, worker: str) -> int:
    """How many workers know any of these accounts."""
    accounts = {name for names in groups.values() for name in names}
    return sum(
        one.id == worker or not accounts.isdisjoint(one.facts.accounts)
        for one in beat.workers.values()
    )
