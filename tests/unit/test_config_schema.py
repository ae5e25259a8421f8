"""What editors are told of the configuration is what the exporter takes; good ones stay good."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import json_schema, load
from exporter.config.document import parse
from exporter.config.schema import glob_fault, host_port
from exporter.errors import ConfigError
from exporter.providers import Provider, catalogue
from tests.conftest import ROOT
from tests.tools import configs
from tests.tools.commands import command
from tests.tools.configs import ACCOUNT, PROVIDERS
from tests.unit.test_config_faults import cases as faulty

GOOD = (Path(__file__).parent / "data" / "config" / "good.txt").read_text().split("\n=== ")[1:]
folder = configs.folder

BEYOND = (
    r"^\d+:\d+: (?:syntax|file): ",  # what is no value at all
    r"duplicate key|a YAML tag is not allowed|control character|a key must be text|alias of a",
    r"variable \w+ is not set|(?:variable|file) .*(?:is empty|is larger than|more than one line)",
    r"file .*(?:not found|cannot be read|is a directory|is not a regular|no certificates)",
    r"must not be (?:less|more) than |must be greater than the bound before it",  # between keys
    r"is the name of the account on line",
    r"is bad \(mend it\)",  # what a provider's code says
    r"must have at most 200 bytes",
)
"""Faults that no schema can see, nor the data model of JSON."""


@cache
def validator(*, stubs: bool = False) -> Any:
    providers: dict[str, type[Provider]] | None = PROVIDERS if stubs else None
    made = json_schema.json_schema(providers)
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


def good() -> list[Any]:
    blocks = (block.partition("\n") for block in GOOD)
    return [pytest.param(text, id=name) for name, _, text in blocks]


@pytest.mark.parametrize("text", good())
def test_a_good_configuration_stays_good_also_for_editors(folder, text) -> None:
    (folder / "config.yaml").write_text(text)

    load(folder / "config.yaml", environ={"T": "hunter2"})

    assert [] == [error.message for error in validator().iter_errors(parse(text).value)]


@pytest.mark.parametrize(("text", "said"), faulty())
def test_an_editor_sees_every_fault_that_a_schema_can_say(text, said) -> None:
    unseen = [line for line in said if not any(re.search(p, line) for p in BEYOND)]
    if not unseen:
        return

    assert list(validator(stubs=True).iter_errors(parse(text).value)) != [], said


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("wbe: {}\n" + ACCOUNT, []),
        ("polling: {interval: soon}\n" + ACCOUNT, ["polling", "interval"]),
        ("polling: {interval: 1:30}\n" + ACCOUNT, ["polling", "interval"]),
        ("polling: {interval: 0}\n" + ACCOUNT, ["polling", "interval"]),
        ("metrics: {duration_buckets: []}\n" + ACCOUNT, ["metrics", "duration_buckets"]),
        (ACCOUNT.replace("stub", "stubb"), ["accounts", 0, "provider"]),
        (ACCOUNT.replace("[x]", "[]"), ["accounts", 0, "repos"]),
        (ACCOUNT.replace("token_env: T, ", ""), ["accounts", 0]),
        (
            ACCOUNT.replace("token_env: T, ", "token_env: T, token_file: token, "),
            ["accounts", 0, "token_file"],
        ),
        (ACCOUNT.replace("token_env: T, ", "token: x, token_env: T, "), ["accounts", 0]),
        (ACCOUNT.replace("provider: stub", "provider: selfhosted"), ["accounts", 0]),
    ],
)
def test_an_editor_sees_a_fault_where_it_is(text, place) -> None:
    assert configs.faults(text) != []
    assert place in [
        list(e.absolute_path) for e in validator(stubs=True).iter_errors(parse(text).value)
    ]


@given(st.text(max_size=12) | st.from_regex(r"[\[\]a-f0-9.:%w-]{0,12}:[0-9]{1,6}", fullmatch=True))
def test_every_listen_address_that_is_read_is_known_to_editors(text) -> None:
    try:
        host_port(text)
    except ValueError:
        return

    assert _accepts({"web": {"listen_address": text}})


@given(st.text(alphabet="ab*/?[]{}\\ -é", max_size=8))
def test_a_glob_is_the_same_for_editors(text) -> None:
    assert (glob_fault(text) is None) == _accepts({"metrics": {"branches": [text]}})


@pytest.mark.parametrize("provider", catalogue())
def test_the_entries_of_a_provider_are_the_same_for_editors(provider) -> None:
    items = json_schema.json_schema()["definitions"][f"account_{provider}"]["properties"]["repos"]
    pattern = catalogue()[provider].entry_pattern
    entries = ["a", "a/b", "a/b/c", "a/*", "*", "a/**", "12", "a b", "", "/", "a/b/*", "**"]

    accepted = [e for e in entries if jsonschema.Draft7Validator(items).is_valid([e])]

    assert accepted == [e for e in entries if e and re.fullmatch(pattern, e)]


def _accepts(settings: dict[str, Any]) -> bool:
    accounts = [{"name": "a", "provider": "github", "token_env": "T", "repos": ["a/b"]}]
    return bool(validator().is_valid({**settings, "accounts": accounts}))


def test_the_committed_schema_is_current() -> None:
    remedy = "python -m exporter config schema > docs/config.schema.json"

    assert json_schema.text() == (ROOT / json_schema.FILE).read_text(), f"make it anew: {remedy}"


def test_the_example_names_its_schema_and_keeps_to_it() -> None:
    text = (ROOT / "config.example.yaml").read_text()
    modeline = text.splitlines()[0]

    assert modeline == f"# yaml-language-server: $schema={json_schema.FILE}"
    assert [] == [e.message for e in validator().iter_errors(parse(text).value)]


def test_the_command_prints_the_schema() -> None:
    ended = command("config", "schema")

    assert (0, json_schema.json_schema(), "") == (ended.code, json.loads(ended.out), ended.err)


def test_every_key_has_its_meaning_in_the_schema() -> None:
    made = json_schema.json_schema()
    places = {**made["properties"], **made["definitions"]}

    silent = [
        f"{name}.{key}"
        for name, place in places.items()
        for key, schema in place.get("properties", {}).items()
        if "description" not in schema and key != "provider"
    ]
    assert silent == []


def test_a_fault_beyond_the_schema_is_still_told_by_the_exporter() -> None:
    text = "state: {retention: 1h}\npolling: {lookback: 2h}\n" + ACCOUNT

    assert list(validator(stubs=True).iter_errors(parse(text).value)) == []
    with pytest.raises(ConfigError, match=r"must not be (less|more) than"):
        configs.read(text)
