"""`config schema`: the configuration as editors understand it."""

from __future__ import annotations

import argparse
import sys

from exporter.commands import Command
from exporter.config import json_schema


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(json_schema.text())
    return 0


SCHEMA = Command(
    name="config schema",
    text="print the JSON Schema of the configuration, for editors",
    run=_schema,
    about="""\
It is draft 7, and docs/config.schema.json is it. An editor with yaml-language-server uses it where
the first line of the configuration is

    # yaml-language-server: $schema=config.schema.json

with the path from the configuration to the schema. It accepts all that the exporter accepts;
what no schema can say only `check-config` tells: rules between keys, unique names, variables and
files that are not there.""",
    example="""\
$ cicd-exporter config schema > config.schema.json""",
)
