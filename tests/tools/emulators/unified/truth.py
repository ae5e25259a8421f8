"""What a client of the unified API can still tell of the truth."""

from __future__ import annotations

from exporter.demo import Run
from exporter.demo.vocabulary import CONCLUSION, TRIGGER, Vocabulary
from exporter.demo.world import Timed


def recoverable_conclusion(integration: str, timed: Timed) -> str:
    """The conclusion of a run or job, or the one that shares its native word."""
    return _recoverable(CONCLUSION[integration], timed.conclusion)


def recoverable_trigger(integration: str, run: Run) -> str:
    """The trigger of `run`, or the one that shares its native word."""
    return _recoverable(TRIGGER[integration], run.trigger)


def _recoverable(vocabulary: Vocabulary, word: str) -> str:
    native = vocabulary.native(word)
    return next((ours for ours, theirs in vocabulary.natives.items() if theirs == native), word)
