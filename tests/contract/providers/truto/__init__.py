"""What the tests of the truto provider share: a fake API, builders, and samples."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from exporter.errors import Gone, Malformed, ProviderError, Refused, TryLater
from exporter.http import ApiStats
from exporter.model import Build, Status
from exporter.providers import Query, Repo
from exporter.providers.truto import Truto
from exporter.times import instant
from tests.tools.sources import source_of

ACCOUNT = "62f44730-dd91-461e-bd6a-aedd9e0ad79d"
ENTRIES = {
    "github": "acme/shop",
    "azuredevops": "ws",
    "bitbucket": "acme/shop",
    "circleci": "gh/acme/shop",
    "jenkins": "folder/shop",
    "travisci": "15022857",
    "buddy": "acme/shop/deploy",
}
DAY = "2026-11-20T"
DENIED = Refused("no", reason="forbidden")
MISSING = Gone("not there", reason="not_found")
LATER = TryLater("busy", reason="server")
UNAUTHORIZED = Refused("bad token", reason="unauthorized")


def at(clock: str) -> float:
    """Epoch seconds of a time of the day that all samples are from."""
    seconds = instant(f"{DAY}{clock}Z")
    assert seconds is not None
    return seconds


class FakeApi:
    """Answers by path: a body, an error, or a list of them to be given in turn."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {path.replace("__", "/"): answer for path, answer in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.stats = ApiStats()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def now(self) -> float:
        """A minute after the last time of the samples."""
        return at("09:10:00")

    async def get(
        self, path: str, params: Any = None, *, into: Any, tries: int | None = None
    ) -> Any:
        del tries
        short = path.removeprefix("/unified/ci-cd/")
        self.calls.append((short, dict(params or {})))
        answer = self.answers.get(short, MISSING)
        if isinstance(answer, list) and answer:
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, ProviderError):
            raise answer
        try:
            body = msgspec.json.decode(json.dumps(answer).encode(), type=into)
        except msgspec.ValidationError as error:
            raise Malformed(str(error), reason="bad_shape") from None
        return type("Answer", (), {"body": body})


def truto(integration: str, /, **keys: Any) -> Truto:
    return Truto(
        **{
            "name": "acme",
            "provider": "truto",
            "integration": integration,
            "integrated_account_id": ACCOUNT,
            "repos": [ENTRIES[integration]],
        }
        | keys
    )


def listed(*items: Any, **envelope: Any) -> dict[str, Any]:
    return {"result": list(items), "next_cursor": None} | envelope


def page(provider: Truto, api: Any, entry: str | None = None, token: str | None = None) -> Any:
    repo = Repo(entry or provider.repos[0], default_branch="main")
    return asyncio.run(source_of(provider, api).page(repo, Query(since=0.0, size=30, token=token)))


def one(integration: str, item: dict[str, Any], **keys: Any) -> Build:
    """The build that a list with one item gives."""
    builds: tuple[Build, ...]
    builds = page(truto(integration, **keys), FakeApi(builds=listed(item))).builds
    assert len(builds) == 1
    return builds[0]


def detail(provider: Truto, api: Any, build: Build, known: Build | None = None) -> Build:
    return asyncio.run(source_of(provider, api).detail(Repo(provider.repos[0]), build, known))


def refresh(provider: Truto, api: Any, known: Build) -> Build:
    return asyncio.run(source_of(provider, api).refresh(Repo(provider.repos[0]), known))


# -- sample payloads


# fmt: off
GITHUB = {
    "id": "9001234567", "name": "CI", "number": 412, "repo": "acme/shop", "branch": "main",
    "workflow": "7712345", "build": "9001234567", "attempts": 1, "status": "completed",
    "conclusion": "passed", "trigger": "push", "created_at": DAY + "09:00:00Z",
    "started_at": DAY + "09:00:12Z", "completed_at": DAY + "09:05:42Z",
    "updated_at": DAY + "09:05:42Z",
}
AZURE = {
    "id": "5521", "number": 5521, "repo": "shop", "branch": "refs/heads/main",
    "status": "completed", "conclusion": "partial", "trigger": "push",
    "started_at": DAY + "09:00:12.41Z", "completed_at": DAY + "09:07:02.03Z",
    "remote_data": {
        "id": 5521, "status": "completed", "result": "partiallySucceeded",
        "queueTime": DAY + "08:59:50.1Z", "definition": {"id": 12, "name": "shop-ci"},
    },
}
BITBUCKET = {
    "id": "{1f0e2d3c}", "build": "77", "number": 77, "repo": "shop", "branch": "main",
    "status": "completed", "trigger": "push", "created_at": DAY + "09:00:00.123Z",
    "remote_data": {
        "uuid": "{1f0e2d3c}", "completed_on": DAY + "09:03:20.5Z", "duration_in_seconds": 7,
        "state": {"name": "COMPLETED", "result": {"name": "FAILED"}},
        "target": {"type": "pipeline_ref_target", "ref_name": "main", "ref_type": "branch"},
    },
}
CIRCLECI = {
    "id": "5034460f", "name": "fix: cart", "number": 1023, "repo": "gh/acme/shop", "branch": "main",
    "status": "completed", "conclusion": "created", "trigger": "web",
    "created_at": DAY + "09:00:00.000Z", "updated_at": DAY + "09:00:04.000Z",
    "remote_data": {"state": "created", "vcs": {"branch": "main"}},
}
JENKINS_PARTIAL = {
    "id": "128", "build": "128", "number": 128, "name": "shop #128", "workflow": "shop",
}
JENKINS = {
    "id": "127", "build": "127", "number": 127, "name": "shop #127", "workflow": "shop",
    "status": "completed", "conclusion": "failed", "trigger": "cron",
    "started_at": DAY + "03:00:00.000Z", "completed_at": DAY + "03:11:07.000Z",
    "remote_data": {"number": 127, "result": "FAILURE", "building": False},
}
TRAVIS = {
    "id": "86601346", "number": 57, "name": "Add cart", "repo": "acme/shop", "branch": "main",
    "attempts": 1, "conclusion": "passed", "trigger": "push", "created_at": DAY + "09:00:00Z",
    "completed_at": DAY + "09:06:00Z",
    "remote_data": {
        "id": 86_601_346, "state": "passed", "duration": 99_999, "event_type": "push",
        "started_at": DAY + "09:00:48Z", "finished_at": DAY + "09:06:00Z",
    },
}
# fmt: on
SAMPLES = {
    "github": GITHUB,
    "azuredevops": AZURE,
    "bitbucket": BITBUCKET,
    "circleci": CIRCLECI,
    "jenkins": JENKINS,
    "travisci": TRAVIS,
}


def job(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A passed job from 09:00:15 to 09:03:20."""
    return {
        "id": str(number),
        "name": f"job {number}",
        "status": "completed",
        "conclusion": "passed",
        "created_at": DAY + "09:00:02Z",
        "started_at": DAY + "09:00:15Z",
        "completed_at": DAY + "09:03:20Z",
    } | fields


def remote(sample: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The sample with other fields in its `remote_data`."""
    return sample | {"remote_data": sample.get("remote_data", {}) | fields}


COMPLETED = Status.COMPLETED
RUNS: dict[str, Any] = {"status": "in_progress", "conclusion": None, "completed_at": None}
START = int(at("03:00:00"))
"""Of the Jenkins sample."""
