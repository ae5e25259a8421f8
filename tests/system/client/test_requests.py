"""A request asks for what was meant, once and nowhere else, and follows only its own API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
import pytest

from exporter import __version__
from exporter import http as http_client
from exporter.errors import Malformed, ProviderError, TryLater
from exporter.http import CONCURRENCY, Answer, Api
from tests.system.client import OK, SECRET, attempt, connected, free_port, visit
from tests.tools.hostile import Reply, Request, Server, http

# The request


def test_the_example_of_the_client_works(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, rest = str(http_client.__doc__).partition("providers:\n\n")
    example, _, _ = rest.partition("\nWhat a failed request becomes:")
    names: dict[str, Any] = {"msgspec": msgspec, "Api": Api, "ProviderError": ProviderError}
    exec(f"async def example(url, token):\n{example}", names)

    async def run(reply: Reply) -> Request:
        async with Server(reply) as server:
            await names["example"](server.root, SECRET)
        return server.requests[0]

    request = asyncio.run(run(http('[{"id":7,"name":"CI"}]')))
    assert request.target == "/runs?page=2"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    asyncio.run(run(http(status=404)))
    newest, failure = capsys.readouterr().out.splitlines()
    assert newest == "7"
    assert failure.startswith("not_found ")


def test_a_request_carries_the_credential_and_names_us() -> None:
    request = visit(OK).requests[0]

    assert request.method == "GET"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == f"cicd-exporter/{__version__}"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["accept"] == "application/json"


def test_a_provider_may_ask_for_its_own_media_type() -> None:
    request = visit(OK, headers=lambda: {"accept": "application/vnd.x+json"}).requests[0]

    assert request.headers["accept"] == "application/vnd.x+json"


PRINTABLE = "".join(map(chr, range(32, 127))) + "é\u4e2d\N{PILE OF POO}\n\0"


@pytest.mark.parametrize(
    "value", ["c/2+=&x", "%2B%252F", "created_at[gt]", "2026-01-01T00:00:00+02:00", PRINTABLE]
)
def test_parameters_arrive_as_they_were_given(value: str) -> None:
    request = visit(OK, params={"next_cursor": value, value: "1", "limit": 5}).requests[0]

    query = urlsplit(request.target).query
    expected = [("next_cursor", value), (value, "1"), ("limit", "5")]
    assert parse_qsl(query, strict_parsing=True) == expected


@pytest.mark.parametrize("segment", ["{0e1c-uuid}", "feature/x y", "a%2Fb", PRINTABLE])
def test_a_quoted_segment_stays_one_segment(segment: str) -> None:
    request = visit(OK, path=f"/repos/{quote(segment, safe='')}/runs").requests[0]

    assert "?" not in request.target
    assert request.target.startswith("/repos/")
    assert [unquote(part) for part in request.target.split("/")[2:]] == [segment, "runs"]


def test_slashes_and_braces_stay_quoted() -> None:
    assert visit(OK, path="/%7Bid%7D/a%2Fb").requests[0].target == "/%7Bid%7D/a%2Fb"


def test_paths_are_appended_to_the_path_of_the_root() -> None:
    assert visit(OK, below="/api/v3/", path="/repos").requests[0].target == "/api/v3/repos"


@pytest.mark.parametrize(
    "path",
    [
        "/../admin",
        "/a/..",
        "/a/./b",
        "/%2e%2E/b",
        "/.%2e",
        "/a?b=1",
        "/a#b",
        "/a b\n",
        "/\0",
        "/\ud800",
        "",
        "a",
        "//a",
        "/a//b",
        "/a%2F..%2Fb",
        "/%252e%252e%252Fuser/b",
        "/%25252e%25252e/b",
        "/..%5cb",
        "/..;x=1/b",
        "/%c0%ae%c0%ae/b",
    ],
)
def test_a_path_that_leaves_its_place_is_not_asked_for(path: str) -> None:
    met = visit(OK, path=path)

    assert met.verdict == (Malformed, "bad_shape")
    assert met.requests == []
    assert met.stats.errors == {"bad_shape": 1}
    assert not met.error.account_wide


@pytest.mark.parametrize("name", ["..", ".", "", "%2e%2e/%2e%2e/user", "../../user", "..\\user"])
def test_a_name_that_is_a_way_elsewhere_is_not_asked_for(name: str) -> None:
    met = visit(OK, path=f"/repos/{quote(name, safe='')}/runs")

    assert met.verdict == (Malformed, "bad_shape")
    assert met.requests == []


@pytest.mark.parametrize("name", ["...", "a..b", ".github", "<script>", "a;b", "100%", "%41"])
def test_an_odd_name_is_asked_for_as_it_is(name: str) -> None:
    (request,) = visit(OK, path=f"/repos/{quote(name, safe='')}/runs").requests

    assert unquote(request.target.split("/")[2]) == name


def test_a_request_that_no_server_would_take_is_our_own_fault_and_not_sent() -> None:
    for met in (visit(OK, params={"cursor": "x" * 70_000}), visit(OK, path="/" + "x" * 70_000)):
        assert met.verdict == (Malformed, "bad_shape")
        assert met.requests == []
        assert not met.error.account_wide
        assert len(str(met.error)) < 300


def test_neither_the_environment_nor_netrc_nor_cookies_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    met = visit(http(set_cookie="sid=1; Path=/"), count=2, headers=dict)

    assert [type(outcome) for outcome in met.outcomes] == [Answer, Answer]
    assert not {"authorization", "cookie"} & set(met.requests[1].headers)


def test_a_proxy_is_used() -> None:
    async def go() -> list[Request]:
        async with Server(OK) as proxy:
            address = f"http://127.0.0.1:{proxy.port}"
            async with connected("http://api.invalid", proxy=address) as (api, _):
                await api.get("/x", into=dict)
            return proxy.requests

    (request,) = asyncio.run(go())
    assert request.target == "http://api.invalid/x"


@pytest.mark.parametrize("root", ["http://api.invalid", "https://api.invalid"])
def test_a_proxy_that_is_down_is_named(root: str) -> None:
    met = visit(OK, root=root, proxy=f"http://127.0.0.1:{free_port()}")

    assert met.verdict == (TryLater, "connect")
    assert "the proxy cannot be reached" in str(met.error)


def test_a_proxy_that_refuses_the_tunnel_is_named() -> None:
    async def go() -> ProviderError:
        async with Server(http(status=407)) as proxy:
            address = f"http://127.0.0.1:{proxy.port}"
            async with connected("https://api.invalid", proxy=address) as (api, _):
                with pytest.raises(TryLater, match="proxy") as caught:
                    await api.get("/x", into=dict)
                return caught.value

    assert asyncio.run(go()).reason == "connect"


def test_no_more_than_eight_requests_are_under_way() -> None:
    async def go() -> int:
        full, release = asyncio.Event(), asyncio.Event()
        under_way = most = 0

        async def wait_for_others(writer: asyncio.StreamWriter) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == CONCURRENCY:
                full.set()
            await release.wait()
            under_way -= 1
            writer.write(OK)
            await writer.drain()

        async with Server(wait_for_others) as server, connected(server.root) as (api, _):
            gets = [asyncio.create_task(api.get("/x", into=dict)) for _ in range(20)]
            await full.wait()
            release.set()
            await asyncio.gather(*gets)
        return most

    assert asyncio.run(go()) == 8


def test_connections_are_used_again() -> None:
    async def go() -> int:
        async with Server(OK) as server, connected(server.root) as (api, _):
            for _ in range(3):
                await api.get("/x", into=dict)
            return len(server.connections)

    assert asyncio.run(go()) == 1


def test_an_api_may_be_made_outside_the_loop_it_is_used_in() -> None:
    api = Api(root="http://127.0.0.1:1", headers=dict, timeout=1)
    asyncio.run(api.aclose())

    assert api.stats.requests == {}


# Redirects


def test_a_permanent_redirect_below_the_root_is_followed_once() -> None:
    for status in (301, 308):
        moved = http(status=status, location="/api/v3/repositories/7?page=2#x")
        met = visit(moved, OK, below="/api/v3", path="/repos/a/b")

        assert met.answer.body == {"a": 1}
        assert met.requests[1].target == "/api/v3/repositories/7?page=2"
        assert met.requests[1].headers["authorization"] == f"Bearer {SECRET}"
        assert met.stats.requests == {str(status): 1, "200": 1}
        assert met.stats.errors == {}


def test_a_second_redirect_is_not_followed() -> None:
    met = visit(http(status=301, location="/api/y"), below="/api")

    assert met.verdict == (Malformed, "redirect")
    assert len(met.requests) == 2


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, "http://localhost:{port}/api/x"),
        (301, "http://127.0.0.1:1/api/x"),
        (301, "https://127.0.0.1:{port}/api/x"),
        (301, "http://a:b@127.0.0.1:{port}/api/x"),
        (301, "//login.example/api/x"),
        (301, "ftp://elsewhere.example/api"),
        (301, "/elsewhere"),
        (301, "/apix"),
        (301, "/api/../elsewhere"),
        (301, "/api/%2e%2e/elsewhere"),
        (301, "http://[bad"),
        (301, "http://h:99999/"),
        (302, "/api/y"),
        (303, "/api/y"),
        (307, "/api/y"),
        (302, "//login.example/signin?state=s3cr3t-t0k3n"),
        (302, "//api.example/elsewhere?state=s3cr3t-t0k3n"),
        (302, "http://:0/"),
        (300, "http://[bad"),
        (305, ""),
    ],
)
def test_no_other_redirect_is_followed(status: int, location: str) -> None:
    async def go() -> tuple[list[Request], ProviderError]:
        async def point(writer: asyncio.StreamWriter) -> None:
            writer.write(http(status=status, location=location.format(port=server.port)))
            await writer.drain()

        async with Server(point) as server, connected(server.root + "/api") as (api, _):
            outcome = await attempt(api, "/x", None, dict)
            assert isinstance(outcome, ProviderError)
            return server.requests, outcome

    requests, error = asyncio.run(go())

    assert len(requests) == 1
    assert error.reason == ("unauthorized" if "//login" in location[:8] else "redirect")
    assert SECRET not in str(error)


def test_the_error_names_the_host_a_redirect_points_to_and_what_to_do() -> None:
    error = visit(http(status=302, location="https://ci.example/elsewhere?next=1")).error

    assert str(error).endswith(
        "/x: answered 302 Found: redirected to ci.example; if the API has moved there, change url"
    )


# POST


class Grant(msgspec.Struct):
    token: str


def posted(*replies: Reply, headers: Any = None) -> tuple[Any, list[Request]]:
    """What comes of a POST, and the requests for it."""

    async def go() -> tuple[Any, list[Request]]:
        async with Server(*replies) as server, connected(server.root) as (api, _):
            given = headers or (lambda: {"Authorization": "Bearer j.w.t-signed"})
            try:
                outcome: Any = await api.post("/tokens", into=Grant, headers=given)
            except ProviderError as error:
                outcome = error
        return outcome, server.requests

    return asyncio.run(go())


def test_a_post_has_headers_of_its_own_and_no_body() -> None:
    answer, (request,) = posted(http('{"token":"t"}', 201))

    assert ("t", 201) == (answer.body.token, answer.status)
    assert ("POST", "/tokens", "0") == (
        request.method,
        request.target,
        request.headers["content-length"],
    )
    assert request.headers["authorization"] == "Bearer j.w.t-signed"
    assert request.headers["user-agent"] == f"cicd-exporter/{__version__}"


def test_a_post_is_sent_again_when_it_may_succeed_later() -> None:
    answer, requests = posted(http(status=503), http('{"token":"t"}', 201))

    assert ("t", 2) == (answer.body.token, len(requests))


def test_a_post_that_is_refused_is_sent_again_with_newer_headers() -> None:
    signatures = iter(["one", "two"])
    answer, requests = posted(
        http(status=401),
        http('{"token":"t"}'),
        headers=lambda: {"Authorization": f"Bearer {next(signatures)}"},
    )

    assert "t" == answer.body.token
    assert ["Bearer one", "Bearer two"] == [r.headers["authorization"] for r in requests]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_post_follows_no_redirect(status: int) -> None:
    error, requests = posted(http("", status, location="/elsewhere"))

    assert ("redirect", 1) == (error.reason, len(requests))


def test_an_error_of_a_post_does_not_tell_its_credential() -> None:
    error, _ = posted(http('{"message":"j.w.t-signed is expired"}', 401))

    assert "j.w.t-signed" not in str(error)
    assert "is expired" in str(error)
