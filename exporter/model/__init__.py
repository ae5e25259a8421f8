"""Builds, jobs and what tells them apart: the words that all other packages share."""

from __future__ import annotations

from exporter.model.builds import Build, Job, Unfilled, carried_over
from exporter.model.keys import BuildKey
from exporter.model.vocabulary import (
    ACTIVE,
    CONCLUSIONS,
    FAILING,
    MERGE_QUEUES,
    OTHER,
    TRIGGERS,
    Actor,
    Ref,
    Status,
    Unmapped,
)

__all__ = [
    "ACTIVE",
    "CONCLUSIONS",
    "FAILING",
    "MERGE_QUEUES",
    "OTHER",
    "TRIGGERS",
    "Actor",
    "Build",
    "BuildKey",
    "Job",
    "Ref",
    "Status",
    "Unfilled",
    "Unmapped",
    "carried_over",
]
