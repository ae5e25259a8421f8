"""`docs/config.schema.json`: the configuration as JSON Schema, for editors.

Made from the models that `load` reads with, and from the patterns below for what their
validators check. It accepts all that `load` accepts; what no schema can say only `load`
refuses: rules between keys, unique names, variables and files that are not there.

Draft 7, because yaml-language-server knows "draft-07 and below".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from pydantic import BaseModel

from exporter.config.accounts import CREDENTIALS
from exporter.config.schema import Section, lists, sections
from exporter.providers import Provider, catalogue

DRAFT = "http://json-schema.org/draft-07/schema#"
FILE = "docs/config.schema.json"
"""Where it is in the repository."""

_Schema = dict[str, Any]

_EDGES = r"(?!\s)(?!.*\s$)"
_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\/?#@]+(?:/[^\s\\?#]*)?$"
_GLOB = rf"^{_EDGES}(?!.*\*\*\*)[^\[\]{{}}?\\]+$"
_PATTERNS: Mapping[str, str] = {
    "listen_address": r"^(?:\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_.-]*):[0-9]{1,5}$",
    "telemetry_path": (
        r"^(?!/(?:status\.json|-)/?$)(?!/-/)(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+/?$"
    ),
    "name": rf"^{_EDGES}.",
    "url": _URL,
    "proxy": _URL,
    "token_env": r"^[A-Za-z_][A-Za-z0-9_]*$",
    "token_file": r".",
    "password_env": r"^[A-Za-z_][A-Za-z0-9_]*$",
    "password_file": r".",
    "ca_file": r".",
}
"""By key; what the checks of `schema` and `accounts` say in words."""
_STATE_URL = r"^(?:memory:|postgres(?:ql)?://|sqlite:///(?!:memory:)(?:.*[^/])$)"
_ITEM_PATTERNS: Mapping[str, str] = {"branches": _GLOB, "exclude": _GLOB, "repos": _GLOB}
_BOUNDS: Mapping[str, str] = {"gt": "exclusiveMinimum", "ge": "minimum", "le": "maximum"}
"""How pydantic's bounds are called in JSON Schema."""


def json_schema(providers: Mapping[str, type[Provider]] | None = None) -> _Schema:
    """The schema; `providers` is the catalogue if not given."""
    known = catalogue() if providers is None else providers
    definitions: _Schema = {}
    found = {name: _section(model, definitions) for name, model in sections().items()}
    for name, model in lists().items():
        items = {"type": "array", "items": _model(model, definitions)}
        found[name] = {**items, "type": ["array", "null"]}
    for name, provider in known.items():
        definitions[f"account_{name}"] = _account(provider, definitions)
    return {
        "$schema": DRAFT,
        "title": "Configuration of cicd-exporter",
        "type": "object",
        "additionalProperties": False,
        "required": ["accounts"],
        "properties": {**found, "accounts": _accounts(known)},
        "definitions": definitions,
    }


def text(providers: Mapping[str, type[Provider]] | None = None) -> str:
    """The same as the text of the file."""
    return json.dumps(json_schema(providers), indent=2, ensure_ascii=False) + "\n"


def _accounts(known: Mapping[str, type[Provider]]) -> _Schema:
    """Which definition an account has to follow its `provider` says."""
    return {
        "description": "What to poll: one entry for each account at a CI system.",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["name", "provider", "repos"],
            "properties": {"provider": {"enum": list(known)}},
            "allOf": [
                {
                    "if": {"properties": {"provider": {"const": name}}, "required": ["provider"]},
                    "then": {"$ref": f"#/definitions/account_{name}"},
                }
                for name in known
            ],
        },
    }


def _section(model: type[Section], definitions: _Schema) -> _Schema:
    schema = _model(model, definitions)
    if "url" in schema["properties"]:  # of the state: not of HTTP
        schema["properties"]["url"]["pattern"] = _STATE_URL
    return {**schema, "type": ["object", "null"]}  # with nothing in it: all its defaults


def _account(provider: type[Provider], definitions: _Schema) -> _Schema:
    schema = _model(provider, definitions)
    schema["properties"]["repos"]["items"] |= _entry(provider.entry_pattern)
    keys = getattr(provider, "credentials", CREDENTIALS)
    # Not as a `not`, which tells whoever gives both no more than that it failed.
    rules: list[_Schema] = [
        {"if": _given(a), "then": {"properties": {b: {"type": "null"}}}}
        for a, b in combinations(keys, 2)
    ]
    if not provider.anonymous:
        rules.append({"anyOf": [_given(key) for key in keys]})
    if provider.default_url is None:
        rules.append(_given("url"))
    return {**schema, "allOf": rules}


def _entry(pattern: str) -> _Schema:
    """An item of `repos`; its anchors make a search of what must match as a whole."""
    types = {"type": ["string", "integer"] if re.fullmatch(pattern, "1") else "string"}
    return {**types, "pattern": f"^{_EDGES}(?:{pattern})$"}


def _given(key: str) -> _Schema:
    """The key is there and not null."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _model(model: type[BaseModel], definitions: _Schema) -> _Schema:
    """The schema of a model by pydantic, with what it leaves out."""
    made = model.model_json_schema(ref_template="#/definitions/{model}")
    definitions.update({n: _untitled(s) for n, s in made.pop("$defs", {}).items()})
    schema: _Schema = _untitled(made)
    for key, field in model.model_fields.items():
        own = schema["properties"][key]
        own |= _bounds(field.metadata)
        if key in _PATTERNS:
            own |= {"pattern": _PATTERNS[key]}
        if key in _ITEM_PATTERNS:
            own["items"] |= {"pattern": _ITEM_PATTERNS[key]}
        if "patternProperties" in own:
            own["additionalProperties"] = False
    return schema


def _bounds(metadata: Iterable[Any]) -> _Schema:
    """What pydantic does not translate of a type with a schema of its own."""
    return {
        word: getattr(item, name)
        for item in metadata
        for name, word in _BOUNDS.items()
        if hasattr(item, name)
    }


def _untitled(schema: Any) -> Any:
    """Without the titles, which repeat the keys; descriptions in one line."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: " ".join(item.split())
        if key == "description" and isinstance(item, str)
        else {name: _untitled(inner) for name, inner in item.items()}
        if key == "properties"
        else _untitled(item)
        for key, item in schema.items()
        if key != "title" or not isinstance(item, str)
    }
