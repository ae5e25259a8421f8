"""Makes what is generated in `helm/cicd-exporter/`: `python scripts/chart.py`.

- `files/`: copies of `rules/` and `dashboards/`, as a packaged chart holds only its own folder;
- `values.schema.json`: from `values.yaml`, and of `config` from the configuration's own schema;
- the table of values in `README.md`, between its two markers, from `values.yaml`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # started as a script, only scripts/ is on the path

import json  # noqa: E402 - beside the next one

from exporter.config.json_schema import json_schema  # noqa: E402 - needs the path

CHART = ROOT / "helm" / "cicd-exporter"
VALUES = CHART / "values.yaml"
README = CHART / "README.md"
COPIED = {"rules": "*.yaml", "dashboards": "*.json"}
"""Folders whose files the chart has copies of."""

_Schema = dict[str, Any]

_TEXTS: _Schema = {"additionalProperties": {"type": "string"}}
_OBJECTS: _Schema = {"items": {"type": "object"}}
_STRINGS: _Schema = {"items": {"type": "string"}}
_NAMED: _Schema = {
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}},
    }
}
_OPTIONAL: _Schema = {"type": "boolean"}
_MORE: Mapping[str, _Schema] = {
    "annotations": _TEXTS,
    "labels": _TEXTS,
    "commonLabels": _TEXTS,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "nodeSelector": _TEXTS,
    "alertLabels": _TEXTS,
    "disabled": _STRINGS,
    "extraArgs": _STRINGS,
    "accessModes": {**_STRINGS, "minItems": 1},
    "extraEnv": _NAMED,
    "extraVolumes": _NAMED,
    "extraVolumeMounts": _NAMED,
    "pullSecrets": _NAMED,
    "additionalGroups": _NAMED,
    "extraEnvFrom": _OBJECTS,
    "tolerations": _OBJECTS,
    "topologySpreadConstraints": _OBJECTS,
    "hostAliases": _OBJECTS,
    "relabelings": _OBJECTS,
    "metricRelabelings": _OBJECTS,
    "from": _OBJECTS,
    "to": _OBJECTS,
    "dns": _OBJECTS,
    "extra": _OBJECTS,
    "extraManifests": {"items": {"type": ["object", "string"]}},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "whenDeleted": {"enum": ["Retain", "Delete"]},
    "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "ipFamilyPolicy": {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
    "digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "port": {"minimum": 1, "maximum": 65535},
    "replicas": {"minimum": 1},
    "maxUnavailable": {"type": ["integer", "string"]},
    "terminationGracePeriodSeconds": {"minimum": 1},
    "revisionHistoryLimit": {"minimum": 0},
    "secretEnv": {
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {
            "type": "object",
            "required": ["name", "key"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "key": {"type": "string", "minLength": 1},
                "optional": _OPTIONAL,
            },
        },
    },
    "secretFiles": {
        "items": {
            "type": "object",
            "required": ["secretName", "mountPath"],
            "additionalProperties": False,
            "properties": {
                "secretName": {"type": "string", "minLength": 1},
                "mountPath": {"type": "string", "pattern": "^/"},
                "items": _OBJECTS | {"type": "array"},
                "optional": _OPTIONAL,
            },
        }
    },
    # The exporter needs no rights: what gives some is a mistake.
    "podSecurityContext": {"properties": {"runAsNonRoot": {"enum": [True]}}},
    "securityContext": {
        "properties": {
            "privileged": {"enum": [False]},
            "allowPrivilegeEscalation": {"enum": [False]},
            "runAsNonRoot": {"enum": [True]},
            "capabilities": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"drop": {"contains": {"const": "ALL"}}},
            },
        }
    },
}
"""What a default value does not tell of a key's schema, by the key."""
_TYPES = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}


class Value(NamedTuple):
    """A key of `values.yaml`."""

    path: tuple[str, ...]
    text: str
    """Its comment after `--`, in one line; empty where there is none."""
    default: Any

    @property
    def section(self) -> bool:
        """Whether it only holds other keys: it has no comment of its own."""
        return isinstance(self.default, dict) and not self.text


def values() -> Iterator[Value]:
    """The keys in the order of the file; of what has a comment, no keys inside."""
    lines = VALUES.read_text().splitlines()
    root = yaml.compose(VALUES.read_text(), Loader=yaml.SafeLoader)
    return _below(root, (), lines, yaml.safe_load(VALUES.read_text()))


def _below(
    node: yaml.Node | None, path: tuple[str, ...], lines: list[str], data: Mapping[str, Any]
) -> Iterator[Value]:
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - for the types
    for key, child in node.value:
        value = Value((*path, key.value), _comment(lines, key.start_mark.line), data[key.value])
        yield value
        if value.section:
            yield from _below(child, value.path, lines, value.default)


def _comment(lines: list[str], line: int) -> str:
    """What is said in the comment that ends above a line, if it begins with `--`."""
    said: list[str] = []
    while line and lines[line - 1].lstrip().startswith("# "):
        line -= 1
        said.insert(0, lines[line].lstrip().removeprefix("# "))
        if said[0].startswith("-- "):
            return " ".join(said).removeprefix("-- ")
    return ""


def schema() -> str:
    """The text of `values.schema.json`."""
    config = json_schema()
    made: _Schema = {
        "$schema": config["$schema"],
        "title": "Values of the chart cicd-exporter",
        "type": "object",
        "additionalProperties": False,
        # A chart that this one is a part of turns it on and off by `enabled`.
        "properties": {"enabled": {"type": "boolean"}},
        "definitions": _for_go(config["definitions"]),
    }
    for value in values():
        at = made
        for key in value.path[:-1]:
            at = at["properties"][key]
        at["properties"][value.path[-1]] = _schema(value)
    made["properties"]["global"]["additionalProperties"] = True  # other charts' too
    # That there are accounts is checked by the templates, which can say it in a sentence.
    made["properties"]["config"] |= {
        "additionalProperties": False,
        "properties": _for_go(config["properties"]),
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _schema(value: Value) -> _Schema:
    made: _Schema = {"type": _TYPES[type(value.default)]}
    if value.section:
        return made | {"additionalProperties": False, "properties": {}}
    return made | {"description": value.text} | _MORE.get(value.path[-1], {})


def _for_go(schema: Any) -> Any:
    """The schema for Helm, whose regular expressions look neither ahead nor behind.

    Without what they would have looked for a pattern takes more; check-config is exact.
    """
    if isinstance(schema, list):
        return [_for_go(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_looks(item) if key == "pattern" and isinstance(item, str) else _for_go(item)
        for key, item in schema.items()
    }


def _without_looks(pattern: str) -> str:
    while found := re.search(r"\(\?[=!]", pattern):
        end, depth = found.end(), 1
        for part in re.finditer(r"\\.|\[(?:\\.|[^\]\\])+\]|[()]", pattern[end:]):
            depth += {"(": 1, ")": -1}.get(part.group(), 0)
            if not depth:
                pattern = pattern[: found.start()] + pattern[end + part.end() :]
                break
    return pattern


def readme() -> str:
    """The README with its table as it should be."""
    rows = [
        f"| `{'.'.join(v.path)}` | {_shown(v.default)} | {v.text.replace('|', chr(92) + '|')} |\n"
        for v in values()
        if not v.section
    ]
    table = "".join(["| value | default | |\n| --- | --- | --- |\n", *rows])
    return re.sub(
        r"(?<=<!-- values -->\n).*?(?=<!-- end of values -->)",
        lambda _: table,
        README.read_text(),
        flags=re.DOTALL,
    )


def _shown(default: Any) -> str:
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def files() -> dict[Path, bytes]:
    """The copies that the chart should have, by their places."""
    return {
        CHART / "files" / folder / source.name: source.read_bytes()
        for folder, pattern in COPIED.items()
        for source in sorted((ROOT / folder).glob(pattern))
    }


def copied() -> dict[Path, bytes]:
    """The copies that it has."""
    return {
        path: path.read_bytes() for path in sorted((CHART / "files").rglob("*")) if path.is_file()
    }


def main() -> None:
    """Write everything anew."""
    wanted = files()
    for path in copied():
        if path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (CHART / "values.schema.json").write_text(schema())
    README.write_text(readme())


if __name__ == "__main__":
    main()
