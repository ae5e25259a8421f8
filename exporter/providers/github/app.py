"""GitHub Apps: a key signs for an installation token, which is good for an hour."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from exporter import times
from exporter.errors import Refused
from exporter.http import Api
from exporter.http.secret import content
from exporter.providers.grants import Grant

_BACKDATED, _VALID = 60.0, 540.0
"""Seconds around now for which a signature is valid: clocks differ; at most 10 minutes."""

Headers = Callable[[str], dict[str, str]]
"""The headers of a request with a bearer token."""


class App(BaseModel):
    """A GitHub App that is installed where the repos are."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    id: int | str
    """The App's id or client id."""
    private_key_file: str = Field(min_length=1)
    """File that holds its private key (PEM); read again for each token."""
    installation_id: int = Field(gt=0)
    """The number at the end of the installation's address."""

    def fault(self) -> str | None:
        """Why the key cannot be used, in one line; None if it can."""
        try:
            self.signed(0.0)
        except Refused as error:
            return f"{error} (download a private key of the App)"
        return None

    def signed(self, now: float) -> str:
        """A JSON Web Token (RFC 7519) that says who we are, at `now` of GitHub's clock.

        Raises Refused(`unauthorized`) if the key is missing or none.
        """
        # Imported here, as it takes 12 MB that only Apps need.
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )

        pem = content(self.private_key_file, key="private_key_file")
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, RSAPrivateKey):
            what = f"private_key_file {self.private_key_file} holds no RSA private key in PEM form"
            raise Refused(what, reason="unauthorized")
        head = {"alg": "RS256", "typ": "JWT"}
        claims: dict[str, str | int] = {"iss": str(self.id)}
        claims |= {"iat": int(now - _BACKDATED), "exp": int(now + _VALID)}
        text = f"{_part(head)}.{_part(claims)}"
        return f"{text}.{_base64(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _part(value: Mapping[str, str | int]) -> str:
    return _base64(msgspec.json.encode(value))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class _Answer(msgspec.Struct):
    token: str
    """40 characters once, hundreds since 2026."""
    expires_at: str


async def granted(app: App, api: Api, headers: Headers) -> Grant:
    """A new token of the App's installation."""
    answer = await api.post(
        f"/app/installations/{app.installation_id}/access_tokens",
        into=_Answer,
        headers=lambda: headers(app.signed(api.now())),
    )
    until = times.instant(answer.body.expires_at)
    return Grant(answer.body.token if until is not None else "", until or 0.0)
