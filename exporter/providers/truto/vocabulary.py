"""The unified API's own words, to go beside each CI system's.

Its pages promise a few words "or the raw response from the API" (`status`,
`conclusion` and `trigger` of the builds page), so the native words are expected too.
"""

from __future__ import annotations

from exporter.model import CONCLUSIONS, TRIGGERS, Status
from exporter.model.vocabulary import Words, by_word, unchanged

UNIFIED = Words(
    status=by_word(
        {Status.QUEUED: "queued", Status.IN_PROGRESS: "in_progress", Status.COMPLETED: "completed"}
    ),
    conclusion=unchanged(" ".join(word for word in CONCLUSIONS if word != "error")),
    trigger=unchanged(" ".join(TRIGGERS)),
)
"""The words that the builds and jobs pages name; `error` is ours, not the API's."""


def unified(native: Words) -> Words:
    """`native` with the unified API's own words beside it."""
    return Words(
        status={**native.status, **UNIFIED.status},
        conclusion={**native.conclusion, **UNIFIED.conclusion},
        trigger={**native.trigger, **UNIFIED.trigger},
        awaiting=native.awaiting,
        blocked=native.blocked,
    )
