"""The unified API's own words, to go beside each CI system's.

Its pages promise a few words "or the raw response from the API" (`status`,
`conclusion` and `trigger` of the builds page), so the native words are expected too.
"""

from __future__ import annotations

from exporter.model import CONCLUSIONS, TRIGGERS, Status
from exporter.model.vocabulary import Words, own, rows

UNIFIED = Words(
    status=rows(
        {Status.QUEUED: "queued", Status.IN_PROGRESS: "in_progress", Status.COMPLETED: "completed"}
    ),
    conclusion=own(" ".join(word for word in CONCLUSIONS if word != "error")),
    trigger=own(" ".join(TRIGGERS)),
)
"""The words that the builds and jobs pages name; `error` is ours, not the API's."""


def unified(native: Words) -> Words:
    """`native` with the unified API's own words beside it."""
    return Words(
        status={**native.status, **UNIFIED.status},
        conclusion={**native.conclusion, **UNIFIED.conclusion},
        trigger={**native.trigger, **UNIFIED.trigger},
        holds=native.holds,
        blocked=native.blocked,
    )
