"""Our requests against the official descriptions, served by a mock nobody here wrote.

Prism refuses a request that its description does not allow, and answers the others with
the description's own examples. What it cannot do (keep state, page, answer 304) is
tested against our emulators.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.errors import ProviderError
from exporter.http import Api
from exporter.model import Build, Status
from exporter.providers import Page, Query, Repo, catalogue
from tests.conftest import ROOT

PRISM = ROOT / "tests/tools/prism" / "node_modules" / ".bin" / "prism"


class Case(NamedTuple):
    """One provider before one description."""

    provider: str
    description: str
    entry: str
    wildcard: str | None = None
    """None where the description has no lists of repos."""
    root: str = ""
    """The path of the API root at the mock."""
    token: str | None = None
    """Which page is asked for."""
    jobs: bool = True
    """Whether the mock can tell the jobs of a build."""


CASES = [
    Case("github", "github/api.github.com.actions.prism.json", "acme/shop", wildcard="octocat/*"),
    Case("gitlab", "gitlab/gitlab-v4.ci.json", "42", wildcard="acme/*", root="/api/v4"),
    # The mock refuses the list of statuses that the first page begins with, and knows no
    # projects and no timeline: so the second page is asked for, and there are no jobs.
    Case("azure_devops", "azure/build-7.2.prism.json", "acme/shop", token="next", jobs=False),
    Case("bitbucket", "bitbucket/bitbucket.pipelines.prism.json", "acme/shop", wildcard="acme/*"),
    Case("circleci", "circleci/circleci-v2.json", "gh/acme/shop"),
]


@pytest.fixture(scope="module")
def prism() -> Path:
    if not PRISM.exists() or shutil.which("node") is None:
        pytest.skip("prism is not installed (scripts/test installs it where npm is)")
    return PRISM


@contextmanager
def mock(prism: Path, description: Path) -> Iterator[tuple[str, list[str]]]:
    """Prism serving one description: its URL, and what it has logged."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log: list[str] = []
    with subprocess.Popen(
        [prism, "mock", "--host", "127.0.0.1", "--port", str(port), description],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.append(line)
                if "Prism is listening" in line:
                    break
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()
            log.extend(process.stdout)


def provider_of(case: Case, url: str) -> Any:
    return catalogue()[case.provider].model_validate(
        {
            "name": "acme",
            "provider": case.provider,
            "url": url + case.root,
            "token_env": "T",
            "repos": [case.entry],
            "jobs": True,
        }
    )


async def visit(case: Case, url: str) -> tuple[Page, list[Build], list[ProviderError]]:
    """All kinds of requests that a provider sends, once; errors are kept."""
    provider = provider_of(case, url)
    api = Api(root=provider.root, headers=lambda: provider.headers("token"), timeout=20.0)
    repo, faults, builds = Repo(case.entry), [], []
    try:
        page = await provider.connect(api).page(repo, Query(since=0.0, size=30, token=case.token))
        if case.wildcard is not None:
            await provider.connect(api).discover(case.wildcard)
        for build in page.builds:
            for work in (
                provider.connect(api).detail(repo, build, None),
                provider.connect(api).refresh(repo, build),
            ):
                try:
                    builds.append(await work)
                except ProviderError as error:
                    if "has been deleted" not in str(error):  # so says Azure DevOps' example
                        faults.append(error)
    finally:
        await api.aclose()
    return page, builds, faults


@pytest.mark.parametrize("case", CASES, ids=[case.provider for case in CASES])
def test_the_official_description_allows_every_request_and_its_examples_are_understood(
    prism: Path, shared: Path, case: Case
) -> None:
    with mock(prism, shared / "openapi" / case.description) as (url, log):
        page, builds, faults = asyncio.run(visit(case, url))

    refused = [line for line in log if re.search(r"VALIDATOR\].*✖|Violation", line)]
    assert [str(fault) for fault in faults] == [], refused
    assert page.rejected == 0
    assert page.builds
    assert all(build.status in Status for build in builds)
    assert any(build.jobs for build in builds) == case.jobs
