"""What looks like a credential is not repeated, and what is a name is."""

from __future__ import annotations

import random
import string

import pytest

from exporter.redaction import guarded, holds_credential, redacted, shown

BASE62 = string.ascii_letters + string.digits


def made_up(alphabet: str, length: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


# In pieces, so that nobody who looks for leaked tokens finds one here.
TOKENS = {
    "GitHub": "gh" + "p_" + made_up(BASE62, 36),
    "GitHub, an installation's": "gh" + "s_" + made_up(BASE62, 36),
    "GitHub, fine-grained": "github" + "_pat_" + made_up(BASE62, 22) + "_" + made_up(BASE62, 59),
    "GitLab": "gl" + "pat-" + made_up(BASE62, 20),
    "GitLab, a runner's": "gl" + "rt-" + made_up(BASE62, 20),
    "CircleCI": "CCI" + "PAT_" + made_up(BASE62, 22) + "_" + made_up("0123456789abcdef", 40),
    "Atlassian": "AT" + "ATT3x" + made_up(BASE62, 60),
    "Slack": "xo" + "xb-" + made_up(string.digits, 12) + "-" + made_up(BASE62, 24),
    "AWS": "AK" + "IA" + made_up(string.ascii_uppercase, 16),
    "a JSON Web Token": "ey" + f"J{made_up(BASE62, 20)}.ey" + f"J{made_up(BASE62, 40)}.sig",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_token_of_a_known_form_is_hidden_wherever_it_stands(token: str) -> None:
    for text in (token, f"acme/{token}", f"https://{token}@host/acme", f"a, {token}: b"):
        assert token not in redacted(text)
        assert token not in guarded(text)
        assert holds_credential(text)


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [
        ("0123456789abcdef", 32),
        ("0123456789abcdef", 40),
        ("abcdefghijklmnopqrstuvwxyz234567", 52),
        (BASE62, 40),
    ],
    ids=["Jenkins", "CircleCI, the old form", "Azure DevOps", "base 62"],
)
def test_long_random_words_are_hidden(alphabet: str, length: int) -> None:
    words = [made_up(alphabet, length, seed) for seed in range(100)]

    assert [] == [word for word in words if word in guarded(f"interval {word} is bad")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://user:hunter2@host/acme/shop", "***@host/acme/shop"),
        ("//hunter2@host/acme", "//***@host/acme"),
        ("https://user:pass/with@and#@host/x", "***@host/x"),
        ("user:hunter2@host/x", "***@host/x"),
        ("https://host/x?access_token=hunter2&page=1", "https://host/x?access_token=***&page=1"),
        ("Authorization: Basic aHVudGVyMg==", "Authorization: ***"),
        ("Bearer hunter2hunter2", "Bearer ***"),
        ("{'password': 'hunter2'}", "{'password': '***'}"),
    ],
)
def test_what_stands_where_credentials_stand_is_hidden(text: str, told: str) -> None:
    assert guarded(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "acme/payment-service-2024-frontend",
        "MyTeam/PaymentServiceFrontend2",
        "contoso-corporation/Fabrikam.Fiber.Web.2022/frontend-service",
        "git@github.com:acme/shop.git",
        "release/2024.11.30-hotfix12",
        "/var/lib/cicd-exporter/config-2024-11-30.yaml",
        "https://ci.example.com:8443/jenkins/job/shop",
        "secrets are only referenced: use `token_env` or `token_file`",
        "must be greater than 0, got 15m",
        "x" * 200,
    ],
)
def test_names_and_sentences_stay_as_they_are(text: str) -> None:
    assert guarded(text) == redacted(text) == text
    assert not holds_credential(text)


def test_a_long_value_is_hidden_before_it_is_shortened() -> None:
    token = TOKENS["GitHub"]

    assert shown("a" * 50 + " " + token) == repr(f"{'a' * 50} ***")
    assert shown("b" * 70) == repr(f"{'b' * 60}...")
