"""Whatever a CI system answers, no poll breaks and no exposition is spoilt.

The accounts are those of the catalogue: a new provider is tried as it stands.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter import providers
from exporter.providers import catalogue
from tests.contract.fuzz import properties
from tests.contract.fuzz.bench import Bench, Keys, accounts, provider_of
from tests.contract.fuzz.natives import Kinds, family, recorded, rendered
from tests.contract.fuzz.source import source
from tests.contract.fuzz.stages import STAGES
from tests.contract.fuzz.values import TEXTS
from tests.contract.fuzz.worlds import World
from tests.contract.providers.test_ninth_provider import STUB

each_account = pytest.mark.parametrize("name", accounts())

SIGNS = {
    "\x7f\x85\u2028": "\ufffd",
    'quo"te': r"\"",
    "back\\slash\\": r"\\",
    "é" * 120: "…",
    "\u202eright to left": "\u202e",
    "🚀" * 60: "🚀",
}
"""Odd texts, and what an exposition shows of a label that holds one."""

FEW, SOME = 4, 8
"""Examples of what all integrations share, and of what is a provider's own."""


@pytest.fixture
def natives(request: pytest.FixtureRequest) -> Callable[[str], Kinds]:
    """Sound objects of an account: recorded ones, or those that the emulator tells."""

    def find(name: str) -> Kinds:
        keys = accounts()[name]
        if "integration" in keys:
            return rendered(keys["integration"])
        kinds = recorded(request.getfixturevalue("shared"), keys["provider"])
        if not kinds:
            pytest.skip(f"no recorded answers of {keys['provider']}")
        return kinds

    return find


def count(name: str) -> int:
    return FEW if "integration" in accounts()[name] else SOME


@each_account
def test_recorded_answers_cannot_be_spoilt_so_that_they_break_a_poll(name, natives) -> None:
    properties.nothing_breaks(accounts()[name], natives(name), count=count(name))


@each_account
def test_made_up_answers_break_no_poll(name) -> None:
    properties.nothing_breaks(accounts()[name], {}, count=count(name))


@each_account
def test_an_odd_item_among_recorded_ones_keeps_no_other_from_being_counted(name, natives) -> None:
    properties.others_are_counted(accounts()[name], natives(name), count=count(name))


@each_account
def test_an_odd_item_among_made_up_ones_keeps_no_other_from_being_counted(name) -> None:
    properties.others_are_counted(accounts()[name], {}, count=count(name))


@pytest.mark.parametrize("word", STAGES)
def test_an_emulator_s_answers_cannot_be_spoilt_so_that_they_break_a_poll(word) -> None:
    properties.nothing_breaks_on_the_way(word, count=SOME)


def test_promtool_accepts_labels_that_hold_what_none_should(promtool: Path) -> None:
    bench = Bench(provider_of(accounts()["github"], jobs=True))
    for keys in accounts().values():
        bench.native = provider_of(keys, jobs=True)
        # Each by itself too, as among all the others chance decides which of them are drawn.
        for words in (TEXTS, *([text] for text in SIGNS)):
            odd = source(keys["provider"])._replace(words=frozenset(words))
            bench.polls(World(family({}, odd, random.Random(0)), seed=0))
    body = bench.exposition("text")
    bench.crash()

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=body, capture_output=True, text=True, check=False
    )
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
    assert [] == [text for text, sign in SIGNS.items() if sign not in body]


# -- the properties can fail

TENTH = (
    STUB.replace("ninth", "tenth")
    .replace(
        "\n\nclass Ninth(Provider)",
        """
    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        return build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        return to_build((await self.api.get(f"/{self.account.shelf}/x", into=Item)).body, repo)

    async def discover(self, pattern: str) -> list[Repo]:
        answer = await self.api.get("/all", into=list[msgspec.Raw])
        return [Repo(item.id) for item in each(answer.body, Item)[0]]


SEEN: list[str] = []


class Ninth(Provider)""",
    )
    .replace("payload import moment", "payload import each, moment")
)


@pytest.fixture
def tenth(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Keys]:
    """The account of a provider that nobody has met before; `request.param` changes its source."""
    old, new = request.param
    assert old in TENTH
    folder = tmp_path / "providers"
    folder.mkdir()
    (folder / "tenth.py").write_text(TENTH.replace(old, new))
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(folder)])
    for cached in (catalogue, accounts, source):
        cached.cache_clear()
    try:
        yield accounts()["tenth"]
    finally:
        for cached in (catalogue, accounts, source):
            cached.cache_clear()
        sys.modules.pop("exporter.providers.tenth", None)
        vars(providers).pop("tenth", None)


@pytest.mark.parametrize("tenth", [("", "")], indirect=True, ids=["as it stands"])
def test_a_provider_that_nobody_has_met_before_is_tried(tenth: Keys) -> None:
    properties.nothing_breaks(tenth, {}, count=SOME)
    properties.others_are_counted(tenth, {}, count=SOME)


@pytest.mark.parametrize(
    ("tenth", "error"),
    [
        (("moment(item.begun)", "float(item.begun)"), ValueError),
        (("repo=repo.entry", "repo=repo.entry[99]"), IndexError),
        (("Key(item.id)", "Key(item.id), number=2**64"), OverflowError),
        (("Key(item.id)", "Key(item.id), attempt=len(SEEN.append(0) or SEEN)"), AssertionError),
    ],
    indirect=["tenth"],
    ids=["no number", "no such place", "too large a number", "an attempt for each answer"],
)
def test_what_is_wrong_with_such_a_provider_is_found(tenth, error) -> None:
    with pytest.raises(error):
        properties.nothing_breaks(tenth, {}, count=SOME)
