"""What the configuration says about metrics."""

from __future__ import annotations

import msgspec

from exporter.metrics.buckets import Buckets
from exporter.metrics.labels import RepoLabels


class MetricsRules(msgspec.Struct, frozen=True):
    """The rules that decide which series there are. Spans in seconds."""

    branches: tuple[str, ...]
    """Globs of the branches that keep their name."""
    buckets: Buckets
    zero_hold: float
    """How long a new series shows 0; nothing is held back if it is 0."""
    series_limit: int
    max_open_age: float
    repo_labels: tuple[RepoLabels, ...] = ()
    """What `cicd_repo_info` has of each repo."""
    build_info: bool = False
    """Whether the latest build of each pipeline is shown with what changes with every build."""
    native: bool = False
    """Whether native buckets are counted beside the classic ones."""
