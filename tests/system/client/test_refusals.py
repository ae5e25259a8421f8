"""Who refuses, why, and whether it is the account or one resource that is in trouble."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from exporter.errors import Gone, Malformed, ProviderError, Refused
from exporter.http.acceptance import resource
from exporter.http.roots import likely_root
from exporter.providers.github import GitHub
from tests.system.client import Visit, attempt, connected, visit
from tests.tools.hostile import Server, http

PAGE = http("<!doctype html><title>Sign in</title>", content_type="text/html")


def refused(status: int, message: str, **headers: str) -> Visit:
    reply = http(json.dumps({"message": message}), status, **headers)
    return visit(reply, dialect=GitHub.dialect)


# Pages for signing in


@pytest.mark.parametrize(
    "location",
    [
        "/login",
        "/users/sign_in",
        "/login?return_to=%2Fapi",
        "/securityRealm/commenceLogin?from=%2Fjob%2Fshop",
        "/oauth2/start?rd=%2Fjob",
        "/account/signin/?next=/2.0",
        "/Account/Login.aspx",
        "/_signin?realm=dev.azure.com",
        "/cgi/entry?ReturnUrl=%2Fapi",
        "https://login.microsoftonline.com/common",
        "https://app.vssps.visualstudio.com/x",
        "https://acme.okta.com/app/ci",
        "https://sso-eu.corp.example/start",
        "https://idp.example/realms/acme/protocol/openid-connect/auth?client_id=ci",
        "https://gate.example/x?SAMLRequest=fZ",
    ],
)
@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_redirect_to_a_page_for_signing_in_refuses_the_token(location: str, status: int) -> None:
    met = visit(http("<html>", status, location=location, content_type="text/html"))

    assert met.verdict == (Refused, "unauthorized")
    assert met.error.account_wide
    assert "redirected to a page for signing in at" in str(met.error)
    assert "check the token" in str(met.error)
    assert "change url" not in str(met.error)
    assert len(met.requests) == 1


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/repos/acme/old/runs", 301, "https://git.example/api/repositories/42/runs"),
        ("/projects/acme%2Fshop", 301, "http://ci.internal/api/v4/projects/9"),
        ("/repos/acme/login/runs", 302, "/elsewhere/acme/login/runs"),
        ("/repos/acme/sso/runs", 301, "https://git.example/repos/acme/sso/runs"),
        ("/repos/acme/shop/runs", 301, "/moved/auth/runs"),
        ("/repos/acme/authors/runs", 302, "https://git.example/repos/acme/authors-of/runs"),
        ("/repos/acme/shop/runs", 307, "https://git.example/repos/acme/login-page-of-us/runs"),
    ],
)
def test_a_redirect_of_one_resource_is_its_own_trouble(
    path: str, status: int, location: str
) -> None:
    met = visit(http("moved", status, location=location), path=path, below="/api")

    assert met.verdict == (Malformed, "redirect")
    assert not met.error.account_wide


@pytest.mark.parametrize("status", [200, 203])
def test_a_page_in_place_of_an_answer_refuses_the_token(status: int) -> None:
    page = http("<html>Sign in", status, content_type="text/html; charset=utf-8")

    assert visit(page).verdict == (Refused, "unauthorized")


def test_an_answer_of_another_authority_that_is_no_json_refuses_the_token() -> None:
    assert visit(http("Sign in to continue", 203)).verdict == (Refused, "unauthorized")
    assert visit(http("", 203)).verdict == (Refused, "unauthorized")
    assert visit(http('{"a":1}', 203)).answer.body == {"a": 1}


# An API that has moved


def test_an_api_that_wants_https_says_what_url_must_be() -> None:
    met = visit(
        http("", 301, location="https://127.0.0.1/api/v4/projects/1?x=y"),
        below="/api/v4",
        path="/projects/1",
    )

    assert met.verdict == (Malformed, "redirect")
    assert str(met.error).endswith("set url to https://127.0.0.1/api/v4")
    assert met.error.account_wide
    assert len(met.requests) == 1


def test_an_api_that_has_moved_as_a_whole_says_where_to() -> None:
    error = visit(http("", 308, location="https://new.example/ci/x"), path="/x").error

    assert str(error).endswith("if the API has moved there, set url to https://new.example/ci")


# Rules of the owner

SAML = (
    "Resource protected by organization SAML enforcement. You must grant your token access to"
    " this organization."
)


def test_single_sign_on_is_told_with_its_link_and_is_no_matter_of_the_account() -> None:
    link = "https://127.0.0.1/orgs/acme/sso?authorization_request=AZSCKL27"
    met = refused(403, SAML, x_github_sso=f"required; url={link}")

    assert met.verdict == (Refused, "forbidden")
    assert not met.error.account_wide
    assert f"authorize the token for it at {link}: Resource protected" in str(met.error)
    assert "single sign-on" in (met.error.advice or "")


@pytest.mark.parametrize(
    "header",
    [
        "required; url=http://127.0.0.1/orgs/acme/sso",
        "required; url=https://evil.example/orgs/acme/sso",
        "required; url=https://a:b@127.0.0.1/sso",
        "required; url=javascript:alert(1)",
        "required; url=https://[",
        "partial-results; organizations=21955855",
        "required",
    ],
)
def test_a_link_that_leads_elsewhere_is_not_told(header: str) -> None:
    met = refused(403, SAML, x_github_sso=header)

    assert met.verdict == (Refused, "forbidden")
    assert "://" not in str(met.error)
    assert "authorize the token for it: Resource protected" in str(met.error)


ALLOW_LIST = (
    "Although you appear to have the correct authorization credentials, the `acme` organization"
    " has an IP allow list enabled, and your IP address 192.0.2.7 is not permitted to access this"
    " resource."
)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "message",
    [
        ALLOW_LIST,
        "To access this workspace your IP address must be on its allowlist",
        "Access denied: your IP is not whitelisted: whitelist your IP",
        "Your IP address restricted by the group",
        "IP 192.0.2.7 is not allowed",
    ],
)
def test_an_ip_allow_list_is_told_as_such(status: int, message: str) -> None:
    met = refused(status, message)

    assert met.verdict == (Refused, "forbidden")
    assert not met.error.account_wide
    assert "IP allow list" in str(met.error)
    assert "token" not in str(met.error)
    assert "IP allow list" in (met.error.advice or "")


def test_a_conditional_access_policy_is_told_as_such() -> None:
    met = refused(401, "VS403463: The conditional access policy defined by your admin has failed.")

    assert met.verdict == (Refused, "forbidden")
    assert "a conditional access policy keeps this machine" in str(met.error)


def test_a_refused_token_is_still_a_refused_token() -> None:
    met = refused(401, "Bad credentials")

    assert met.verdict == (Refused, "unauthorized")
    assert met.error.account_wide
    assert met.error.advice is None


# The wrong root


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (PAGE, Refused, "unauthorized"),
        (http("<html>Not found", 404, content_type="text/html"), Gone, "not_found"),
        (http("<html>no", 406, content_type="text/html"), Refused, "bad_shape"),
        (http("", 302, location="/login"), Refused, "unauthorized"),
    ],
)
def test_a_web_site_in_place_of_the_api_names_the_likely_root(
    reply: bytes, kind: type, reason: str
) -> None:
    met = visit(reply, likely_root="https://git.example/api/v3")

    assert met.verdict == (kind, reason)
    assert met.error.account_wide
    assert "not the root of the API: set it to https://git.example/api/v3" in str(met.error)
    assert "https://git.example/api/v3" in (met.error.advice or "")


def test_a_web_page_that_finds_nothing_may_be_no_api_at_all() -> None:
    page = visit(http("<html>Not found", 404, content_type="text/html")).error
    api = visit(http('{"message":"Not Found"}', 404)).error

    assert "check that url is the API's root" in str(page)
    assert not page.account_wide
    assert "url" not in str(api)


@pytest.mark.parametrize(
    "reply",
    [
        http('{"message":"Not Found"}', 404),
        http("", 301, location="https://git.example/api/v3/x"),
        http("<html>Bad gateway", 502, content_type="text/html"),
    ],
)
def test_an_api_that_answers_is_at_the_right_root(reply: bytes) -> None:
    assert "api/v9" not in str(visit(reply, likely_root="https://git.example/api/v9").error)


def test_an_api_that_has_answered_before_is_at_the_right_root() -> None:
    met = visit(http('{"a":1}'), PAGE, count=2, likely_root="https://git.example/api/v9")

    assert met.verdict == (Refused, "unauthorized")
    assert "api/v9" not in str(met.error)


GITHUB, GITLAB = "https://api.github.com", "https://gitlab.com/api/v4"
AZURE = "https://dev.azure.com"


@pytest.mark.parametrize(
    ("root", "public", "below", "likely"),
    [
        (GITHUB, GITHUB, "/api/v3", None),
        ("https://github.com", GITHUB, "/api/v3", GITHUB),
        ("https://github.com/acme", GITHUB, "/api/v3", GITHUB),
        ("https://git.corp.example", GITHUB, "/api/v3", "https://git.corp.example/api/v3"),
        ("https://git.corp.example/api/v3", GITHUB, "/api/v3", None),
        ("https://git.corp.example/api", GITHUB, "/api/v3", "https://git.corp.example/api/v3"),
        (
            "https://git.corp.example/api/v3/repos",
            GITHUB,
            "/api/v3",
            "https://git.corp.example/api/v3",
        ),
        ("https://git.corp.example/acme", GITHUB, "/api/v3", "https://git.corp.example/api/v3"),
        ("https://gitlab.com", GITLAB, "/api/v4", GITLAB),
        ("http://192.0.2.1:8080/git", GITLAB, "/api/v4", "http://192.0.2.1:8080/git/api/v4"),
        ("https://dev.azure.com/acme", AZURE, "", AZURE),
        ("https://tfs.example/tfs/acme", AZURE, "", "https://tfs.example/tfs"),
        ("https://tfs.example/tfs/acme/shop/_apis", AZURE, "", "https://tfs.example/tfs/acme/shop"),
        ("https://tfs.example/tfs", AZURE, "", None),
        ("https://ci.example/jenkins/job/shop/", None, "", "https://ci.example/jenkins"),
        ("https://ci.example/jenkins/api/json", None, "", "https://ci.example/jenkins"),
        ("https://ci.example/jenkins", None, "", None),
    ],
)
def test_the_likely_root_is_told_by_the_address(
    root: str, public: str | None, below: str, likely: str | None
) -> None:
    assert likely_root(root, public=public, below=below, owners=("acme",)) == likely


@pytest.mark.parametrize(
    ("url", "likely"),
    [
        (None, None),
        ("https://api.acme.ghe.com", None),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://git.corp.example/acme", "https://git.corp.example/api/v3"),
    ],
)
def test_a_provider_knows_where_its_api_is(url: str | None, likely: str | None) -> None:
    account = GitHub(name="a", provider="github", url=url, token_env="T", repos=["acme/shop"])

    assert account.likely_root == likely


# One resource that refuses a credential which others take


def told_apart(*replies: tuple[str, int]) -> list[bool]:
    """Whether the refusals of these requests, path and status, speak of the account."""
    tokens = {"value": "token-one"}

    async def go() -> list[bool]:
        answers = [http("{}" if status < 300 else "", status) for _, status in replies]
        speak = []
        async with (
            Server(*answers) as server,
            connected(server.root, headers=lambda: {"Authorization": tokens["value"]}) as (api, _),
        ):
            for path, status in replies:
                if status == 200 and path == "/rotate":
                    tokens["value"] = "token-two"
                outcome = await attempt(api, path, None, dict)
                if isinstance(outcome, ProviderError):
                    speak.append(outcome.account_wide)
        return speak

    return asyncio.run(go())


def test_a_refusal_speaks_of_the_account_until_others_contradict_it() -> None:
    assert told_apart(("/b", 401), ("/a", 200), ("/b", 401), ("/b", 401)) == [True, False, False]


@pytest.mark.parametrize("refuses", [http(status=401), PAGE, http(status=302, location="/login")])
def test_what_others_say_is_asked_at_the_first_refusal_by_one(refuses: bytes) -> None:
    async def go() -> list[str]:
        one, another = http("{}"), http("[]")
        async with (
            Server(one, refuses, another, refuses, one) as server,
            connected(server.root, headers=lambda: {"Authorization": "token"}) as (api, _),
        ):
            await api.get("/a", {"x": 1}, into=dict)
            for _ in range(2):
                outcome = await attempt(api, "/b", None, dict)
                assert isinstance(outcome, ProviderError)
                assert not outcome.account_wide
            await api.get("/c", into=dict)
            return [request.target for request in server.requests]

    assert asyncio.run(go()) == ["/a?x=1", "/b", "/a?x=1", "/b", "/c"]


@pytest.mark.parametrize("refuses", [http(status=401), PAGE, http(status=302, location="/login")])
def test_a_credential_that_is_revoked_meanwhile_is_refused_by_all(refuses: bytes) -> None:
    async def go() -> tuple[bool, int]:
        async with (
            Server(http("{}"), refuses) as server,
            connected(server.root, headers=lambda: {"Authorization": "token"}) as (api, _),
        ):
            await api.get("/a", into=dict)
            outcome = await attempt(api, "/b", None, dict)
            assert isinstance(outcome, ProviderError)
            return outcome.account_wide, len(server.requests)

    assert asyncio.run(go()) == (True, 3)


def test_a_credential_that_all_refuse_is_the_accounts() -> None:
    assert told_apart(("/a", 200), ("/b", 200), ("/a", 401), ("/b", 401), ("/a", 401)) == [
        True,
        True,
        True,
    ]


def test_a_resource_that_accepts_again_starts_anew() -> None:
    steps = (("/b", 401), ("/a", 200), ("/b", 200), ("/b", 401))

    assert told_apart(*steps) == [True, True]


def test_another_credential_starts_anew() -> None:
    steps = (("/b", 401), ("/a", 200), ("/b", 401), ("/rotate", 200), ("/b", 401), ("/b", 401))

    assert told_apart(*steps) == [True, False, True, True]


def test_one_path_may_serve_many_repos() -> None:
    def of(query: str) -> str:
        return resource(httpx.URL(f"https://api.example/unified/ci-cd/builds?{query}"))

    assert of("repo_id=shop&limit=100") == of("limit=30&next_cursor=abc&repo_id=shop")
    assert of("repo_id=shop") != of("repo_id=api")
