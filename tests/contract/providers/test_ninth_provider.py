"""A provider is one file, and every one keeps the same promises."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from exporter import providers
from exporter.config import example, load
from exporter.config.reference import reference
from exporter.errors import ConfigError, Gone, Malformed, ProviderError, Refused, TryLater
from exporter.http import Api, RetryPolicy
from exporter.metrics import families as f
from exporter.providers import Provider, Query, Repo, catalogue
from tests.conftest import ROOT
from tests.tools.emulators.rig import TOKEN as LET_IN
from tests.tools.emulators.rig import Station, emulator, iso
from tests.tools.hostile import Server, http

SHIPPED = list(catalogue())
TOKEN = "s3cr3t-t0k3n"

STUB = '''
"""Ninth CI.

Token: any. Requests: one per repo and poll. Self-hosted: by `url`. Known: duration.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from exporter.model import Build, BuildKey, Status
from exporter.model.vocabulary import Words, by_word, resolve_state
from exporter.payload import moment
from exporter.providers import Page, Provider, Query, Repo, Source

WORDS = Words(status=by_word({Status.IN_PROGRESS: "busy"}), conclusion=by_word({"passed": "fine"}))


class Item(msgspec.Struct):
    id: str
    state: str
    begun: str
    ended: str | None = None


class NinthSource(Source["Ninth"]):
    async def page(self, repo: Repo, query: Query) -> Page:
        answer = await self.api.get(f"/{self.account.shelf}/{repo.entry}", into=list[msgspec.Raw])
        return Page.of(answer.body, Item, lambda item: to_build(item, repo))


class Ninth(Provider):
    """Ninth CI, wherever it runs."""

    source = NinthSource
    default_url = "https://ninth.example/api"
    entry_form = "owner/name"
    entry_pattern = r"[^/]+/[^/]+"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop"], "shelf": "upper"}

    provider: Literal["ninth"]
    shelf: str = "lower"
    """Where the builds are kept."""


def to_build(item: Item, repo: Repo) -> Build:
    begun = moment(item.begun)
    state = resolve_state(WORDS, item.state, started=begun, ended=moment(item.ended))
    return Build(key=BuildKey(item.id), repo=repo.entry, branch="main", **state.fields())


PROVIDER = Ninth
'''


IMPORTS = """
from typing import Literal

import msgspec

from exporter.model import Build, BuildKey
from exporter.model.vocabulary import Words, by_word, resolve_state
from exporter.payload import moment
from exporter.providers import Page, Provider, Query, Repo, Source

"""
"""What the example of the contract needs."""


@contextmanager
def added(word: str, text: str, folder: Path) -> Iterator[type[Provider]]:
    """The provider of one more file in the folder of providers."""
    folder /= "providers"
    folder.mkdir()
    (folder / f"{word}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "__path__", [*providers.__path__, str(folder)])
        catalogue.cache_clear()
        try:
            yield catalogue()[word]
        finally:
            catalogue.cache_clear()
            sys.modules.pop(f"exporter.providers.{word}", None)
            vars(providers).pop(word, None)


@pytest.fixture
def ninth(tmp_path: Path) -> Iterator[type[Provider]]:
    with added("ninth", STUB, tmp_path) as provider:
        yield provider


def account(**keys: Any) -> dict[str, Any]:
    known = {"name": "acme", "provider": "ninth", "token_env": "T", "repos": ["acme/shop"]}
    return known | keys


def configured(folder: Path, *accounts: Any) -> tuple[Provider, ...]:
    file = folder / "config.yaml"
    file.write_text(json.dumps({"accounts": accounts}))  # JSON is YAML
    return load(file, environ={"T": TOKEN}).accounts


# -- one file


def test_one_more_file_is_one_more_provider(ninth: type[Provider]) -> None:
    assert sorted([*SHIPPED, "ninth"]) == list(catalogue())
    assert catalogue()["ninth"] is ninth


def test_without_the_file_there_is_no_such_provider() -> None:
    assert list(catalogue()) == SHIPPED
    assert "ninth" not in example()


def test_its_account_is_read_with_its_own_keys(ninth: type[Provider], tmp_path: Path) -> None:
    (read,) = configured(tmp_path, account(shelf="upper", interval="5m", jobs=True))

    assert type(read) is ninth
    assert read.model_dump(include={"shelf", "interval", "jobs"}) == {
        "shelf": "upper",
        "interval": 300.0,
        "jobs": True,
    }


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"shelve": "upper"}, "accounts[0].shelve"),
        ({"shelf": 7}, "accounts[0].shelf"),
        ({"repos": ["shop"]}, "accounts[0].repos[0]"),
    ],
    ids=["unknown-key", "wrong-type", "wrong-entry"],
)
def test_its_account_is_read_strictly(
    ninth: type[Provider], tmp_path: Path, keys: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, account(**keys))

    assert [place] == [fault.split(": ")[1] for fault in caught.value.faults]


def test_its_account_is_in_the_example_and_can_be_used_as_it_stands(
    ninth: type[Provider], tmp_path: Path
) -> None:
    text = example()
    file = tmp_path / "config.yaml"
    file.write_text(text)

    assert "  # Ninth CI, wherever it runs.\n  - name: acme-ninth\n    provider: ninth\n" in text
    assert "    # Where the builds are kept.\n    shelf: upper\n" in text
    assert ninth in {type(read) for read in load(file, environ=tokens(text)).accounts}


def test_it_has_a_section_of_the_page_about_providers(ninth: type[Provider]) -> None:
    section = reference().partition("\n## Ninth CI\n")[2].partition("\n## ")[0]

    assert "`provider: ninth`" in section
    assert "https://ninth.example/api" in section
    assert "`shelf`" in section
    assert "Known: duration." in section


def test_its_builds_are_counted(ninth: type[Provider]) -> None:
    begun = time.time() - 600
    told: list[dict[str, Any]] = [
        {"id": "2", "state": "busy", "begun": iso(begun + 300)},
        {"id": "1", "state": "fine", "begun": iso(begun), "ended": iso(begun + 60)},
    ]
    app = emulator({"/lower/acme/shop": lambda _: told}, ("authorization", f"Bearer {LET_IN}"))
    rig = Station(ninth.model_validate(account()), app, "")

    rig.polled()
    assert (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="in_progress")) == (1, 1)

    told[0] |= {"state": "odd", "ended": iso(begun + 330)}
    rig.polled()
    rig.polled()
    assert rig.value(f.BUILDS, repo="acme/shop", branch="main", conclusion="passed") == 1
    assert (rig.value(f.BUILDS), rig.value(f.BUILD_DURATION)) == (2, 2)
    assert rig.value(f.UNMAPPED, field="status") == 1


# -- the example


def test_the_example_of_the_contract_polls(tmp_path: Path) -> None:
    _, _, example = str(providers.__doc__).partition("of a repo at once:\n\n")
    begun = time.time() - 600
    told: list[dict[str, Any]] = [
        {"id": 3, "state": "ok", "started": iso(begun + 300), "ended": "soon"},
        {"id": 2, "state": "broken", "started": iso(begun + 200), "ended": iso(begun + 290)},
        {"id": 1, "state": "ok", "started": iso(begun), "ended": iso(begun + 60)},
        {"number": 0},
    ]
    app = emulator({"/acme/shop/builds": lambda _: told}, ("authorization", f"Bearer {LET_IN}"))
    keys = {"name": "acme", "provider": "tiny", "repos": ["acme/shop"]}
    with added("tiny", IMPORTS + textwrap.dedent(example), tmp_path) as tiny:
        rig = Station(tiny.model_validate(keys), app, "")

    assert rig.polled() == ["/acme/shop/builds"]
    assert {c: rig.value(f.BUILDS, conclusion=c) for c in ("passed", "failed")} == {
        "passed": 2,
        "failed": 1,
    }
    assert rig.value(f.BUILD_DURATION) == 2


# -- the promises of all


def tokens(text: str) -> dict[str, str]:
    """An environment with every variable that a configuration names."""
    return dict.fromkeys(re.findall(r"token_env: (\w+)", text), TOKEN)


@cache
def examples() -> dict[str, Provider]:
    file = ROOT / "config.example.yaml"
    return {a.provider: a for a in load(file, environ=tokens(file.read_text())).accounts}


def of_example(word: str) -> Provider:
    """The account of the example, in a fresh copy that remembers nothing."""
    read = examples()[word]
    return type(read).model_validate(read.model_dump())


each_provider = pytest.mark.parametrize("word", SHIPPED)


@each_provider
def test_a_provider_is_a_frozen_class_that_says_what_it_is_in_a_line(word: str) -> None:
    provider = importlib.import_module(f"exporter.providers.{word}").PROVIDER
    first, _, rest = (provider.__doc__ or "").partition("\n")

    assert provider is catalogue()[word]
    assert issubclass(provider, Provider)
    assert first.endswith(".")
    assert rest == "" or rest.startswith("\n")
    with pytest.raises(ValidationError, match="frozen"):
        of_example(word).name = "other"
    with pytest.raises(ValidationError, match="Extra inputs"):
        provider.model_validate(examples()[word].model_dump() | {"unheard_of": 1})


@each_provider
def test_a_provider_is_called_by_the_word_of_its_file(word: str) -> None:
    kind = catalogue()[word].model_fields["provider"].annotation

    assert get_origin(kind) is Literal
    assert get_args(kind) == (word,)


@each_provider
def test_its_account_of_the_committed_example_loads(word: str) -> None:
    assert type(examples()[word]) is catalogue()[word]


@each_provider
def test_the_headers_hold_the_token_and_do_without_where_it_may_be_missing(word: str) -> None:
    provider = of_example(word)
    values = provider.headers(TOKEN).values()
    pairs = [base64.b64decode(v[6:]).decode() for v in values if v.startswith("Basic ")]

    assert any(TOKEN in value for value in (*values, *pairs))
    if provider.anonymous:
        assert TOKEN not in str(provider.headers(None))
        assert "None" not in str(provider.headers(None))


@pytest.mark.parametrize("word", SHIPPED)
def test_its_module_tells_what_it_costs_where_it_may_run_and_what_is_known(word: str) -> None:
    told = importlib.import_module(f"exporter.providers.{word}").__doc__ or ""

    assert "Requests:" in told
    assert "Self-hosted:" in told or "`url`" in told
    assert "Known:" in told
    assert re.search("^(Scopes|Token|Credentials):", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (http('{"message":"no"}', status=401), Refused, "unauthorized"),
        (http('{"message":"no"}', status=404), Gone, "not_found"),
        (http('{"message":"no"}', status=429), TryLater, "rate_limited"),
        (http('{"message":"no"}', status=503), TryLater, "server"),
        (http("<html>", content_type="text/html"), Refused, "unauthorized"),
        (http("~"), Malformed, "bad_json"),
        (http('"text"'), Malformed, "bad_shape"),
        (http('{"unlike":"a list"}'), Malformed, "bad_shape"),
    ],
    ids=["401", "404", "429", "503", "web page", "no JSON", "text", "another object"],
)
@each_provider
def test_what_goes_wrong_with_the_first_page_is_told_by_its_kind(
    word: str, reply: bytes, kind: type[ProviderError], reason: str
) -> None:
    provider = of_example(word)
    entry = next(entry for entry in provider.repos if not provider.is_wildcard(entry))

    async def first_page() -> None:
        async with Server(reply) as server:
            headers = provider.headers(TOKEN)
            retries = RetryPolicy(attempts=1)
            api = Api(root=server.root, headers=lambda: headers, timeout=10.0, retries=retries)
            try:
                await provider.connect(api).page(Repo(entry), Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(ProviderError) as caught:
        asyncio.run(first_page())
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert TOKEN not in str(caught.value)
