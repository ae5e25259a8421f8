"""What recorded objects become: expectations beside the tests, the recordings elsewhere.

`tests/contract/providers/data/P.golden.json` holds, for each recorded line by the beginning of
its hash, only what a reader can judge: words, seconds and addresses.
UPDATE_GOLDEN=1 writes it anew; read its diff.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.model import Build, Job

_DATA = Path(__file__).resolve().parents[1] / "contract" / "providers" / "data"


def lines(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Each recorded line of a file with its key."""
    for line in (folder / name).read_bytes().splitlines():
        if line.strip():
            yield hashlib.sha256(line).hexdigest()[:12], line


def told(run: Build | Job) -> dict[str, Any]:
    """What the golden file says of a build or a job."""
    known: dict[str, Any] = {
        "status": run.status.value,
        "conclusion": run.conclusion,
        "trigger": run.trigger if isinstance(run, Build) else None,
        "attempt": run.attempt,
        "duration": _seconds(run.duration),
        "queue": _seconds(run.queue),
        "url": run.url,
    }
    if isinstance(run, Build):
        known |= {
            "commit": run.commit,
            "commit_at": run.commit_at,
            "title": run.title,
            "triggered_by": run.triggered_by,
            "triggered_by_type": run.triggered_by_type and run.triggered_by_type.value,
            "pull_request": run.pull_request,
            "environment": run.environment,
        }
    elif run.labels:
        known["labels"] = list(run.labels)
    return {field: value for field, value in known.items() if value is not None}


def check(name: str, found: Mapping[str, dict[str, Any]]) -> None:
    """Assert that `tests/contract/providers/data/NAME.golden.json` says the same, or write it."""
    path = _DATA / f"{name}.golden.json"
    if os.environ.get("UPDATE_GOLDEN"):
        rows = (f'  "{key}": {json.dumps(found[key])}' for key in sorted(found))
        path.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    expected = json.loads(path.read_text())

    assert expected == dict(found)


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
