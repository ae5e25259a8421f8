"""A token or an App asks: renewed in time, never shown, refused in plain words."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.responses import HTMLResponse, Response

from exporter.errors import Gone, ProviderError, Refused, TryLater
from exporter.metrics import families as f
from exporter.providers import catalogue
from exporter.providers.github import GitHub
from exporter.providers.github.app import App
from tests.contract.providers.github import Desk, github, live
from tests.tools.emulators.github import TOKEN, Hub, said

# -- who asks


def test_the_credential_is_a_bearer_token_or_none() -> None:
    kinds = "application/vnd.github+json, application/json"
    accept = {"Accept": kinds, "X-GitHub-Api-Version": "2022-11-28"}

    assert {**accept, "Authorization": "Bearer s3cret"} == github().headers("s3cret")
    assert accept == github(token_env=None).headers(None)
    assert GitHub.anonymous
    assert catalogue()["github"] is GitHub


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "account_wide"),
    [
        (said(401, "Bad credentials"), Refused, "unauthorized", True),
        (said(403, "Resource not accessible by token"), Refused, "forbidden", False),
        (said(403, "API rate limit exceeded for user"), TryLater, "rate_limited", True),
        (said(403, "You have exceeded a secondary rate limit"), TryLater, "rate_limited", True),
        (said(429, "slow down", **{"retry-after": "60"}), TryLater, "rate_limited", True),
        (said(404, "Not Found"), Gone, "not_found", False),
        (HTMLResponse("<html>Sign in"), Refused, "unauthorized", True),
    ],
)
@live
async def test_what_a_refusal_means(
    hub: Hub, answer: Response, kind: type[ProviderError], reason: str, account_wide: bool
) -> None:
    hub.broken["/runs"] = answer
    async with Desk(hub) as desk:
        with pytest.raises(kind) as caught:
            await desk.polled()

        assert (reason, account_wide) == (caught.value.reason, caught.value.account_wide)
        assert TOKEN not in str(caught.value)


@live
async def test_a_new_token_is_asked_everything_anew(hub: Hub) -> None:
    async with Desk(hub) as desk:
        await desk.polled()
        await desk.polled()
        hub.tokens, desk.token = {"ghp_new"}, "ghp_new"
        free = desk.free
        await desk.polled()
        assert free == desk.free
        await desk.polled()
        assert free + 1 == desk.free


# -- Apps


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, traditional, encryption)


@pytest.fixture
def app(tmp_path: Path, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    file = tmp_path / "app.pem"
    file.write_bytes(pem(key))
    return {"id": 12345, "private_key_file": str(file), "installation_id": 67890}


def claims(jwt: str, key: rsa.RSAPrivateKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that `key` has signed."""
    signed, _, signature = jwt.rpartition(".")
    key.public_key().verify(unbase64(signature), signed.encode(), PKCS1v15(), SHA256())
    head, body = (json.loads(unbase64(part)) for part in signed.split("."))
    return head, body


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@live
async def test_an_app_signs_for_a_token_that_is_used_for_its_life(
    hub: Hub, app: dict[str, Any], key: rsa.RSAPrivateKey
) -> None:
    hub.repo("acme/cart")
    hub.end(hub.begin())
    async with Desk(hub, token_env=None, app=app, repos=["acme/*"]) as desk:
        hub.tokens.clear()
        assert ["acme/shop", "acme/cart"] == await desk.discovered()
        for _ in range(3):
            await desk.polled()

        assert "POST /app/installations/67890/access_tokens" == hub.requests[0]
        assert "/installation/repositories?per_page=100" == hub.requests[1]
        assert 1 == len(hub.grants)
        assert 1 == desk.value(f.BUILDS)
        head, body = claims(hub.grants[0]["jwt"], key)
        assert {"alg": "RS256", "typ": "JWT"} == head
        assert "12345" == body["iss"]
        assert body["iat"] <= time.time() - 55
        assert time.time() < body["exp"] <= time.time() + 600


@live
async def test_an_app_s_token_is_renewed_before_it_ends(
    hub: Hub, app: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Desk(hub, token_env=None, app=app) as desk:
        clock = time.time()
        monkeypatch.setattr(desk.api, "now", lambda: clock)
        await asyncio.gather(*(desk.source.renew() for _ in range(5)))
        first = desk.source.headers(None)
        clock += 3000
        await desk.source.renew()
        assert (1, first) == (len(hub.grants), desk.source.headers(None))
        clock += 400
        await desk.source.renew()

        assert 2 == len(hub.grants)
        assert first != desk.source.headers(None)
        assert len(first["Authorization"]) > 500


@live
async def test_an_app_s_token_that_is_refused_is_replaced(hub: Hub, app: dict[str, Any]) -> None:
    async with Desk(hub, token_env=None, app=app) as desk:
        await desk.polled()
        hub.tokens.clear()
        with pytest.raises(Refused):
            await desk.polled()
        await desk.polled()
        await desk.polled()

        assert 2 == len(hub.grants)


@live
async def test_an_app_s_key_may_be_replaced(
    hub: Hub, app: dict[str, Any], key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(65537, 2048)
    async with Desk(hub, token_env=None, app=app) as desk:
        for signer in (key, other):
            await asyncio.to_thread(Path(app["private_key_file"]).write_bytes, pem(signer))
            desk.source._granted._until = 0.0
            await desk.source.renew()

            assert "12345" == claims(hub.grants[-1]["jwt"], signer)[1]["iss"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (said(401, "A JSON web token could not be decoded"), Refused),
        (said(403, "This installation has been suspended"), Refused),
        (said(404, "Not Found"), Gone),
        (said(503, "unavailable"), TryLater),
        (Response('{"token": "", "expires_at": "2026-11-20T09:00:00Z"}', 201), ProviderError),
        (Response('{"token": "ghs_secret", "expires_at": "soon"}', 201), ProviderError),
        (Response('{"token": "ghs_secret"}', 201), ProviderError),
    ],
)
@live
async def test_without_a_token_the_whole_account_is_in_trouble(
    hub: Hub, app: dict[str, Any], answer: Response, kind: type[ProviderError]
) -> None:
    hub.broken["access_tokens"] = answer
    async with Desk(hub, token_env=None, app=app) as desk:
        with pytest.raises(kind) as caught:
            await desk.source.renew()

        assert caught.value.account_wide
        assert "ghs_secret" not in str(caught.value)
        with pytest.raises(Refused, match="no installation token yet"):
            desk.source.headers(None)


def test_nothing_prints_the_token_of_an_app(app: dict[str, Any]) -> None:
    provider = github(token_env=None, app=app)
    api: Any = None
    source = provider.connect(api)
    source._granted._token = "ghs_secret"

    assert source.headers(None)["Authorization"] == "Bearer ghs_secret"
    assert "ghs_secret" not in f"{provider!r} {provider} {source!r} {source._granted!r}"
    assert "ghs_secret" not in provider.model_dump_json()
    assert provider == github(token_env=None, app=app)
    assert provider != github(token_env=None, app={**app, "id": 1})


@pytest.mark.parametrize(
    "what", ["missing", "empty", "words", "locked", "elliptic", "public", "sound"]
)
def test_a_key_that_cannot_sign_is_a_fault_of_the_configuration(
    tmp_path: Path, key: rsa.RSAPrivateKey, what: str
) -> None:
    file = tmp_path / "app.pem"
    texts = {
        "empty": b"",
        "words": b"correct horse battery staple",
        "locked": pem(key, b"password"),
        "elliptic": pem(ec.generate_private_key(ec.SECP256R1())),
        "public": key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "sound": pem(key),
    }
    if what in texts:
        file.write_bytes(texts[what])
    app = App(id="Iv1.8a61f9b3a7aba766", private_key_file=str(file), installation_id=1)
    faults = GitHub.faults({"repos": ["acme/shop"], "app": app})

    if what == "sound":
        assert [] == faults
    else:
        ((place, text),) = faults
        assert ("app", "private_key_file") == place
        assert text.startswith(f"private_key_file {file} ")
        assert "horse" not in text
