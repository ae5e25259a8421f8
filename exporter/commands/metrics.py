"""`metrics`: the reference of all metrics."""

from __future__ import annotations

import argparse
import json
import sys

from exporter.commands import Command, form
from exporter.metrics import reference


def _run(options: argparse.Namespace) -> int:
    if options.output == "json":
        print(json.dumps(reference.data(), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(reference.reference())
    return 0


COMMAND = Command(
    name="metrics",
    text="print the reference of all metrics",
    run=_run,
    arguments=(form("markdown", "json"),),
    about="""\
As JSON it is `{"metrics": [...], "labels": [...]}`. A metric has `name`, `type`, `labels`, `help`,
`persists` (whether it goes on after a restart), `buckets` (`duration`, `queue` or `poll`; null
unless it is a histogram) and `opentelemetry` (its name there, or ""). A label has `name`, `values`
in words, and `opentelemetry`.""",
    example="""\
$ cicd-exporter metrics --format=json | jq -r '.metrics[0] | .name, .help'
cicd_builds_total
Completed build attempts, each counted once.""",
)
