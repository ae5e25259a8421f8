"""Whether an integrated account works: the admin side of the API."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from exporter.errors import ProviderError, Refused
from exporter.http import Api
from exporter.payload import text
from exporter.providers import tried
from exporter.providers.truto.client import pages
from exporter.providers.truto.payload import Account, Capabilities

T = TypeVar("T")

_LONGEST = 200
_ADVICE = {
    "connecting": "finish connecting it in Truto",
    "needs_reauth": "its owner must connect it again in Truto",
    "validation_error": "correct its settings in Truto",
    "post_install_error": "see its last action in Truto and connect it again",
}
"""What a person does about each status of `GET /integrated-account` but `active`."""


async def check(api: Api, account_id: str) -> None:
    """Raise Refused if Truto says that a person must see to the account.

    The list tells its status and last error, the capabilities whether it is blocked.
    An answer that is no statement about this account says nothing; what fails for
    the whole account (token, network, limits) is raised as it is.
    """
    account = await _listed(api, account_id)
    if account is not None:
        _judge(api, account, account_id)
    path = f"/integrated-account/{quote(account_id, safe='')}/capabilities"
    answer = await tried(api.get(path, {"type": "unified"}, into=Capabilities))
    if not isinstance(answer, ProviderError) and answer.body.account is not None:
        _judge(api, answer.body.account, account_id)


async def _listed(api: Api, account_id: str) -> Account | None:
    listed = await tried(pages(api, "/integrated-account", {}, Account, sizes=()))
    if isinstance(listed, ProviderError):
        return None
    return next((a for a in listed.items if str(a.id).lower() == account_id.lower()), None)


def _judge(api: Api, account: Account, account_id: str) -> None:
    status = text(account.status)
    if account.is_blocked is True:
        trouble, advice = "blocked", "ask Truto's support"
    elif status is not None and status != "active":
        trouble, advice = status, _ADVICE.get(status, "see the account in Truto")
    else:
        return
    said = _line(account.last_error)
    api.stats.errors["unauthorized"] += 1
    raise Refused(
        f"the integrated account {account_id} is {trouble}{said and f': {said}'} ({advice})",
        reason="unauthorized",
        account_wide=True,
        advice=f"{advice[0].upper()}{advice[1:]}; Truto's own token is good.",
        counted=True,
    )


def _line(error: Any) -> str:
    """`last_error` as one short line; it may be text or an object with a message."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error
    if error is None or error == "":
        return ""
    spelled = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    line = " ".join("".join(c if c.isprintable() else " " for c in spelled).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
