"""An account that needs a person says so; silence about it is no trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.errors import Refused, TryLater
from tests.contract.providers.truto import (
    ACCOUNT,
    DENIED,
    LATER,
    UNAUTHORIZED,
    FakeApi,
    listed,
    truto,
)

ACTIVE = {"id": ACCOUNT, "status": "active"}
CAPABILITIES = f"/integrated-account/{ACCOUNT}/capabilities"


def health(**answers: Any) -> list[str]:
    spelled = {k.replace("accounts", "/integrated-account"): v for k, v in answers.items()}
    api: Any = FakeApi(**spelled)
    asyncio.run(truto("github").connect(api).health())
    return list(api.paths)


def test_an_active_account_is_well():
    paths = health(
        accounts=[
            listed({"id": "other", "status": "needs_reauth"}, next_cursor="2"),
            listed(ACTIVE),
        ],
        **{CAPABILITIES: {"account": {"status": "active", "is_blocked": False}, "unified": []}},
    )

    assert ["/integrated-account"] * 2 + [CAPABILITIES] == paths


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"accounts": listed({"id": "other", "status": "needs_reauth"}, {}, "x")},
        {"accounts": {"nonsense": 1}},
        {"accounts": DENIED},
        {"accounts": LATER, CAPABILITIES: LATER},
        {"accounts": listed(ACTIVE), CAPABILITIES: {}},
        {"accounts": listed({"id": ACCOUNT})},
    ],
)
def test_an_answer_that_says_nothing_of_the_account_is_no_error(answers):
    health(**answers)


# fmt: off
SICK: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"accounts": listed(ACTIVE | {"status": "needs_reauth", "last_error": "Bad\ncredentials"})},
        ["needs_reauth: Bad credentials", "connect it again"],
    ),
    (
        {
            "accounts": listed(
                ACTIVE | {"status": "validation_error", "last_error": {"message": "no host"}},
            ),
        },
        ["validation_error: no host"],
    ),
    (
        {"accounts": listed(ACTIVE | {"status": "post_install_error", "last_error": {"code": 7}})},
        ["post_install_error: {\"code\":7}"],
    ),
    ({"accounts": listed(ACTIVE | {"status": "connecting"})}, ["is connecting (finish"]),
    ({"accounts": listed(ACTIVE | {"status": "needs_reauth", "last_error": "x" * 5000})}, ["x…"]),
    (
        {"accounts": listed(ACTIVE), CAPABILITIES: {"account": {"is_blocked": True}}},
        ["is blocked", "support"],
    ),
    ({CAPABILITIES: {"account": {"status": "needs_reauth"}}}, ["needs_reauth"]),
]
# fmt: on


@pytest.mark.parametrize(("answers", "said"), SICK)
def test_an_account_that_needs_a_person_is_refused(answers, said):
    with pytest.raises(Refused) as caught:
        health(**answers)

    message = str(caught.value)
    assert ("unauthorized", True) == (caught.value.reason, caught.value.account_wide)
    assert all(part in message for part in [ACCOUNT, *said])
    assert "\n" not in message
    assert len(message) < 400
    assert caught.value.counted
    assert "Truto's own token is good" in (caught.value.advice or "")


@pytest.mark.parametrize("fault", [UNAUTHORIZED, TryLater("slow down", reason="rate_limited")])
@pytest.mark.parametrize("where", ["accounts", CAPABILITIES])
def test_trouble_of_the_whole_account_is_not_swallowed(fault, where):
    with pytest.raises(type(fault)):
        health(**{where: fault})


def test_an_account_that_needs_a_person_counts_as_refused():
    api: Any = FakeApi(**{"/integrated-account": listed(ACTIVE | {"status": "needs_reauth"})})

    with pytest.raises(Refused):
        asyncio.run(truto("github").connect(api).health())

    assert {"unauthorized": 1} == api.stats.errors
