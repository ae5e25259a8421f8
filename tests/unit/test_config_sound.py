"""What is right is read as it is written, and the example shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import certifi
import pytest
import yaml
from pydantic import ValidationError

from exporter import files
from exporter.config import Config, Metrics, Polling, State, Web, example, host_port, load
from exporter.errors import ConfigError
from exporter.providers import catalogue
from tests.conftest import ROOT
from tests.tools import configs
from tests.tools.configs import ACCOUNT, PROVIDERS, TOKEN, App, Open, Stub, account, read

folder = configs.folder

# --- what is right ---


def test_an_account_is_all_that_is_needed() -> None:
    config = read(ACCOUNT)

    (only,) = config.accounts
    assert Config(accounts=config.accounts) == config
    assert (Web(), State(), Polling(), Metrics()) == (
        config.web,
        config.state,
        config.polling,
        config.metrics,
    )
    assert isinstance(only, Stub)
    assert ("a", "stub", ["x"], None) == (only.name, only.provider, only.repos, only.interval)
    assert () == config.warnings


def test_the_defaults_are_those_of_the_contract() -> None:
    day = 86400

    assert (":10054", "/metrics") == (Web().listen_address, Web().telemetry_path)
    assert ("sqlite:///cicd-exporter.db", "cicd-exporter.db") == (State().url, State().path)
    assert (30 * day, "fail") == (State().retention, State().on_corrupt)
    assert {
        "interval": 60,
        "lookback": day,
        "timeout": 30,
        "max_interval": 900,
        "rerun_window": day,
        "max_open_age": 7 * day,
        "reserve": 0.1,
    } == Polling().model_dump()
    assert {
        "branches": ("main", "master", "develop", "release/*"),
        "duration_buckets": (
            *(10, 30, 60, 120, 180, 300, 600, 900),
            *(1800, 3600, 7200, 14400, 28800, 86400),
        ),
        "queue_buckets": (1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
        "series_limit": 500_000,
        "zero_hold": 120,
        "build_info": False,
    } == Metrics().model_dump()


def test_every_key_is_read() -> None:
    config = read(
        """\
web: {listen_address: "[::1]:0", telemetry_path: /m/etrics/, external_url: "http://x:80/a/b"}
state: {url: "memory:", retention: 90d, on_corrupt: quarantine, builds: 7}
polling:
  interval: 1m30s
  lookback: 1.5s
  timeout: 7
  max_interval: 0.5e3
  rerun_window: 1d2h
  max_open_age: 1h
  reserve: 0
metrics:
  branches: []
  duration_buckets: [0.5, 1, 2.5]
  queue_buckets: [1]
  series_limit: 1
  zero_hold: 0
  build_info: true
accounts:
  - name: no
    provider: stub
    integration: jenkins
    url: https://ci.example:8443/api/
    token_file: token
    web_url: https://ci.example/pages
    ca_file: null
    proxy: http://proxy.example:3128
    interval: 2m
    repos: [12, "1.10", 2024-01-01, 0x1F, 007, yes]
    exclude: [x/**, 7]
    jobs: true
"""
    )

    assert ("[::1]:0", "/m/etrics/") == (config.web.listen_address, config.web.telemetry_path)
    assert ("http://x:80/a/b", 7) == (config.web.external_url, config.state.builds)
    assert ("memory:", None) == (config.state.url, config.state.path)
    assert (90 * 86400, "quarantine") == (config.state.retention, config.state.on_corrupt)
    assert [90, 1.5, 7, 500, 93600, 3600, 0] == list(config.polling.model_dump().values())
    assert [(), (0.5, 1, 2.5), (1,), 1, 0, True] == list(config.metrics.model_dump().values())
    assert {
        "name": "no",
        "provider": "stub",
        "url": "https://ci.example:8443/api/",
        "token_env": None,
        "token_file": "token",
        "web_url": "https://ci.example/pages",
        "ca_file": None,
        "proxy": "http://proxy.example:3128",
        "interval": 120,
        "repos": ["12", "1.10", "2024-01-01", "0x1F", "007", "yes"],
        "exclude": ["x/**", "7"],
        "jobs": True,
        "integration": "jenkins",
    } == config.accounts[0].model_dump()


@pytest.mark.parametrize(
    "text",
    [
        "web:\nstate: ~\npolling: null\nmetrics: {}\n" + ACCOUNT,
        "%YAML 1.1\n---\n" + ACCOUNT + "...\n",
        ACCOUNT.replace("\n", "\r\n"),
        "\ufeff" + ACCOUNT,
        account(name="acmé-ünïted"),
        account(name="!!str 5"),
        account(url="http://localhost:80/x"),
        account(url="'http://[::1]:80'"),
        account(url="https://bücher.example"),
        account(token_env="null", token_file="token"),
        account(interval="1d"),  # an account may be slower than any backing off
        account(exclude="[]"),
        "state: {retention: 1h}\npolling: {lookback: 1h, interval: 15m}\n" + ACCOUNT,
    ],
)
def test_what_is_right_is_not_complained_of(text) -> None:
    assert () == read(text).warnings


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (":10054", ("", 10054)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_a_listen_address_has_its_parts(address, parts) -> None:
    assert parts == host_port(address)


@pytest.mark.parametrize(
    "url",
    [
        "ops.example",
        "ftp://ops.example",
        "https://",
        "https://user:secret@ops.example",
        "https://ops.example/a?b",
        "https://ops.example/a#",
        "https://ops.example/a b",
    ],
)
def test_an_external_url_is_an_address_for_people(url) -> None:
    with pytest.raises(ConfigError, match=r"web\.external_url"):
        read(f"web: {{external_url: '{url}'}}\n" + ACCOUNT)


def test_mappings_are_shared_with_anchors() -> None:
    config = read(
        """\
accounts:
  - &base {name: a, provider: stub, token_env: T, repos: &repos [x, y], interval: 5m}
  - {<<: *base, name: b, repos: [z]}
  - {<<: [{interval: 7m}, *base], name: c}
  - {name: d, provider: open, token_env: T, repos: *repos}
"""
    )

    assert [("a", ["x", "y"], 300), ("b", ["z"], 300), ("c", ["x", "y"], 420)] == [
        (a.name, a.repos, a.interval) for a in config.accounts[:3]
    ]
    assert ["x", "y"] == config.accounts[3].repos


def test_files_are_looked_for_in_the_folder_of_the_configuration(folder, monkeypatch) -> None:
    app = "{id: 1, private_key_file: key, installation_id: 2}"
    text = account(provider="open", token_env="null", app=app, ca_file=certifi.where())
    (folder / "config.yaml").write_text(text + "  # end\n")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    (found,) = load("../config.yaml", providers=PROVIDERS).accounts

    assert isinstance(found, Open)
    assert found.app == App(id=1, private_key_file="../key", installation_id=2)
    assert certifi.where() == found.ca_file


def test_a_configuration_cannot_be_changed() -> None:
    config = read(ACCOUNT)

    with pytest.raises(ValidationError, match="frozen"):
        config.web.telemetry_path = "/x"


def test_a_configuration_holds_no_secret() -> None:
    config = read(account(token_env="T") + "web: {}\n")

    assert TOKEN not in repr(config)
    assert TOKEN not in config.model_dump_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            account(provider="open", token_env="null"),
            "1:12: accounts[0]: no token: anonymous, with a low rate limit (set {})".format(
                "token_env or token_file or app"
            ),
        ),
        (
            account(url="http://ci.example"),
            "1:69: accounts[0].url: the token travels unencrypted (use https)",
        ),
        (
            account(name="'${NAME}'"),
            "1:19: accounts[0].name: `${...}` is not expanded (it is taken as it stands)",
        ),
    ],
    ids=["anonymous", "unencrypted", "template"],
)
def test_what_is_doubtful_is_a_warning(text, said) -> None:
    assert (f"config.yaml:{said}",) == read(text).warnings


# --- the example ---


def test_the_example_shows_every_key_of_an_account_once_and_then_what_differs() -> None:
    text = example({"stub": Stub, "open": Open})

    shown = yaml.safe_load(text)["accounts"]
    assert set(Stub.model_fields) == set(shown[0])
    assert {"name", "provider", "integration", "app", "token_env", "repos"} == set(shown[1])
    assert "  # A CI system with a public API.\n" in text
    assert "    # Which of its dialects. One of github, jenkins.\n    integration: github\n" in text


def test_the_example_takes_values_that_have_no_default_from_the_provider() -> None:
    class Special(Stub):
        """List of forms.

        - `owner/name`: one
        - `owner/*`: all
        """

        example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/*", 7], "extra": {"a": "x y"}}
        extra: dict[str, str]
        needed: str

    text = example({"stub": Special})

    assert '    repos: ["acme/*", 7]\n' in text
    assert '    extra: {a: "x y"}\n' in text
    assert '    needed: "..."\n' in text
    assert "  # - `owner/name`: one\n  # - `owner/*`: all\n" in text


def test_the_committed_example_is_current() -> None:
    remedy = "python -c 'from exporter.config import example; print(example(), end=\"\")'"

    assert example() == (ROOT / "config.example.yaml").read_text(), f"make it anew: {remedy}"


def test_the_example_loads_and_its_settings_are_the_defaults() -> None:
    text = (ROOT / "config.example.yaml").read_text()
    variables = [a["token_env"] for a in yaml.safe_load(text)["accounts"]]

    config = load(ROOT / "config.example.yaml", environ=dict.fromkeys(variables, TOKEN))

    assert Config(accounts=config.accounts) == config
    assert list(catalogue()) == [a.provider for a in config.accounts]


def test_a_file_with_a_secret_that_others_may_use_is_doubtful(monkeypatch) -> None:
    monkeypatch.setattr(files, "others_may", lambda path: f"read {Path(path).name}")
    app = "{id: 1, private_key_file: key.pem, installation_id: 1}"
    text = account(provider="open", token_env="null", app=app)

    (warned,) = read(account(token_env="null", token_file="token")).warnings
    assert warned.startswith("config.yaml:1:79: accounts[0].token_file: others may read token")
    (told,) = read(text).warnings
    assert "accounts[0].app.private_key_file: others may read key.pem this file" in told
