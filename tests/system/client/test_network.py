"""Whatever the network and TLS do wrong becomes an error that names it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import Malformed, ProviderError, Refused, TryLater
from exporter.http import Answer
from exporter.http.address import assert_allowed, opened
from exporter.http.connections import _hardened, _public
from tests.system.client import ENDLESS, LONG, OK, attempt, connected, free_port, visit
from tests.tools import hostile
from tests.tools.hostile import Reply, Request, Server, drip, flood, hang_up, reset, stall

# The network


def test_a_refused_connection_is_tried_again_and_told() -> None:
    met = visit(OK, root=f"http://127.0.0.1:{free_port()}")

    assert met.verdict == (TryLater, "connect")
    assert "ConnectionRefusedError" in str(met.error)
    assert met.stats.requests == {"error": 3}
    assert met.error.account_wide


def test_an_unknown_host_is_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    met = visit(OK, root="https://api.invalid")

    assert met.verdict == (TryLater, "dns")
    assert str(met.error).startswith("api.invalid/x: the host name cannot be resolved")


METADATA = [
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "2001:db8::5efe:a9fe:a9fe",
]


@pytest.mark.parametrize("address", METADATA)
def test_an_address_at_which_clouds_give_out_credentials_is_no_api(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family, rest = (socket.AF_INET6, (0, 0)) if ":" in address else (socket.AF_INET, ())
    found = [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80, *rest))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    literal = f"[{address}]" if ":" in address else address

    for root in ("http://api.invalid", f"http://{literal}"):
        met = visit(OK, root=root)
        assert met.verdict == (Refused, "connect")
        assert "an address where no API can be" in str(met.error)
        assert met.stats.requests == {"error": 1}


@pytest.mark.parametrize(
    "host",
    [
        *(f"[{address}]" if ":" in address else address for address in METADATA),
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "169.254.169.254.",
        "metadata.google.internal",
        "METADATA.goog",
        "instance-data.ec2.internal",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_proxy_is_asked_for_the_credentials_of_a_machine(scheme: str, host: str) -> None:
    async def go() -> tuple[ProviderError | Answer[Any], list[Request]]:
        async with Server(OK) as proxy:
            address = f"http://127.0.0.1:{proxy.port}"
            async with connected(f"{scheme}://{host}", proxy=address) as (api, _):
                return await attempt(api, "/x", None, dict), proxy.requests

    error, requests = asyncio.run(go())

    assert isinstance(error, Refused)
    assert error.reason == "connect"
    assert requests == []


def test_a_proxy_at_such_an_address_is_not_asked() -> None:
    met = visit(OK, proxy="http://169.254.169.254")

    assert met.verdict == (Refused, "connect")


def test_addresses_of_a_private_network_are_fine() -> None:
    for address in ("10.0.0.1", "192.168.1.1", "127.0.0.1"):
        opened((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80))).close()
        assert_allowed(address)
    for address in ("::1", "fd12::7", "64:ff9b::a00:1", "2002:a00:1::1"):
        opened((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, 80, 0, 0))).close()
        assert_allowed(address)


# Names


def test_a_silent_name_server_holds_up_no_other_account(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    looked_up: list[str] = []
    really = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **named: Any) -> Any:
        if not host.endswith(".invalid"):
            return really(host, *rest, **named)
        looked_up.append(host)
        answers.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def go() -> set[str]:
        told: set[str] = set()
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(Server(OK))
            silent = [
                (await stack.enter_async_context(connected(f"http://s{n}.invalid", timeout=0.1)))[0]
                for n in range(40)
            ]
            root = f"http://localhost:{server.port}"
            good, _ = await stack.enter_async_context(connected(root))
            for _ in range(2):
                tasks = [attempt(api, "/x", None, dict) for api in silent]
                failed = asyncio.gather(*tasks)
                assert isinstance(await attempt(good, "/x", None, dict), Answer)
                told |= {o.reason for o in await failed if isinstance(o, ProviderError)}
        return told

    begun = time.monotonic()
    try:
        assert asyncio.run(go()) == {"timeout"}
        assert time.monotonic() - begun < 30, "nobody waits for a thread"
        assert Counter(looked_up) == {f"s{n}.invalid": 1 for n in range(40)}
    finally:
        answers.set()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(hang_up(), id="closed"),
        pytest.param(reset(), id="reset"),
        pytest.param(hang_up(b"SSH-2.0-x\r\n"), id="not-http"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 99_999), id="endless-header"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9999), id="many-headers"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\nx"), id="half-a-header"),
    ],
)
def test_what_breaks_off_or_is_no_http_is_a_connection_error(reply: Reply) -> None:
    met = visit(reply)

    assert met.verdict == (TryLater, "connect")
    assert met.stats.requests == {"error": 3}
    assert met.left_open == 0


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param(stall(), "error", id="nothing"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nx: ", every=0.02), "error", id="slow-headers"),
        pytest.param(drip(ENDLESS + b"{", every=0.02), "200", id="slow-body"),
    ],
)
def test_the_deadline_covers_the_whole_answer(reply: Reply, code: str) -> None:
    met = visit(reply, timeout=0.15)

    assert met.verdict == (TryLater, "timeout")
    assert met.stats.requests == {code: 3}
    assert met.left_open == 0


def test_a_server_that_never_shakes_hands_is_a_timeout() -> None:
    async def go() -> Answer[Any] | ProviderError:
        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)

        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with connected(f"https://127.0.0.1:{port}", timeout=0.15) as (api, _):
            outcome = await attempt(api, "/x", None, dict)
        for writer in writers:
            writer.close()
        server.close()
        return outcome

    outcome = asyncio.run(go())
    assert isinstance(outcome, TryLater)
    assert outcome.reason == "timeout"


def test_a_cancelled_request_stays_cancelled() -> None:
    async def go() -> None:
        async with Server(stall()) as server, connected(server.root) as (api, _):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await api.get("/x", into=dict)
            assert api.stats.errors == {}

    asyncio.run(go())


def test_a_fault_leaves_the_client_usable() -> None:
    met = visit(reset(LONG), flood(ENDLESS, b" " * 1_000_000), OK, count=2)

    assert [type(outcome) for outcome in met.outcomes] == [Malformed, Answer]
    assert met.left_open == 0


# TLS


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    assert _public().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert _public().verify_mode is ssl.CERT_REQUIRED
    assert _public().check_hostname


def test_tls_1_2_has_only_suites_that_encrypt_and_authenticate_in_one() -> None:
    for context in (_public(), _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))):
        old = [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]

        assert "ECDHE-RSA-AES128-GCM-SHA256" in old
        assert "ECDHE-RSA-CHACHA20-POLY1305" in old
        assert [] == [name for name in old if "GCM" not in name and "CHACHA20" not in name]


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"])
def test_a_server_that_knows_only_cbc_is_not_spoken_to(tmp_path: Path, suite: str) -> None:
    tls = hostile.tls(tmp_path, hostile.good_certificate())
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers(suite)

    met = visit(OK, tls=tls, ca_file=str(tmp_path / "cert.pem"))

    assert isinstance(met.error, TryLater)
    assert met.requests == []


def test_a_ca_file_of_another_kind_is_refused_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**40)
    for ca_file in (tmp_path / "fifo", tmp_path / "huge", tmp_path, Path("/dev/zero")):
        met = visit(OK, ca_file=str(ca_file))

        assert met.verdict == (Refused, "tls")
        assert str(ca_file) in str(met.error)
        assert met.requests == []


def test_a_private_ca_is_trusted_by_ca_file(tmp_path: Path) -> None:
    tls = hostile.tls(tmp_path, hostile.good_certificate())

    assert visit(OK, tls=tls, ca_file=str(tmp_path / "cert.pem")).answer.body == {"a": 1}


@pytest.mark.parametrize(
    ("certificate", "trusted", "host", "said"),
    [
        (hostile.good_certificate, False, "localhost", "self-signed certificate"),
        (hostile.good_certificate, True, "127.0.0.1", "IP address mismatch"),
        (hostile.expired_certificate, True, "localhost", "certificate has expired"),
    ],
    ids=["self-signed", "wrong-host", "expired"],
)
def test_a_certificate_that_is_not_right_is_refused(
    tmp_path: Path, certificate: Callable[[], str], said: str, host: str, *, trusted: bool
) -> None:
    async def go() -> Answer[Any] | ProviderError:
        tls = hostile.tls(tmp_path, certificate())
        ca_file = str(tmp_path / "cert.pem") if trusted else None
        async with (
            Server(OK, tls=tls) as server,
            connected(f"https://{host}:{server.port}", ca_file=ca_file) as (api, _),
        ):
            outcome = await attempt(api, "/x", None, dict)
            assert server.requests == []
            return outcome

    error = asyncio.run(go())

    assert isinstance(error, Refused)
    assert error.reason == "tls"
    assert said in str(error)
    assert "ca_file" in str(error)


def test_a_server_that_does_not_speak_tls_is_told_as_such() -> None:
    async def go() -> Answer[Any] | ProviderError:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, connected(f"https://127.0.0.1:{port}") as (api, _):
            return await attempt(api, "/x", None, dict)

    error = asyncio.run(go())

    assert isinstance(error, TryLater)
    assert error.reason == "tls"
    assert "check the scheme of url" in str(error)


def test_a_ca_file_that_is_missing_or_broken_is_refused_and_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca_file in (tmp_path / "missing.pem", broken):
        met = visit(OK, ca_file=str(ca_file))

        assert met.verdict == (Refused, "tls")
        assert str(ca_file) in str(met.error)
        assert met.requests == []


def test_a_ca_that_is_rotated_is_trusted_from_the_next_request_on(tmp_path: Path) -> None:
    async def go() -> list[type]:
        tls = hostile.tls(tmp_path, hostile.good_certificate())
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(hostile.expired_certificate())
        async with (
            Server(OK, tls=tls) as server,
            connected(server.root, ca_file=str(bundle)) as (api, _),
        ):
            before = await attempt(api, "/x", None, dict)
            bundle.write_text(hostile.good_certificate())
            between = await attempt(api, "/x", None, dict)
            after = await attempt(api, "/x", None, dict)
            return [type(before), type(between), type(after)]

    assert asyncio.run(go()) == [Refused, Refused, Answer]
