"""Schemas of what is served as JSON, made from its shape.

python -m exporter.web.schema status > docs/status.schema.json
python -m exporter.web.schema builds > docs/builds.schema.json
"""

from __future__ import annotations

import json
import sys

import msgspec

from exporter.status.builds import BuildsReport
from exporter.status.document import StatusReport

SHAPES = {"status": StatusReport, "builds": BuildsReport}
"""By the name of the address: `/NAME.json`."""


def schema(name: str) -> str:
    """The JSON Schema of `/NAME.json`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"/{name}.json of cicd-exporter",
    }
    generated = msgspec.json.schema(SHAPES[name])
    return f"{json.dumps({**head, **generated}, indent=2, ensure_ascii=False)}\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1]))
