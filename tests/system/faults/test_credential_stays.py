"""A credential is sent to its own API and to nobody else, whatever the API says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy
from exporter.model import Build
from exporter.providers import Page, Provider, Query, Repo, Source, catalogue
from tests.tools.hostile import Reply, Request, Server, http

TOKEN = "s3cr3t-t0k3n"
UNIFIED = ("github", "azuredevops", "bitbucket", "circleci", "jenkins", "travisci", "buddy")


class Form(NamedTuple):
    """A way to show a credential: an account's keys, and what its API has."""

    provider: str
    entry: str
    pattern: str | None = None
    keys: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    id: int | str = 7
    state: Any = "completed"
    """How a build that has ended stands."""


FORMS = {
    "azure_devops, Basic": Form("azure_devops", "acme/shop", "acme/*", {"username": "me"}),
    "bitbucket, Bearer": Form("bitbucket", "acme/shop", "acme/*", state={"name": "COMPLETED"}),
    "bitbucket, Basic": Form(
        "bitbucket", "acme/shop", "acme/*", {"username": "me"}, state={"name": "COMPLETED"}
    ),
    "buddy, Bearer": Form("buddy", "acme/shop", "acme/*", state="SUCCESSFUL"),
    "circleci, Circle-Token": Form("circleci", "gh/acme/shop", id="7f", state="success"),
    "github, Bearer": Form("github", "acme/shop", "acme/*"),
    "github, App": Form("github", "acme/shop", "acme/*", {"app": {}}),
    "gitlab, PRIVATE-TOKEN": Form("gitlab", "acme/shop", "acme/**", state="success"),
    "jenkins, Basic": Form("jenkins", "shop", "**", {"username": "me"}),
    "jenkins, Bearer": Form("jenkins", "shop", "**"),
    "travis, token": Form("travis", "acme/shop", "acme/*", state="passed"),
} | {
    f"truto, {integration}": Form(
        "truto",
        {"circleci": "gh/acme/shop", "buddy": "acme/shop/deploy"}.get(integration, "acme/shop"),
        None,
        {"integration": integration, "integrated_account_id": "7"},
    )
    for integration in UNIFIED
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())

ELSEWHERE = [
    "http://127.0.0.1:{other}/api/x",
    "http://localhost:{own}/api/x",
    "https://127.0.0.1:{own}/api/x",
    "https://127.0.0.1:{other}/api/x",
    "//127.0.0.1:{other}/api/x",
    "///127.0.0.1:{other}/api/x",
    "http://127.0.0.1:{own}@127.0.0.1:{other}/api/x",
    "http://me:you@127.0.0.1:{own}/api/x",
    "http://127.0.0.1:{own}%2f@127.0.0.1:{other}/api/x",
    "http://127.0.0.1:{other}#@127.0.0.1:{own}/api/x",
    "http://127.0.0.1:{other}?@127.0.0.1:{own}/api/x",
    "http://127.0.0.1:{other}\\@127.0.0.1:{own}/api/x",
    "\\\\127.0.0.1:{other}\\api\\x",
    "/\\127.0.0.1:{other}/api/x",
    "http:\\\\127.0.0.1:{other}/api/x",
    "http://127\u30020\u30020\u30021:{other}/api/x",
    "http://\u2460\u2461\u2466.0.0.1:{other}/api/x",
    "http://2130706433:{other}/api/x",
    "http://0x7f.1:{other}/api/x",
    "http://[::ffff:127.0.0.1]:{other}/api/x",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "/elsewhere",
    "/apix",
    "/api/../elsewhere",
    "/api/%2e%2e/elsewhere",
    "../../elsewhere",
]


class Hosts:
    """The API of an account, another host beside it, and the account."""

    def __init__(self, form: Form, provider: Provider) -> None:
        self.form = form
        self.provider = provider
        self.api = Server(http("{}"))
        self.other = Server(http("{}"))
        self.client: Api
        self.source: Source[Provider]

    def answer(self, reply: Reply) -> None:
        """What the API says from now on, whatever is asked."""
        self.api._replies = (reply,)

    def elsewhere(self, form: str) -> str:
        return form.format(own=self.api.port, other=self.other.port)

    def assert_stayed(self) -> None:
        """Nobody has so much as knocked at the other host, or left the API's own root."""
        assert self.other.visits == 0
        own = f"127.0.0.1:{self.api.port}"
        assert {own} == {request.headers["host"] for request in self.api.requests}
        paths = [urlsplit(request.target).path for request in self.api.requests]
        assert [] == [path for path in paths if not path.startswith("/api/")]
        assert any(map(shows_credential, self.api.requests))


def shows_credential(request: Request) -> bool:
    """Whether a request has a header that only credentials are in."""
    return bool({"authorization", "private-token", "circle-token"} & request.headers.keys())


@asynccontextmanager
async def hosts(form: Form, folder: Path) -> AsyncIterator[Hosts]:
    keys = dict(form.keys)
    if "app" in keys:
        pem = folder / "app.pem"
        key = rsa.generate_private_key(65537, 2048)
        pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        keys["app"] = {"id": 1, "private_key_file": str(pem), "installation_id": 2}
    else:
        keys["token_env"] = "T"
    account = {"name": "a", "provider": form.provider, "repos": [form.entry], **keys}
    it = Hosts(form, catalogue()[form.provider].model_validate(account))
    async with it.api, it.other:
        it.client = Api(
            root=f"http://127.0.0.1:{it.api.port}/api",
            headers=lambda: it.source.headers(TOKEN),
            timeout=5.0,
            retries=RetryPolicy(attempts=1),
        )
        it.source = it.provider.connect(it.client)
        try:
            yield it
        finally:
            await it.client.aclose()


async def granted(it: Hosts) -> None:
    """Let the App have its token, as a poll does first."""
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    it.answer(http(json.dumps({"token": TOKEN, "expires_at": expires})))
    await it.source.renew()


REFUSED = object()


async def tried(call: Awaitable[Any]) -> Any:
    """What a call returns; `REFUSED` if the provider gives up."""
    try:
        return await call
    except ProviderError:
        return REFUSED


@each_form
def test_no_redirect_takes_a_credential_away(form: Form, tmp_path: Path) -> None:
    async def go() -> None:
        async with hosts(form, tmp_path) as it:
            query = Query(since=0.0, size=30)
            replies = [
                http("", status, location=it.elsewhere(place))
                for status in (301, 302, 307, 308)
                for place in ELSEWHERE
            ]
            if "app" in form.keys:
                for reply in replies[::7]:  # each is a signature, which takes its time
                    it.answer(reply)
                    assert await tried(it.source.renew()) is REFUSED
            await granted(it)
            for reply in replies:
                it.answer(reply)
                page = it.source.page(Repo(form.entry), query)
                assert await tried(page) is REFUSED
            it.assert_stayed()

    asyncio.run(go())


def told(form: Form, place: str, ident: int | str) -> bytes:
    """An answer with whatever any of the APIs lists, links to `place` wherever one may be."""
    link = {"href": place, "@href": place, "url": place, "offset": 30}
    began, ended = time.time() - 90, time.time() - 60
    stamps = {at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (began, ended)}
    links = {
        "url": place,
        "href": place,
        "@href": place,
        "next": place,
        "links": {"self": link, "next": link},
        "_links": {"self": link, "next": link},
        "@pagination": {"is_last": False, "next": link, "first": link, "last": link},
        "@odata.nextLink": place,
        "pagination": {"next": place, "next_url": place},
    }
    item = {
        **links,
        "id": ident,
        "uuid": f"{{{ident}}}",
        "number": 7,
        "queueId": 7,
        "name": "shop",
        "slug": "acme/shop",
        "full_name": "acme/shop",
        "path_with_namespace": "acme/shop",
        "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
        "inQueue": True,
        "building": False,
        "result": "SUCCESS",
        "timestamp": int(began * 1000),
        "duration": 30_000,
        "status": form.state,
        "state": form.state,
        "conclusion": "success",
        "last_execution_status": "SUCCESSFUL",
        "lastBuild": {"number": 7, "building": False, "timestamp": int(began * 1000), **links},
        "logs_url": place,
        "jobs_url": place,
    }
    for began_as in ("created_at", "started_at", "run_started_at", "created_on", "startTime"):
        item[began_as] = stamps[began]
    for ended_as in ("updated_at", "completed_at", "stopped_at", "completed_on", "finishTime"):
        item[ended_as] = stamps[ended]
    lists = (
        "action_executions allBuilds builds executions items jobs pipelines projects records"
        " repositories result stages value values workflow_runs workflows"
    )
    body: Any = {
        **item,
        **links,
        **{name: [item] for name in lists.split()},
        "next_cursor": place,
        "next_page_token": place,
        "continuationToken": place,
        "total_count": 1000,
        "total_page_count": 10,
        "size": 1000,
        "pagelen": 1,
        "enabled": True,
    }
    page = f"{place.partition('?')[0]}?page=2"
    headers = {
        "link": f'<{page}>; rel="next", <{page}>; rel="last"',
        "x_ms_continuationtoken": place,
        "location": place,
        "content_location": place,
        "refresh": f"0; url={place}",
    }
    if form.provider == "gitlab":
        body = [item]
    return http(json.dumps(body), 200, **headers)


@each_form
@pytest.mark.parametrize("place", ["http://127.0.0.1:{other}/api/x?page=2", "//127.0.0.1:{other}"])
def test_no_link_in_an_answer_takes_a_credential_away(
    form: Form, place: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with hosts(form, tmp_path) as it:
            await granted(it)
            source, repo = it.source, Repo(form.entry)
            for ident in (form.id, it.elsewhere(place), "../../elsewhere", "?@127.0.0.1/"):
                it.answer(told(form, it.elsewhere(place), ident))
                token: str | None = None
                found: list[Build] = []
                for _ in range(3):
                    query = Query(since=0.0, size=1, token=token, deep=True)
                    page = await tried(source.page(repo, query))
                    if not isinstance(page, Page) or page.next is None:
                        break
                    found += page.builds
                    token = page.next
                for build in found:
                    await tried(source.detail(repo, build, None))
                    await tried(source.refresh(repo, build))
                if form.pattern:
                    await tried(source.discover(form.pattern))
                await tried(source.health())
                if ident == form.id:
                    assert found
                    assert token is not None
            it.assert_stayed()

    asyncio.run(go())


@each_form
def test_a_proxy_of_an_https_api_hears_of_no_credential(form: Form, tmp_path: Path) -> None:
    async def go() -> None:
        async with hosts(form, tmp_path) as it:
            await granted(it)
            proxied = Api(
                root="https://ci.invalid/api",
                headers=lambda: it.source.headers(TOKEN),
                timeout=5.0,
                proxy=f"http://127.0.0.1:{it.other.port}",
                retries=RetryPolicy(attempts=1),
            )
            it.other._replies = (http(status=502),)
            query = Query(since=0.0, size=30)
            it.source.api = proxied
            assert await tried(it.source.page(Repo(form.entry), query)) is REFUSED
            await proxied.aclose()
            (request,) = it.other.requests
            assert (request.method, request.target) == ("CONNECT", "ci.invalid:443")
            assert not shows_credential(request)
            assert TOKEN not in str(request)

    asyncio.run(go())


def test_a_proxy_of_an_http_api_is_asked_for_that_api_only() -> None:
    async def go() -> list[str]:
        async with Server(http("", 301, location="http://other.invalid/api/x")) as proxy:
            api = Api(
                root="http://ci.invalid/api",
                headers=lambda: {"PRIVATE-TOKEN": TOKEN},
                timeout=5.0,
                proxy=f"http://127.0.0.1:{proxy.port}",
            )
            with suppress(ProviderError):
                await api.get("/x", into=dict)
            await api.aclose()
            return [request.target for request in proxy.requests]

    assert asyncio.run(go()) == ["http://ci.invalid/api/x"]
