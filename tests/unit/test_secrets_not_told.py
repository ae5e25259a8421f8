"""A credential that somebody put in the wrong place is repeated by no command and no page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter import cli, providers
from exporter.config import schema
from tests.tools.commands import command
from tests.unit.test_redaction import TOKENS

TOKEN = TOKENS["GitHub"]
PASTED = {
    "token": TOKEN,
    "clone URL": f"https://x-access-token:{TOKEN}@github.com/acme/shop",
    "password": "https://ci:s3cr3t/Pa55@ci.example/job/shop",
    "40 hexadecimal digits": "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d",
}
SECRETS = (TOKEN, "s3cr3t", "Pa55", PASTED["40 hexadecimal digits"])
SURE = ("token", "clone URL", "password")


def holds_secret(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


def account(provider: type[providers.Provider], word: str) -> dict[str, Any]:
    """A sound account but for its credential, which is nowhere."""
    values = {"name": "a", "provider": word, "url": "https://ci.example", "repos": ["x"]}
    return {**values, "token_env": "NOT_SET_ANYWHERE", **provider.example_values}


def wrong(value: str) -> list[Any]:
    """The value in all places that a key has for it."""
    return [value, [value], {value: 1}, {"a": value}, [[value]]]


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("word", providers.catalogue())
def test_no_key_of_an_account_gives_it_away(tmp_path: Path, word: str, pasted: str) -> None:
    provider = providers.catalogue()[word]
    accounts = [
        {**account(provider, word), key: value}
        for key in (*provider.model_fields, "unknown", pasted)
        for value in wrong(pasted)
    ]
    nested = [
        {**account(provider, word), key: {inner: value}}
        for key in ("app", "entra", "http")
        for inner in ("id", "private_key_file", "installation_id", "unknown", pasted)
        for value in wrong(pasted)
    ]

    for part in range(0, len(accounts + nested), 25):  # only so many faults are told at once
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps({"accounts": (accounts + nested)[part : part + 25]}))
        ended = command("check-config", f"--config.file={file}")

        assert ended.code == 2
        assert not holds_secret(ended.out + ended.err)


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
def test_no_other_key_gives_it_away(tmp_path: Path, pasted: str) -> None:
    sections = {
        name: {**dict.fromkeys(model.model_fields, value), "unknown": value, pasted: value}
        for name, model in schema.sections().items()
        for value in [pasted]
    }
    for value in wrong(pasted):
        whole = {**sections, "accounts": value, "unknown": value, pasted: value}
        for text in (json.dumps(whole), json.dumps({"web": value, "accounts": [value]}), pasted):
            file = tmp_path / "config.yaml"
            file.write_text(text)
            ended = command("check-config", f"--config.file={file}")

            assert ended.code == 2
            assert not holds_secret(ended.out + ended.err)


@pytest.mark.parametrize("pasted", [PASTED[name] for name in SURE], ids=SURE)
@pytest.mark.parametrize("key", ["name", "repos", "exclude", "ca_file", "proxy"])
def test_a_value_that_would_become_a_label_or_a_request_is_refused(
    tmp_path: Path, key: str, pasted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "x")
    sound = {"name": "a", "provider": "jenkins", "url": "https://ci.example", "repos": ["x"]}
    value = [pasted] if key in ("repos", "exclude") else pasted
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"accounts": [{**sound, "token_env": "SOME_TOKEN", key: value}]}))

    ended = command("check-config", f"--config.file={file}")

    assert ended.code == 2
    assert f"accounts[0].{key}" in ended.err
    assert not holds_secret(ended.err)


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("name", [command.name for command in cli.COMMANDS])
def test_no_command_repeats_what_stands_in_place_of_its_arguments(name: str, pasted: str) -> None:
    (outline,) = [o for o in cli.parser().outlines() if o.path == name]
    given = [
        [pasted],
        [f"--{pasted}"],
        [f"--token={pasted}"],
        ["--config.file", "/absent.yaml", pasted],
        *([f"{flag.name}={pasted}"] for flag in outline.flags),
        *(["--config.file=/absent.yaml", f"{flag.name}={pasted}"] for flag in outline.flags),
    ]

    for args in given:
        ended = command(*name.split(), *args)

        assert ended.code != 0 or name == "completion"
        assert not holds_secret(ended.out + ended.err), args


def test_no_web_configuration_gives_it_away(tmp_path: Path) -> None:
    for pasted in PASTED.values():
        for value in wrong(pasted):
            for whole in (
                {"tls_server_config": {"cert_file": value, "key_file": value, pasted: value}},
                {"tls_server_config": {"cipher_suites": value, "min_version": value}},
                {"http_server_config": {"headers": value, "http2": value}},
                {"basic_auth_users": {pasted: value}, "rate_limit": {"interval": value}},
                {pasted: value},
            ):
                file = tmp_path / "web.yaml"
                file.write_text(json.dumps(whole))
                ended = command(
                    "check-config", "--config.file=/absent.yaml", f"--web.config.file={file}"
                )

                assert not holds_secret(ended.out + ended.err), whole
