"""A known web address in place of an API's root is a fault that names the right one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.providers import catalogue
from tests.tools.commands import command


@pytest.mark.parametrize(
    ("provider", "url", "right"),
    [
        ("github", "https://github.com", "https://api.github.com"),
        ("github", "https://www.github.com/", "https://api.github.com"),
        ("github", "http://GitHub.com/acme", "https://api.github.com"),
        ("github", "https://api.github.com/repos", "https://api.github.com"),
        ("github", "https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("github", "https://git.acme.example", "https://git.acme.example/api/v3"),
        ("github", "https://git.acme.example:8443/", "https://git.acme.example:8443/api/v3"),
        ("gitlab", "https://gitlab.com", "https://gitlab.com/api/v4"),
        ("gitlab", "https://gitlab.com/acme/shop", "https://gitlab.com/api/v4"),
        ("circleci", "https://circleci.com", "https://circleci.com/api/v2"),
        ("circleci", "https://app.circleci.com/pipelines", "https://circleci.com/api/v2"),
        ("circleci", "https://circleci.com/api/v1.1", "https://circleci.com/api/v2"),
        ("bitbucket", "https://bitbucket.org/acme", "https://api.bitbucket.org/2.0"),
        ("bitbucket", "https://api.bitbucket.org", "https://api.bitbucket.org/2.0"),
        ("travis", "https://travis-ci.com", "https://api.travis-ci.com"),
        ("travis", "https://app.travis-ci.com/github/acme", "https://api.travis-ci.com"),
        ("travis", "https://travis-ci.org", "https://api.travis-ci.com"),
        ("buddy", "https://app.buddy.works/acme", "https://api.buddy.works"),
        ("azure_devops", "https://acme.visualstudio.com", "https://dev.azure.com"),
        ("azure_devops", "https://dev.azure.com/acme", "https://dev.azure.com"),
        ("truto", "https://app.truto.one", "https://api.truto.one"),
        ("jenkins", "https://ci.example/job/shop", "https://ci.example"),
        ("jenkins", "https://ci.example/jenkins/job/a/job/b/", "https://ci.example/jenkins"),
        ("jenkins", "http://ci.example/view/all/job/shop", "http://ci.example"),
    ],
)
def test_it_is_named(tmp_path: Path, provider: str, url: str, right: str) -> None:
    known = {"name": "a", "provider": provider, "url": url, "token_env": "X", "repos": ["acme/x"]}
    (tmp_path / "config.yaml").write_text(json.dumps({"accounts": [known]}))

    ended = command("check-config", f"--config.file={tmp_path}/config.yaml")

    (line,) = [line for line in ended.err.splitlines() if "accounts[0].url: is" in line]
    assert line.endswith(f"is an address for people, not the root of the API (write {right})")


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("github", "https://api.github.com/"),
        ("github", "https://git.acme.example/api/v3"),
        ("github", "https://api.acme.ghe.com"),
        ("github", "https://192.0.2.1"),
        ("github", "https://[2001:db8::1]:8443"),
        ("github", "https://localhost:8443"),
        ("github", "http://git.acme.example"),
        ("github", "https://proxy.example/github"),
        ("gitlab", "https://gitlab.com/api/v4/"),
        ("gitlab", "https://gitlab.acme.example/api/v4"),
        ("gitlab", "https://not-gitlab.com"),
        ("azure_devops", "https://dev.azure.com"),
        ("azure_devops", "https://tfs.acme.example/tfs"),
        ("travis", "https://api.travis-ci.com"),
        ("travis", "https://travis.acme.example/api"),
        ("buddy", "https://api.eu.buddy.works"),
        ("jenkins", "https://ci.example/jobs"),
        ("jenkins", "https://job.example"),
    ],
)
def test_what_may_be_an_api_is_not_doubted(provider: str, url: str) -> None:
    assert catalogue()[provider].api_instead_of(url) is None


@pytest.mark.parametrize("provider", catalogue())
def test_no_default_is_doubted(provider: str) -> None:
    default = catalogue()[provider].default_url

    assert default is None or catalogue()[provider].api_instead_of(default) is None
