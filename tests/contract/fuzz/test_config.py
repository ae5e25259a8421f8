"""Whatever has become of the example, it is read, or every fault of it is told at its place."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config, load
from exporter.errors import ConfigError
from exporter.providers import Provider, catalogue
from tests.conftest import ROOT
from tests.contract.fuzz import examples
from tests.contract.fuzz.bench import accounts
from tests.contract.fuzz.values import DROPPED, NUMBERS, SHAPES, TEXTS, Verbatim, changed, places

TOKEN = "s3cr3t-t0k3n"
FAULT = re.compile(r"config\.yaml:([1-9]\d*):([1-9]\d*): \S.*")

WORDS = (
    *(
        "30s",
        "0s",
        "1d1s",
        "-1s",
        "1:30",
        "9" * 400 + "d",
        "1e9",
        ":0",
        "[::1]:1",
        "h:99999",
        "x:y",
    ),
    *("sqlite:///x", "sqlite:////x/../y", "sqlite://", "memory:", "postgres://x", "file:x", "${T}"),
    *(
        "https://h",
        "http://[",
        "https://u:p@h/?q#f",
        "HTTPS://H",
        "http://169.254.169.254",
        "ftp://h",
    ),
    *("*", "**", "a/*", "a/**/b", "a*", "a/b/c/d", "a//b", "/a", "a/", " a", "a/..", "a/%2e", "1"),
    *("T", "MISSING", "/nowhere", ".", "/", "config.yaml", "github", "truto", "buddy", "demo", "~"),
)
ODD = st.sampled_from(
    [v for v in (*TEXTS, *NUMBERS, *SHAPES, *WORDS) if not isinstance(v, Verbatim)] + [DROPPED]
)
SCRAPS = (
    *("\t", " ", "\n", "  ", "- ", ": ", "#", "'", '"', "[", "]", "{", "}", "&a ", "*a", "<<: *a"),
    *("!!python/object:os.system ", "!x ", "|\n", ">\n", "---\n", "...\n", "%YAML 9.9\n", "\\"),
    *(
        "\ufeff",
        "\x00",
        "\x85",
        "\u2028",
        "🚀",
        "é",
        "?",
        "@",
        "`",
        "%",
        "null",
        "accounts:\n",
        "\r",
    ),
)


@pytest.fixture(autouse=True, scope="module")
def folder() -> Iterator[Path]:
    """A folder to read from, with nothing in it but what is written there."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as made:
        patch.chdir(made)
        yield Path(made)


@cache
def example() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    return read


@cache
def keys() -> frozenset[str]:
    """All keys that there are."""
    named = {key for provider in catalogue().values() for key in provider.model_fields}
    sections = {key for value in example().values() if isinstance(value, dict) for key in value}
    return frozenset(named | sections | example().keys())


def read(data: bytes) -> Config | None:
    """The configuration; None, and that is told well, if it is none."""
    Path("config.yaml").write_bytes(data)
    try:
        return load("config.yaml", environ={"T": TOKEN})
    except ConfigError as error:
        faults = error.faults
    assert faults
    for fault in faults:
        assert FAULT.fullmatch(fault), fault
        assert fault.isprintable(), fault
        assert len(fault) < 2000
        assert TOKEN not in fault
    places = [tuple(map(int, FAULT.findall(fault)[0])) for fault in faults]
    assert places == sorted(places)
    return None


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """The example with some accounts of the catalogue, some of it changed."""
    chosen = draw(st.lists(st.sampled_from(list(accounts())), min_size=1, max_size=2))
    named = [{**accounts()[name], "name": f"n{i}"} for i, name in enumerate(chosen)]
    value: Any = example() | {"accounts": named}
    for _ in range(draw(st.integers(0, 4))):
        found = sorted(places(value, keys()), key=str)
        if found:
            value = changed(value, draw(st.sampled_from(found)), draw(ODD))
    if isinstance(value, dict) and draw(st.booleans()):
        value = value | {draw(st.sampled_from(sorted(keys()))): draw(ODD.filter(_is_there))}
    return value  # type: ignore[no-any-return]


def _is_there(value: Any) -> bool:
    return value is not DROPPED


@examples(60)
@given(value=documents())
def test_no_value_in_place_of_another_breaks_the_checks(value):
    found = read(yaml.safe_dump(value, sort_keys=False).encode("utf-8", "surrogatepass"))

    assert found is None or all(isinstance(a, Provider) for a in found.accounts)


@examples(40)
@given(
    name=st.sampled_from(list(accounts())),
    scraps=st.lists(
        st.tuples(st.integers(0, 9999), st.sampled_from(SCRAPS), st.integers(0, 30)), max_size=4
    ),
)
def test_no_scrap_of_text_anywhere_breaks_the_reader(name, scraps):
    account = {**accounts()[name], "name": "n"}
    text = yaml.safe_dump(example() | {"accounts": [account]}, sort_keys=False)
    for place, scrap, gone in scraps:
        at = place % (len(text) + 1)
        text = text[:at] + scrap + text[at + gone :]

    assert read(text.encode("utf-8", "surrogatepass")) is not None or scraps


@examples(30)
@given(data=st.binary(max_size=9), place=st.integers(0, 9999))
def test_no_bytes_anywhere_break_the_reader(data, place):
    text = (ROOT / "config.example.yaml").read_bytes()[-1500:]
    at = place % len(text)

    read(b"accounts:\n" + text[:at] + data + text[at:])
