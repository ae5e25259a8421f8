"""`doctor` names what is wrong and what to do about it, and asks little."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from exporter.commands.doctor import examined, host
from exporter.commands.doctor.checks import Check
from exporter.config import State, load
from exporter.demo.serve import serving
from exporter.providers import catalogue
from tests.tools import hostile
from tests.tools.commands import command
from tests.tools.emulators import gitlab
from tests.tools.emulators.github import TOKEN, Hub, said
from tests.tools.emulators.rig import TOKEN as GITLAB_TOKEN
from tests.tools.system import Exporter, configure

KEY = "DOCTOR_TEST_TOKEN"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, TOKEN)


def account(url: str, **keys: Any) -> dict[str, Any]:
    known = {"name": "acme", "provider": "github", "token_env": KEY, "repos": ["acme/shop"]}
    return {**known, "url": url, **keys}


def hub(*repos: str) -> Hub:
    made = Hub()
    for repo in repos or ("acme/shop",):
        made.repo(repo)
        made.end(made.begin(repo))
    return made


async def _examined(folder: Path, *accounts: dict[str, Any], **options: Any) -> list[Check]:
    file = configure(folder, list(accounts))
    return await examined(load(file), **options)


def at(
    app: Starlette, folder: Path, *, root: str = "/api/v3", sample: int = 5, **keys: Any
) -> list[Check]:
    """What is found out about one account at an emulator."""

    async def visit() -> list[Check]:
        async with serving(app) as url:
            return await _examined(folder, account(url + root, **keys), sample=sample)

    return asyncio.run(visit())


def at_server(server: hostile.Server, folder: Path, **keys: Any) -> list[Check]:
    async def visit() -> list[Check]:
        async with server:
            return await _examined(folder, account(server.root, **keys))

    return asyncio.run(visit())


def the(checks: Iterable[Check], name: str) -> Check:
    (found,) = (check for check in checks if check.check == name)
    return found


def failures(checks: Iterable[Check]) -> list[str]:
    return [check.check for check in checks if check.status == "failed"]


def test_a_sound_account_is_well_and_is_asked_little(tmp_path) -> None:
    github = hub()
    github.told["x-oauth-scopes"] = "repo, read:org"
    github.told["date"] = formatdate(time.time(), usegmt=True)

    checks = at(github.app, tmp_path)

    assert {"ok"} == {check.status for check in checks}, checks
    assert [check.check for check in checks] == [
        *("dns", "tls", "authentication", "scopes", "rate_limit", "clock", "repo")
    ]
    assert the(checks, "authentication").text == f"the token of token_env {KEY} is accepted"
    assert the(checks, "scopes").text == "the token has repo, read:org"
    assert the(checks, "rate_limit").text == "4997 of 5000 requests left (core)"
    assert the(checks, "repo").text.startswith("acme/shop: lists builds, the newest ")
    asked = [request.partition("?")[0].rpartition("/")[2] for request in github.requests]
    assert asked == ["rate_limit", "runs", "workflows"]  # what a first poll asks for


def test_a_wrong_token_is_named_with_what_it_takes(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY, "ghp_old")
    github = hub()

    checks = at(github.app, tmp_path)
    refused = the(checks, "authentication")

    assert failures(checks) == ["authentication"]
    assert "answered 401 Unauthorized: check the token: Bad credentials" in refused.text
    assert refused.remedy == (
        f"put a valid token into token_env {KEY}; it takes `repo` of a classic token, or the"
        " permission Actions: read"
    )
    assert the(checks, "repo").text == "not asked: authentication failed"
    assert len(github.requests) == 1
    assert "ghp_old" not in repr(checks)


def test_a_classic_token_without_scopes_reads_only_what_is_public(tmp_path) -> None:
    github = hub()
    github.told["x-oauth-scopes"] = "read:org"

    scopes = the(at(github.app, tmp_path), "scopes")

    assert scopes.status == "warning"
    assert scopes.text == "the token has read:org: only what is public can be read"
    assert scopes.remedy.startswith("for private repos make a token that has `repo`")


def test_a_missing_permission_is_named(tmp_path) -> None:
    github = hub()
    github.broken["/actions/runs"] = said(
        403,
        "Resource not accessible by personal access token",
        **{"x-accepted-github-permissions": "actions=read"},
    )

    checks = at(github.app, tmp_path)
    refused = the(checks, "repo")

    assert failures(checks) == ["repo"]
    assert refused.text.startswith("acme/shop: ")
    assert refused.text.endswith("it takes actions=read")
    assert refused.remedy == (
        "it takes `repo` of a classic token, or the permission Actions: read; or remove from"
        " `repos` what the token may not read"
    )


def test_a_missing_scope_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY, GITLAB_TOKEN)
    world = gitlab.World(token={"scopes": ["read_user"], "expires_at": None})
    world.projects["acme/shop"] = {}

    checks = at(world.app(), tmp_path, root="/api/v4", provider="gitlab")
    scopes = the(checks, "scopes")

    assert failures(checks) == ["scopes"]
    assert scopes.text == "the token has read_user: not enough"
    assert scopes.remedy == "make a token that has the scope `read_api`"


def test_a_token_that_soon_expires_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY, GITLAB_TOKEN)
    last = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    world = gitlab.World(token={"scopes": ["read_api"], "expires_at": last})
    world.projects["acme/shop"] = {}

    scopes = the(at(world.app(), tmp_path, root="/api/v4", provider="gitlab"), "scopes")

    assert (scopes.status, scopes.text) == ("warning", f"the token expires on {last}")
    assert scopes.remedy == f"make a new one and put it into token_env {KEY}"


@pytest.mark.parametrize(("provider", "path"), [("gitlab", "/api/v4"), ("github", "/api/v3")])
def test_where_a_site_for_people_answers_the_root_of_its_api_is_named(
    tmp_path: Path, provider: str, path: str
) -> None:
    async def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Sign in</title>")

    site = Starlette(routes=[Route("/{path:path}", page)])

    checks = at(site, tmp_path, root="", provider=provider)

    told = [check for check in checks if check.status == "failed"]
    assert any(re.search(rf"http://127\.0\.0\.1:\d+{path}\b", check.remedy) for check in told), told


def test_a_server_that_tells_nothing_of_tokens_is_well(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY, GITLAB_TOKEN)
    world = gitlab.World()
    world.projects["acme/shop"] = {}

    checks = at(world.app(), tmp_path, root="/api/v4", provider="gitlab")

    assert failures(checks) == []
    assert the(checks, "scopes").status == "skipped"
    assert the(checks, "repo").text == "acme/shop: no builds in the last 1d"


def test_no_token_is_a_warning(tmp_path) -> None:
    checks = at(hub().app, tmp_path, token_env=None)
    anonymous = the(checks, "authentication")

    assert failures(checks) == []
    assert anonymous.status == "warning"
    assert anonymous.remedy == "set token_env or token_file or app for what is not public"


def test_a_limited_account_is_named_and_left_alone(tmp_path) -> None:
    server = hostile.Server(hostile.http(status=429, retry_after="900"))

    checks = at_server(server, tmp_path)
    limit = the(checks, "rate_limit")

    assert failures(checks) == ["rate_limit"]
    assert limit.text.startswith("limited: nothing is answered for another 15m ")
    assert limit.remedy == (
        "polls go on when the limit allows. If it lasts, raise `polling.interval`, poll fewer"
        " repos, or see who else uses the token"
    )
    assert len(server.requests) == 1


def test_a_limit_that_is_nearly_used_up_is_a_warning(tmp_path) -> None:
    github = hub()
    github.remaining = 300

    limit = the(at(github.app, tmp_path), "rate_limit")

    assert (limit.status, limit.text) == ("warning", "297 of 5000 requests left (core)")
    assert limit.remedy == "polls wait: raise polling.interval, or see who else uses the token"


@pytest.mark.parametrize(("skew", "words"), [(900, "ahead of"), (-900, "behind")])
def test_a_skewed_clock_is_named(tmp_path, skew, words) -> None:
    github = hub()
    github.told["date"] = formatdate(time.time() + skew + 0.5, usegmt=True)

    checks = at(github.app, tmp_path)
    clock = the(checks, "clock")

    assert failures(checks) == ["clock"]
    assert re.search(rf"is (14m59s|15m|15m1?\ds) {words} ours$", clock.text)
    assert clock.remedy.startswith("set this machine's clock by NTP (it says 2")


@pytest.mark.parametrize(
    ("certificate", "trusted", "words", "remedy"),
    [
        (
            hostile.good_certificate,
            False,
            "certificate not trusted (self-signed certificate)",
            "put the bundle of the CA that signed it (PEM) into `ca_file`",
        ),
        (
            hostile.expired_certificate,
            True,
            "certificate not trusted (certificate has expired)",
            "have the certificate of localhost renewed, and check this machine's clock",
        ),
        (
            hostile.foreign_certificate,
            True,
            "certificate not trusted (Hostname mismatch, certificate is not valid for",
            "set the host in `url` to a name that the certificate has",
        ),
    ],
    ids=["unknown CA", "expired", "other host"],
)
def test_a_tls_error_is_named(tmp_path, certificate, trusted, words, remedy) -> None:
    server = hostile.Server(hostile.http(), tls=hostile.tls(tmp_path, certificate()))
    ca = {"ca_file": str(tmp_path / "cert.pem")} if trusted else {}

    checks = at_server(server, tmp_path, **ca)
    found = the(checks, "tls")

    assert failures(checks) == ["tls"]
    assert found.text.partition(": ")[2].startswith(words)
    assert found.remedy == remedy
    assert server.requests == []


def test_a_good_certificate_is_told_and_its_end_is_near(tmp_path) -> None:
    server = hostile.Server(hostile.http(), tls=hostile.tls(tmp_path, hostile.good_certificate()))

    found = the(at_server(server, tmp_path, ca_file=str(tmp_path / "cert.pem")), "tls")

    assert found.status == "warning"
    assert "TLSv1.3, certificate good for" in found.text
    assert found.remedy == "have the certificate of localhost renewed"


def test_a_server_without_tls_is_named(tmp_path) -> None:
    server = hostile.Server(hostile.http())

    async def visit() -> list[Check]:
        async with server:
            return await _examined(tmp_path, account(f"https://127.0.0.1:{server.port}"))

    found = the(asyncio.run(visit()), "tls")

    assert found.status == "failed"
    assert "speaks no TLS" in found.text
    assert found.remedy == "check scheme and port of `url`"


def test_an_unknown_host_is_named(tmp_path, monkeypatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    checks = asyncio.run(_examined(tmp_path, account("https://ghes.invalid/api/v3")))

    assert failures(checks) == ["dns"]
    assert checks[0].text == "ghes.invalid cannot be resolved (name or service not known)"
    assert checks[0].remedy == "check the host in `url`, and the name server of this machine"


def test_a_closed_port_is_named(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    checks = asyncio.run(_examined(tmp_path, account(f"http://127.0.0.1:{port}")))
    found = the(checks, "tls")

    assert failures(checks) == ["tls"]
    assert found.text == f"127.0.0.1:{port} cannot be connected to (connection refused)"
    assert found.remedy == "check host and port of `url`, and the firewall"


def test_an_address_where_no_api_can_be_is_not_visited(tmp_path) -> None:
    checks = asyncio.run(_examined(tmp_path, account("http://169.254.169.254/latest")))

    assert failures(checks) == ["tls"]
    assert the(checks, "tls").text == (
        "169.254.169.254 has the address 169.254.169.254, where no API can be"
    )


def test_a_dead_repo_is_named_and_the_others_are_well(tmp_path) -> None:
    github = hub("acme/shop", "acme/api")

    checks = at(github.app, tmp_path, repos=["acme/shop", "acme/gone", "acme/api"])
    repos = [check for check in checks if check.check == "repo"]

    assert ["ok", "failed", "ok"] == [check.status for check in repos]
    assert repos[1].text.startswith("acme/gone: ")
    assert "answered 404 Not Found: not there, or not for this token" in repos[1].text
    assert repos[1].remedy == (
        "check its spelling and that the token may see it, or remove it from `repos`"
    )


def test_only_a_sample_of_many_repos_is_asked(tmp_path) -> None:
    github = hub(*(f"acme/r{n}" for n in range(30)))

    checks = at(github.app, tmp_path, repos=["acme/*"], sample=2)

    told = [check.text for check in checks if check.check == "repo"]
    assert told[0] == "acme/* matches 30"
    assert len(told) == 3
    assert sum("/actions/runs" in request for request in github.requests) == 2


def test_a_wildcard_without_a_match_is_a_warning(tmp_path) -> None:
    repo = the(at(hub().app, tmp_path, repos=["acme/*"], exclude=["acme/*"]), "repo")

    assert (repo.status, repo.text) == ("warning", "acme/* matches nothing")
    assert repo.remedy == "check its spelling, `exclude`, and what the token may see"


def test_a_web_page_in_place_of_the_api_is_named(tmp_path) -> None:
    login = hostile.http("<html>Sign in", content_type="text/html")

    checks = at_server(hostile.Server(login), tmp_path)

    assert failures(checks) == ["authentication"]
    assert "answered with a web page instead of JSON" in the(checks, "authentication").text


def test_a_poisoned_name_does_not_reach_the_terminal(tmp_path) -> None:
    github = hub("acme/\x1b]0;you\x07\u202eevil")

    checks = at(github.app, tmp_path, repos=["acme/*"])

    assert any("evil" in check.text for check in checks)
    assert all(check.text.isprintable() for check in checks)


def test_nothing_is_asked_of_a_name_that_polling_would_not_take(tmp_path) -> None:
    github = hub("acme/../x", "acme/%2e%2e", "acme/shop")

    checks = at(github.app, tmp_path, repos=["acme/*"])

    assert [(check.status, check.text) for check in checks if check.check == "repo"][:2] == [
        (
            "warning",
            "acme/*: 'acme/../x' is no name that github gives: it is not polled (and 1 more)",
        ),
        ("ok", "acme/* matches 1"),
    ]
    asked = [request for request in github.requests if "/repos/" in request]
    assert asked
    assert all("/repos/acme/shop/" in request for request in asked)


def test_repos_that_a_wildcard_cannot_list_are_named(tmp_path) -> None:
    github = hub(*(f"acme/r{n:03}" for n in range(101)))
    github.broken["page=2"] = said(400, "no such page")

    checks = at(github.app, tmp_path, repos=["acme/*"], sample=1)

    told = [check for check in checks if check.check == "repo"]
    assert [check.status for check in told] == ["failed", "ok", "ok"]
    assert "acme/*: " in told[0].text
    assert "no such page" in told[0].text
    assert told[1].text == "acme/* matches 100"


def test_a_part_of_a_repo_that_cannot_be_read_is_named(tmp_path) -> None:
    github = hub()
    github.broken["/actions/workflows"] = said(200, "no list")

    checks = at(github.app, tmp_path)

    lists, part = [check for check in checks if check.check == "repo"]
    assert (lists.status, part.status) == ("ok", "failed")
    assert part.text.startswith("acme/shop: workflows: ")
    assert part.remedy


@pytest.mark.parametrize("provider", catalogue())
def test_every_provider_says_what_its_token_must_be_allowed(provider) -> None:
    assert catalogue()[provider].rights


# --- this machine ---


def test_a_state_that_can_be_made_is_well_and_is_not_made(tmp_path) -> None:
    found = host.state(State(url=f"sqlite:///{tmp_path / 'new.db'}"))

    assert (found.status, found.text) == ("ok", f"{tmp_path}/new.db will be made")
    assert list(tmp_path.iterdir()) == []


def test_a_state_in_memory_is_well() -> None:
    assert host.state(State(url="memory:")).text == "memory: nothing survives a restart"


def test_a_state_without_its_folder_is_named(tmp_path) -> None:
    found = host.state(State(url=f"sqlite:///{tmp_path / 'none' / 's.db'}"))

    assert (found.status, found.text) == ("failed", f"the folder {tmp_path}/none is not there")
    assert found.remedy == "make it, owned by the exporter's user, or set another state.url"


def test_a_file_that_is_no_state_is_named(tmp_path) -> None:
    (tmp_path / "notes").write_text("dear diary")

    found = host.state(State(url=f"sqlite:///{tmp_path / 'notes'}"))

    assert found.status == "failed"
    assert found.text == f"state file {tmp_path}/notes is not a state of cicd-exporter"
    assert found.remedy == "left alone; set another state.url"


def test_a_state_that_cannot_be_written_is_named(tmp_path, monkeypatch) -> None:
    # A test may run as root, whom no permission keeps out.
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    found = host.state(State(url=f"sqlite:///{tmp_path / 's.db'}"))

    assert (found.status, found.text) == ("failed", f"the folder {tmp_path} cannot be written")
    assert found.remedy == "let the exporter's user own it"


def test_a_port_that_a_stranger_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = ("127.0.0.1", taken.getsockname()[1])
        found = host.port(address, held=False)

    assert found.status == "failed"
    assert found.text == f"cannot listen on 127.0.0.1:{address[1]}: Address already in use"
    assert found.remedy == "stop who has it, or set another web.listen_address"


# --- the command ---


def test_doctor_works_beside_a_running_exporter_and_leaves_its_state_alone(
    tmp_path, monkeypatch
) -> None:
    github = hub()

    with hostile.Loop() as loop, contextlib.ExitStack() as stack:
        serve = serving(github.app)
        url = loop.run(serve.__aenter__())
        stack.callback(lambda: loop.run(serve.__aexit__(None, None, None)))
        config = configure(tmp_path, [account(f"{url}/api/v3")])
        with Exporter(config, env={KEY: TOKEN}) as exporter:
            port = exporter.url.rpartition(":")[2]
            file = f"--config.file={config}"
            listen = f"--web.listen-address=127.0.0.1:{port}"
            ended = command("doctor", file, listen, "--format=json")
            monkeypatch.setenv(KEY, "ghp_old")
            refused = command("doctor", file)
            assert exporter.get("/-/healthy").status == 200
            process = exporter.process.pid

    found = json.loads(ended.out)
    assert (0, "") == (ended.code, ended.err)
    assert found["ok"]
    state, port_found = found["checks"][:2]
    assert state == {
        "account": None,
        "check": "state",
        "status": "ok",
        "text": f"{tmp_path}/state.db is in use by a running exporter (process {process})",
        "remedy": "",
    }
    assert port_found["text"] == f"127.0.0.1:{port} is in use by a running exporter"

    assert (1, "") == (refused.code, refused.err)
    lines = refused.out.splitlines()
    assert lines[0].split() == ["ACCOUNT", "CHECK", "STATUS", "FOUND"]
    assert any(line.startswith("acme ") and " failed " in line for line in lines)
    assert any(line.strip().startswith("-> put a valid token into") for line in lines)
    assert lines[-1].split(", ")[0].endswith(" checks: 1 failed")
