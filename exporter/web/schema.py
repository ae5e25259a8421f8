"""`docs/status.schema.json`, made from the shape of `/status.json`.

python -m exporter.web.schema > docs/status.schema.json
"""

from __future__ import annotations

import json
import sys

import msgspec

from exporter.status.document import StatusReport

_HEAD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "/status.json of cicd-exporter",
}


def schema() -> str:
    """The JSON Schema."""
    generated = msgspec.json.schema(StatusReport)
    return f"{json.dumps({**_HEAD, **generated}, indent=2, ensure_ascii=False)}\n"


if __name__ == "__main__":
    sys.stdout.write(schema())
