"""A service principal of Entra gets its tokens in time, and nobody else gets its secret."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy
from exporter.providers import Query, Repo
from exporter.providers.azure_devops import AzureDevOps, Entra
from tests.tools.azure_devops_station import provider

TENANT, CLIENT = "0d50ba13-f9ad-49b0-9b21-d29eda50ca33", "7ae03f5e-1111-2222-3333-444455556666"
TOKEN = f"/{TENANT}/oauth2/v2.0/token"


class Directory:
    """Grants tokens, and lists no builds to those who have one of them."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.lasts: Any = 3599
        self.refusal: Response | None = None
        self.revoked: set[str] = set()
        self.app = Starlette(
            routes=[
                Route(TOKEN, self._grant, methods=["POST"]),
                Route("/acme/shop/_apis/build/builds", self._builds),
            ]
        )

    @property
    def newest(self) -> str:
        return f"token-{len(self.forms)}"

    async def _grant(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode(), strict_parsing=True)
        self.forms.append({key: value for key, [value] in form.items()})
        if self.refusal is not None:
            return self.refusal
        assert "authorization" not in request.headers
        return JSONResponse(
            {"token_type": "Bearer", "expires_in": self.lasts, "access_token": self.newest}
        )

    def _builds(self, request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token != self.newest or token in self.revoked:
            return JSONResponse({"message": "TF400813"}, 401)
        return JSONResponse({"count": 0, "value": []})


def account(url: str, **keys: Any) -> AzureDevOps:
    entra = Entra(tenant_id=TENANT, client_id=CLIENT, authority=url, **keys)
    return provider(token_env=None, entra=entra)


async def polls(directory: Directory, url: str, native: AzureDevOps, times: int) -> list[str]:
    """What polls have come to: `ok`, or the error."""
    api = Api(
        root=url, headers=lambda: source.headers(None), timeout=5.0, retries=RetryPolicy(attempts=1)
    )
    source = native.connect(api)
    found = []
    for _ in range(times):
        try:
            await source.renew()
            await source.page(Repo("acme/shop"), Query(since=time.time(), size=30))
        except ProviderError as error:
            found.append(f"{error.reason} {error.account_wide}: {error}")
        else:
            found.append("ok")
        directory.revoked.clear() if len(found) > 1 else None
    await api.aclose()
    return found


def polled(directory: Directory, times: int = 1, **keys: Any) -> list[str]:
    async def main() -> list[str]:
        async with serving(directory.app) as url:
            return await polls(directory, url, account(url, **keys), times)

    return asyncio.run(main())


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret~value\n")
    return path


def test_a_secret_gets_a_token_that_serves_many_polls(secret: Path) -> None:
    directory = Directory()

    assert ["ok"] * 3 == polled(directory, 3, client_secret_file=str(secret))
    assert [
        {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "scope": "499b84ac-1321-427f-aa17-267660dfd8b7/.default",
            "client_secret": "s3cret~value",
        }
    ] == directory.forms


def test_a_token_is_renewed_before_it_ends_with_the_proof_as_it_is_then(tmp_path: Path) -> None:
    proof = tmp_path / "federated"
    proof.write_text("first")
    directory = Directory()
    directory.lasts = "300"  # in digits, and less than a poll may take

    async def main() -> list[str]:
        async with serving(directory.app) as url:
            native = account(url, federated_token_file=str(proof))
            found = await polls(directory, url, native, 1)
            proof.write_text("second")
            return found + await polls(directory, url, native, 1)

    assert ["ok"] * 2 == asyncio.run(main())
    assert ["first", "second"] == [form["client_assertion"] for form in directory.forms]
    assert {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"} == {
        form["client_assertion_type"] for form in directory.forms
    }


def test_a_token_that_is_refused_is_replaced_at_the_next_poll(secret: Path) -> None:
    directory = Directory()
    directory.revoked.add("token-1")

    found = polled(directory, 2, client_secret_file=str(secret))

    assert found[0].startswith("unauthorized True")
    assert "ok" == found[1]


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_secret_is_told_without_it(secret: Path, status: int) -> None:
    directory = Directory()
    said = "AADSTS7000215: Invalid client secret provided: s3cret~value."
    directory.refusal = JSONResponse({"error": "invalid_client", "error_description": said}, status)

    [found] = polled(directory, client_secret_file=str(secret))

    assert found.startswith("unauthorized True")
    assert "AADSTS7000215: Invalid client secret provided" in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"expires_in": 3599}),
        JSONResponse({"access_token": "", "expires_in": 3599}),
        JSONResponse({"access_token": "two\nlines", "expires_in": 3599}),
    ],
)
def test_a_grant_without_a_token_is_told(secret: Path, answer: Response) -> None:
    directory = Directory()
    directory.refusal = answer

    [found] = polled(directory, client_secret_file=str(secret))

    assert found.startswith("bad_shape True")


# -- configuration


def fault(**keys: Any) -> str:
    entra = Entra(**{"tenant_id": TENANT, "client_id": CLIENT, **keys})
    found = AzureDevOps.faults({"repos": ["acme/shop"], "entra": entra})
    return " ".join(f"{'.'.join(map(str, place))}: {what}" for place, what in found)


def test_exactly_one_proof_is_needed(secret: Path) -> None:
    file = str(secret)

    assert "" == fault(client_secret_file=file) == fault(federated_token_file=file)
    assert "exactly one" in fault()
    assert "exactly one" in fault(client_secret_file=file, federated_token_file=file)


def test_a_missing_or_empty_file_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert "entra.client_secret_file" in fault(client_secret_file=str(tmp_path / "none"))
    assert "entra.federated_token_file" in fault(federated_token_file=str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("authority", "is_good"),
    [
        ("https://login.microsoftonline.us", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080/", True),
        ("http://localhost", True),
        ("http://login.microsoftonline.com", False),
        ("http://127.0.0.1.example.com", False),
        ("https://user:pw@login.microsoftonline.com", False),
        ("https://login.microsoftonline.com/tenant", False),
        ("login.microsoftonline.com", False),
        ("", False),
    ],
)
def test_a_secret_is_sent_only_where_nobody_on_the_way_can_read_it(
    secret: Path, authority: str, *, is_good: bool
) -> None:
    assert is_good is (fault(client_secret_file=str(secret), authority=authority) == "")


@pytest.mark.parametrize("name", ["../other", "a/b", "", "te nant", "-"])
def test_names_of_another_grammar_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tenant_id"):
        Entra(tenant_id=name, client_id=CLIENT)


def test_a_token_of_entra_in_a_file_is_sent_as_bearer() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiI0OTliODRhYyJ9.c2lnbmF0dXJl"

    assert f"Bearer {token}" == provider().headers(token)["Authorization"]
    assert f"Bearer {token}" == provider(username="me").headers(token)["Authorization"]
    assert provider().headers("eyJnot-a-token")["Authorization"].startswith("Basic ")


def test_nothing_prints_a_granted_token(secret: Path) -> None:
    native = account("https://login.microsoftonline.com", client_secret_file=str(secret))
    api: Any = None
    source = native.connect(api)
    source._granted._token = "granted-token"

    assert source.headers(None)["Authorization"] == "Bearer granted-token"
    assert "granted-token" not in f"{native!r} {native} {source!r} {source._granted!r}"
    assert native == account("https://login.microsoftonline.com", client_secret_file=str(secret))
