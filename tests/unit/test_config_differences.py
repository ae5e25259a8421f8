"""What a reload says that it changes, and what it cannot change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.config.differences import NEEDS_RESTART, diff
from exporter.config.schema import Settings
from tests.tools import configs
from tests.tools.configs import account, read

folder = configs.folder


def changes(before: str, after: str) -> list[str]:
    return diff(read(before), read(after)).changes


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"interval": "30s"}, "interval nothing -> 30s"),
        ({"interval": "90s"}, {"interval": "1d"}, "interval 1m30s -> 1d"),
        ({"repos": "[x, y]"}, {"repos": "[y, z]"}, "repos +z -x"),
        ({"repos": "[x, y]"}, {"repos": "[y, x]"}, "repos in another order"),
        ({}, {"exclude": '["a/**"]', "jobs": "true"}, "exclude +a/**, jobs false -> true"),
        ({}, {"url": "https://ci.example"}, "url nothing -> 'https://ci.example'"),
        ({}, {"provider": "open"}, "provider 'stub' -> 'open'"),
        ({}, {"integration": "jenkins"}, "integration 'github' -> 'jenkins'"),
    ],
)
def test_a_changed_account_is_a_line_with_its_keys(
    before: dict[str, str], after: dict[str, str], line: str
) -> None:
    assert changes(account(**before), account(**after)) == [f"~account a: {line}"]


def app(number: int) -> str:
    key = f"{{id: 1, private_key_file: key.pem, installation_id: {number}}}"
    return f"accounts: [{{name: a, provider: open, app: {key}, repos: [x]}}]\n"


def test_a_key_inside_a_mapping_is_told_with_its_path() -> None:
    assert changes(app(2), app(3)) == ["~account a: app.installation_id 2 -> 3"]


def test_a_credential_is_told_by_its_name_alone() -> None:
    (line,) = changes(
        account(), "accounts: [{name: a, provider: stub, token_file: token, repos: [x]}]"
    )

    assert line.startswith("~account a: token_env 'T' -> nothing, token_file nothing -> '")
    assert "hunter2" not in line


def test_accounts_come_and_go_by_name() -> None:
    one, other = account(name="a"), account(name="b")

    assert changes(one, other) == ["-account a", "+account b"]


def test_another_order_of_the_accounts_is_no_difference() -> None:
    one, other = (account(name=name).removeprefix("accounts: [")[:-2] for name in "ab")

    assert changes(f"accounts: [{one}, {other}]", f"accounts: [{other}, {one}]") == []


def test_of_a_long_list_some_items_are_named() -> None:
    many = f"[{', '.join(f'r{n}' for n in range(100))}]"

    (line,) = changes(account(), account(repos=many))

    assert line == "~account a: repos +r0 +r1 +r2 +r3 +r4 +r5 +r6 +r7 and 93 more"


def test_a_setting_is_a_line_with_its_old_and_its_new_value() -> None:
    after = 'polling: {interval: 30s, reserve: 0.2}\nmetrics: {branches: [main, "hotfix/*"]}\n'

    assert changes(account(), after + account()) == [
        "~polling.interval 1m -> 30s",
        "~polling.reserve 0.1 -> 0.2",
        "~metrics.branches +hotfix/* -master -develop -release/*",
    ]


OTHERWISE: dict[str, Any] = {
    "web.listen_address": '":1"',
    "web.telemetry_path": "/numbers",
    "web.native_histograms": "true",
    "state.url": '"memory:"',
    "state.on_corrupt": "quarantine",
    "state.schema": "another",
    "fleet.lease": "20s",
    "fleet.name": "east",
    "metrics.duration_buckets": "[1, 2]",
    "metrics.queue_buckets": "[3]",
}


PASSWORDS = {"state.password_env", "state.password_file"}
"""They need a database."""


def test_the_keys_that_need_a_restart_are_keys() -> None:
    sections = Settings()
    keys = [(section, key) for section, keys in NEEDS_RESTART.items() for key in keys]

    assert all(hasattr(getattr(sections, section), key) for section, key in keys)
    assert OTHERWISE.keys() | PASSWORDS == {f"{section}.{key}" for section, key in keys}


@pytest.mark.parametrize(("path", "value"), OTHERWISE.items())
def test_what_needs_a_restart_stays_and_is_told_apart(path: str, value: str) -> None:
    section, key = path.split(".")
    running = read(account())
    found = diff(running, read(f"{section}: {{{key}: {value}}}\n" + account(interval="5m")))

    assert found.changes == ["~account a: interval nothing -> 5m"]
    assert [line.split()[0] for line in found.postponed] == [path]
    assert getattr(found.config, section) == getattr(running, section)


def test_another_password_of_the_database_waits_for_a_restart(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("swordfish")
    begin = "state: {url: 'postgresql://cicd@db/cicd',"
    variable = read(f"{begin} password_env: T}}\n{account()}")
    in_file = read(f"{begin} password_file: '{tmp_path}/password'}}\n{account()}")

    found = diff(variable, in_file)

    assert [line.split()[0] for line in found.postponed] == sorted(PASSWORDS)
    assert found.config.state == variable.state


def test_what_stays_does_not_hold_back_its_neighbours() -> None:
    wanted = read("state: {url: 'memory:', retention: 60d}\n" + account())

    found = diff(read(account()), wanted)

    assert found.changes == ["~state.retention 30d -> 60d"]
    assert found.postponed == ["state.url 'sqlite:///cicd-exporter.db' -> 'memory:'"]
    assert found.config.state.url == "sqlite:///cicd-exporter.db"
    assert found.config.state.retention == 60 * 86400
