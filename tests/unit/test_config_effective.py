"""The configuration in force can be shown to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from exporter.config import Config, load
from exporter.config.effective import effective
from exporter.providers import Provider

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


def shown(config: Config) -> str:
    return "\n".join(effective(config))


def loaded(tmp_path: Path, text: str) -> Config:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "config.yaml").write_text(text)
    return load(tmp_path / "config.yaml", environ={"GITHUB_TOKEN": TOKEN})


MINE = """
polling: {interval: 90s}
metrics: {branches: [main, "feature/**"]}
accounts:
  - {name: 007, provider: github, token_env: GITHUB_TOKEN, repos: [acme/shop, "acme/*"]}
  - {name: "two: #2", provider: jenkins, url: "https://ci.example", username: bob,
     token_file: token, repos: [folder/job], interval: 5m, proxy: "http://10.0.0.1:8080"}
"""


def test_it_is_yaml_with_every_key_and_the_values_in_force(tmp_path: Path) -> None:
    config = loaded(tmp_path, MINE)

    told: dict[str, Any] = yaml.safe_load(shown(config))

    assert told["polling"]["interval"] == "1m30s"
    assert told["polling"]["lookback"] == "1d"
    assert told["metrics"]["branches"] == ["main", "feature/**"]
    one, two = told["accounts"]
    assert one["name"] == "007"
    assert (one["url"], one["interval"]) == ("https://api.github.com", "1m30s")
    assert one["repos"] == ["acme/shop", "acme/*"]
    assert (two["name"], two["username"], two["interval"]) == ("two: #2", "bob", "5m")
    for account, shown_keys in zip(config.accounts, (one, two), strict=True):
        assert set(type(account).model_fields) == shown_keys.keys()


def test_it_names_secrets_and_holds_none(tmp_path: Path) -> None:
    text = shown(loaded(tmp_path, MINE))

    assert TOKEN not in text
    assert "token_env: GITHUB_TOKEN" in text
    assert f"token_file: {tmp_path}/token" in text


def test_what_stands_before_a_host_is_masked_wherever_it_is() -> None:
    account = Provider.model_construct(
        name="a", provider="x", url="https://bob:hunter2@ci.example/x", proxy="http://u:pw@h:1",
        repos=["https://me:hunter2@git.example/y"], interval=None,
    )  # fmt: skip
    config = Config.model_construct(accounts=(account,))

    text = shown(config)

    assert "hunter2" not in text
    assert "pw@" not in text
    assert text.count("//***@") == 3
