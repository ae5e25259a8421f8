"""The queries of the docs are Prometheus' language."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from tests.unit.test_docs import expressions, queries


def test_promtool_understands_every_query(promtool: Path, tmp_path: Path) -> None:
    found = [(b, text) for b in queries() for text in expressions(b)]
    rules = [{"record": f"docs:{i}:query", "expr": text} for i, (_, text) in enumerate(found)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", file], check=False, capture_output=True, text=True
    )

    assert len(found) > 5
    told = re.search(r'"docs:(\d+):query"', done.stderr)
    assert 0 == done.returncode, (str(found[int(told[1])][0]) if told else "", done.stderr)
