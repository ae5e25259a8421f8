"""Microsoft Entra: a service principal proves who it is and is granted bearer tokens."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from exporter.errors import Refused
from exporter.http import Api
from exporter.http.secret import content
from exporter.payload import span
from exporter.providers.grants import Grant

_SCOPE = "499b84ac-1321-427f-aa17-267660dfd8b7/.default"
"""All that the principal may do at Azure DevOps, whose id this is in every tenant."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523: a token of another issuer takes the place of a secret."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=255)]


class Entra(BaseModel):
    """A service principal or a managed identity that the organization has as a user."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    tenant_id: Name
    """The directory's id, or a domain of it."""
    client_id: Name
    """The application's id."""
    client_secret_file: str | None = Field(default=None, min_length=1)
    """File that holds a secret of the application; read again for each token."""
    federated_token_file: str | None = Field(default=None, min_length=1)
    """File that holds a token of an issuer that the application trusts, such as the one of a
    Kubernetes service account; read again for each token, as it changes."""
    authority: str = "https://login.microsoftonline.com"
    """Who grants tokens; another one in national clouds. https, but for this machine."""

    def fault(self) -> tuple[str, str] | None:
        """Which key is wrong, and in one line what; None if all can be used."""
        both = (self.client_secret_file, self.federated_token_file)
        if both.count(None) != 1:
            known = "client_secret_file, federated_token_file"
            return "client_secret_file", f"exactly one of {known} is needed"
        if not _is_safe(self.authority):
            return "authority", "must be https://HOST (a secret is sent there)"
        try:
            self.form()
        except Refused as error:
            key = "client_secret_file" if self.client_secret_file else "federated_token_file"
            return key, str(error)
        return None

    def form(self) -> dict[str, str]:
        """What a token is asked for with. Raises Refused(`unauthorized`) if a file is no use."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "scope": _SCOPE,
        }
        if self.client_secret_file is not None:
            return form | {"client_secret": _secret(self.client_secret_file, "client_secret_file")}
        proof = _secret(self.federated_token_file or "", "federated_token_file")
        return form | {"client_assertion_type": _ASSERTION, "client_assertion": proof}

    async def grant(self, api: Api) -> Grant:
        """A new token, asked for with the CAs and the proxy of `api`.

        Raises a ProviderError; one that refuses us is `unauthorized`, whatever its status.
        """
        client = api.beside(self.authority)
        path = f"/{quote(self.tenant_id, safe='')}/oauth2/v2.0/token"
        began = api.now()
        try:
            answer = await client.post(path, into=_Answer, headers=dict, form=self.form)
        except Refused as error:
            if error.reason in ("connect", "tls"):
                raise
            raise Refused(str(error), reason="unauthorized") from None
        finally:
            await client.aclose()
        seconds = span(answer.body.expires_in) or 0.0
        return Grant(answer.body.access_token, began + seconds)


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int | str = 0
    """Seconds; in digits at some authorities."""


def _secret(file: str, key: str) -> str:
    text = content(file, key=key).strip()
    if not text:
        raise Refused(f"{key} {file} is empty", reason="unauthorized")
    return text


def _is_safe(authority: str) -> bool:
    """Whether a secret may be sent there: nobody on the way can read it."""
    if not re.fullmatch(r"https?://[^\s/?#@\\]+/?", authority):
        return False
    parts = urlsplit(authority)
    try:
        is_local = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_local = parts.hostname == "localhost"
    return parts.scheme == "https" or is_local
