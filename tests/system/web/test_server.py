"""Connections on real sockets: TLS in all its ways, and clients that say nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import bcrypt
import httpx
import pytest
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from exporter.web.access import Access
from exporter.web.config import load
from exporter.web.guard import Guard
from exporter.web.server import ClientLimits, Server
from tests.system.web.certificates import Authority, Pair
from tests.tools.reloading import eventually

HASH = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
GOOD = ("alice", "open sesame")
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
BRIEF = ClientLimits(handshake=0.3, head=0.3, idle=1.0, answer=1.0, sweep=0.05)


class Town(NamedTuple):
    """An authority, its server's certificate and those of two clients."""

    folder: Path
    authority: Authority
    server: Pair
    client: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Town:
    folder = tmp_path_factory.mktemp("town")
    authority = Authority(folder)
    foreign = Authority(folder / "foreign", "foreign")
    client = authority.sign(
        "prometheus", x509.UniformResourceIdentifier("spiffe://town/prometheus")
    )
    return Town(folder, authority, authority.sign("server"), client, foreign.sign("prometheus"))


@pytest.fixture
def town(made: Town) -> Iterator[Town]:
    before = {path: path.read_bytes() for path in made.server[:2]}
    yield made
    for path, content in before.items():
        path.write_bytes(content)


async def _page(request: Request) -> Response:
    return PlainTextResponse("hello", headers={"X-Frame-Options": "DENY"})


async def _long(request: Request) -> Response:
    return StreamingResponse(b"x" * 100_000 for _ in range(1000))


class Site(NamedTuple):
    """A server that runs, and its clients."""

    access: Access
    server: Server
    port: int
    town: Town

    @property
    def url(self) -> str:
        return f"http{'' if self.access.context is None else 's'}://127.0.0.1:{self.port}"

    def tls(self, pair: Pair | None = None) -> ssl.SSLContext:
        """What a client needs: the authority, and a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.town.authority.file))
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    async def get(
        self,
        path: str = "/",
        *,
        verify: ssl.SSLContext | None = None,
        auth: tuple[str, str] | None = None,
        method: str = "GET",
    ) -> httpx.Response:
        """One request on a connection of its own."""
        verify = verify or self.tls()
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=5.0) as client:
            return await client.request(method, f"{self.url}{path}", auth=auth)

    async def serial(self) -> int:
        """Of the certificate that a new connection is shown."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls())
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def silent(self, number: int) -> list[socket.socket]:
        """Connections that say nothing."""
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(number):
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", self.port))
            clients.append(client)
        return clients


@contextlib.asynccontextmanager
async def site(town: Town, text: str, patience: ClientLimits | None = None) -> AsyncIterator[Site]:
    (town.folder / "web.yml").write_text(text)
    access = Access(load(str(town.folder / "web.yml")))
    paths = ("/", "/-/healthy", "/-/ready")
    app = Starlette(
        routes=[
            *(Route(path, _page) for path in paths),
            Route("/long", _long),
            Route("/-/reload", _page, methods=["POST"]),
        ]
    )
    server = Server(Guard(app, access), access, drain=2.0, patience=patience)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Site(access, server, listener.getsockname()[1], town)
        finally:
            server.should_exit = True
            await task


def run(
    town: Town,
    text: str,
    work: Callable[[Site], Awaitable[None]],
    patience: ClientLimits | None = None,
) -> None:
    """Do `work` while a site is served by a web configuration."""

    async def main() -> None:
        async with site(town, text, patience) as served:
            await work(served)

    asyncio.run(main())


# --- who is let in ---


def test_without_a_configuration_everybody_is_served_plainly(town: Town) -> None:
    async def work(site: Site) -> None:
        answer = await site.get()
        assert (answer.status_code, answer.text) == (200, "hello")
        assert answer.headers["X-Frame-Options"] == "DENY"

    run(town, "", work)


def test_a_password_is_asked_for_everything_but_the_probes(town: Town) -> None:
    async def work(site: Site) -> None:
        for method, path in (("GET", "/"), ("GET", "/none"), ("POST", "/-/reload")):
            for auth in (None, ("alice", "wrong"), ("bob", "open sesame")):
                answer = await site.get(path, auth=auth, method=method)
                assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
                assert answer.headers["WWW-Authenticate"] == "Basic"
            assert (await site.get(path, auth=GOOD, method=method)).status_code in (200, 404)
        for path in ("/-/healthy", "/-/ready"):
            assert (await site.get(path)).status_code == 200
            assert (await site.get(path, method="POST")).status_code == 401
        assert (await site.get("/-/healthy/../reload", method="POST")).status_code == 401

    run(town, f"basic_auth_users: {{alice: '{HASH}'}}", work)


def test_two_passwords_at_once_are_none(town: Town) -> None:
    async def work(site: Site) -> None:
        good = b"Basic " + base64.b64encode(b":".join(part.encode() for part in GOOD))
        headers = [(b"Authorization", good)] * 2
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(site.url, headers=headers[:1])).status_code == 200
            assert (await client.get(site.url, headers=headers)).status_code == 401

    run(town, f"basic_auth_users: {{alice: '{HASH}'}}", work)


def test_the_headers_are_on_every_answer_and_win_over_the_pages(town: Town) -> None:
    async def work(site: Site) -> None:
        for path, status, auth in (
            ("/", 401, None),
            ("/", 200, GOOD),
            ("/none", 404, GOOD),
            ("/-/ready", 200, None),
        ):
            answer = await site.get(path, auth=auth)
            assert answer.status_code == status
            assert answer.headers.get_list("X-Frame-Options") == ["sameorigin"]
            assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
            assert "X-XSS-Protection" not in answer.headers

    run(
        town,
        f"basic_auth_users: {{alice: '{HASH}'}}\n"
        "http_server_config: {headers: {X-Frame-Options: sameorigin, X-XSS-Protection: '',"
        " Content-Security-Policy: \"default-src 'self'\"}}",
        work,
    )


def test_the_rate_limit_spares_the_probes(town: Town) -> None:
    async def work(site: Site) -> None:
        told = [(await site.get()).status_code for _ in range(4)]
        assert told == [200, 200, 429, 429]
        assert (await site.get("/-/healthy")).status_code == 200

    run(town, "rate_limit: {interval: 1h, burst: 2}", work)


def test_a_client_shows_a_certificate_that_our_authority_has_signed(town: Town) -> None:
    async def work(site: Site) -> None:
        assert (await site.get(verify=site.tls(town.client))).status_code == 200
        for pair in (None, town.stranger):
            with pytest.raises(httpx.TransportError):
                await site.get(verify=site.tls(pair))

    run(town, MUTUAL, work)


def test_a_certificate_that_may_be_missing_may_not_be_wrong(town: Town) -> None:
    async def work(site: Site) -> None:
        for pair in (None, town.client):
            assert (await site.get(verify=site.tls(pair))).status_code == 200
        with pytest.raises(httpx.TransportError):
            await site.get(verify=site.tls(town.stranger))

    run(town, MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), work)


@pytest.mark.parametrize(
    ("names", "is_let_in"),
    [
        ("[prometheus]", True),
        ("[nobody, spiffe://town/prometheus]", True),
        ("[127.0.0.1]", True),
        ("[Prometheus, prom, '*', 127.0.0.2]", False),
    ],
)
def test_a_clients_certificate_has_an_allowed_name(town: Town, names: str, is_let_in: bool) -> None:
    async def work(site: Site) -> None:
        if is_let_in:
            assert (await site.get(verify=site.tls(town.client))).status_code == 200
        else:
            with pytest.raises(httpx.TransportError):
                await site.get(verify=site.tls(town.client))

    run(town, f"{MUTUAL}  client_allowed_sans: {names}\n", work)


def test_versions_and_suites_are_those_of_the_configuration(town: Town) -> None:
    async def work(site: Site) -> None:
        new, old = site.tls(), site.tls()
        new.minimum_version = ssl.TLSVersion.TLSv1_3
        old.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        for context in (new, old):
            with pytest.raises(httpx.TransportError):
                await site.get(verify=context)
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.tls())
        assert writer.get_extra_info("cipher")[:2] == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2")
        writer.close()

    suites = "[TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]"
    run(town, f"{TLS}  max_version: TLS12\n  cipher_suites: {suites}\n", work)


def test_who_speaks_plainly_to_tls_is_not_answered(town: Town) -> None:
    async def work(site: Site) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(site.url.replace("https", "http"))

    run(town, TLS, work)


# --- what changes while it runs ---


def test_a_new_certificate_is_for_new_connections_and_a_broken_one_for_none(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(site: Site) -> None:
        async def look(times: int) -> None:
            for _ in range(times):
                await site.access.look()

        old = town.server.serial
        assert await site.serial() == old
        town.server.cert.write_text("half of a cert")
        await look(1)
        assert site.access.fault is None  # it may be half written
        await look(5)
        assert await site.serial() == old
        assert site.access.fault is not None
        assert site.access.fault.endswith(
            "web.yml:2:14: tls_server_config.cert_file: holds no certificate in PEM form"
        )
        assert sum("old certificate stays" in text for text in caplog.messages) == 1
        new = town.authority.sign("server").serial
        await look(2)
        assert await site.serial() == new
        assert site.access.fault is None
        town.server.key.unlink()
        await look(2)
        assert site.access.fault is not None
        assert "no such file" in site.access.fault
        assert await site.serial() == new

    run(town, TLS, work)


def test_a_reload_changes_users_headers_and_certificates(town: Town) -> None:
    async def work(site: Site) -> None:
        async with httpx.AsyncClient(verify=site.tls(), trust_env=False) as kept:
            assert (await kept.get(site.url)).status_code == 200
            new = town.authority.sign("server").serial
            (town.folder / "web.yml").write_text(
                f"{TLS}basic_auth_users: {{alice: '{HASH}', bob: '{HASH}'}}\n"
                "http_server_config: {headers: {X-Frame-Options: deny}}\nrate_limit: {interval: 1h,"
                " burst: 1}"
            )
            applied = site.access.apply(site.access.read_again())
            flag = "--web.config.file"
            assert applied.changes == [
                f"+{flag} user alice",
                f"+{flag} user bob",
                f"~{flag} http_server_config",
                f"~{flag} rate_limit",
            ]
            assert await site.serial() == new
            answer = await kept.get(site.url)
            assert (answer.status_code, answer.headers["X-Frame-Options"]) == (401, "deny")
            assert (await kept.get(site.url)).status_code == 429
        assert site.access.apply(site.access.read_again()) == ([], [])

    run(town, TLS, work)


def test_who_is_connected_when_tls_changes_connects_anew(town: Town) -> None:
    async def work(site: Site) -> None:
        streams = [
            await asyncio.open_connection("127.0.0.1", site.port, ssl=site.tls(town.client))
            for _ in range(2)
        ]
        (reader, writer), (_, other) = streams
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"hello")).endswith(b"hello")
        assert site.access.apply(site.access.read_again()).changes == []
        assert not reader.at_eof()
        (town.folder / "web.yml").write_text(f"{MUTUAL}  client_allowed_sans: [somebody]\n")
        changes = site.access.apply(site.access.read_again()).changes
        assert changes == ["~--web.config.file tls_server_config"]
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        for each in (writer, other):
            each.close()

    run(town, MUTUAL, work)


def test_a_reload_keeps_tls_until_a_restart(town: Town) -> None:
    async def work(site: Site) -> None:
        text = f"basic_auth_users: {{alice: '{HASH}'}}"
        (town.folder / "web.yml").write_text(text)
        applied = site.access.apply(site.access.read_again())
        assert applied.changes == ["+--web.config.file user alice"]
        assert applied.postponed == ["~--web.config.file tls_server_config removed"]
        assert site.url.startswith("https:")
        assert (await site.get()).status_code == 401

    run(town, TLS, work)


# --- clients that are a burden ---


def test_a_silent_tls_client_holds_up_nobody_and_is_hung_up_on(town: Town) -> None:
    async def work(site: Site) -> None:
        (silent,) = await site.silent(1)
        assert (await site.get()).status_code == 200
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            assert await loop.sock_recv(silent, 1) == b""
        silent.close()

    run(town, TLS, work, BRIEF)


@pytest.mark.parametrize("text", ["", TLS], ids=["plain", "TLS"])
def test_500_idle_connections_do_not_stall_a_scrape(town: Town, text: str) -> None:
    async def work(site: Site) -> None:
        idle = await site.silent(500)
        async with asyncio.timeout(2):
            assert (await site.get()).status_code == 200
        for client in idle:
            client.close()

    run(town, text, work)


@pytest.mark.parametrize("text", ["", TLS], ids=["plain", "TLS"])
def test_where_there_is_no_room_the_longest_silence_ends(town: Town, text: str) -> None:
    async def work(site: Site) -> None:
        first, *rest = await site.silent(20)
        for _ in range(3):
            assert (await site.get()).status_code == 200
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(first, 1) == b""
        for client in (first, *rest):
            client.close()

    run(town, text, work, ClientLimits(connections=10))


def test_silent_handshakes_push_out_each_other_and_not_who_is_connected(town: Town) -> None:
    async def work(site: Site) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.tls())
        silent = await site.silent(50)
        assert (await site.get()).status_code == 200
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.close()
        for client in silent:
            client.close()

    run(town, TLS, work, ClientLimits(connections=10))


def test_slow_readers_do_not_fill_the_house(town: Town) -> None:
    async def work(site: Site) -> None:
        deaf = await site.silent(30)
        loop = asyncio.get_running_loop()
        for client in deaf:
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(client, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await site.get()).status_code == 200
        assert len(site.server.server_state.connections) <= 10
        for client in deaf:
            client.close()

    run(town, "", work, ClientLimits(connections=10))


def test_a_head_that_comes_in_drops_is_not_waited_for(town: Town) -> None:
    async def work(site: Site) -> None:
        dripping = await site.silent(5)
        loop = asyncio.get_running_loop()
        for client in dripping:
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            async with asyncio.timeout(5):
                while True:
                    await loop.sock_sendall(dripping[0], b"X: y\r\n")
                    await asyncio.sleep(0.02)
        await eventually(lambda: assert_connections(site, 0))
        for client in dripping:
            client.close()

    run(town, "", work, BRIEF)


def test_an_answer_that_nobody_reads_is_dropped(town: Town) -> None:
    async def work(site: Site) -> None:
        (deaf,) = await site.silent(1)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(deaf, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: assert_connections(site, 1))
        await eventually(lambda: assert_connections(site, 0))
        await eventually(lambda: assert_at_rest(site))
        deaf.close()

    run(town, "", work, BRIEF)


def assert_at_rest(site: Site) -> None:
    assert not site.server.server_state.tasks


def assert_connections(site: Site, number: int) -> None:
    assert len(site.server.server_state.connections) == number


def test_a_stop_does_not_wait_for_the_silent(town: Town) -> None:
    async def main() -> None:
        begun = asyncio.get_running_loop().time()
        async with site(town, TLS) as served:
            silent = await served.silent(10)
            assert (await served.get()).status_code == 200
        assert asyncio.get_running_loop().time() - begun < 3
        for client in silent:
            client.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


# --- fairness ---

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def asking(site: Site) -> socket.socket:
    """A client that has asked before the server had a turn."""
    client = socket.create_connection(("127.0.0.1", site.port))
    client.sendall(ASKED)
    client.setblocking(False)
    return client


async def answered(clients: list[socket.socket]) -> list[bytes]:
    """The first word of each answer; nothing for a connection that was reset."""
    loop = asyncio.get_running_loop()

    async def read(client: socket.socket) -> bytes:
        with contextlib.suppress(ConnectionError):
            return await loop.sock_recv(client, 12)
        return b""

    return list(await asyncio.gather(*map(read, clients)))


def test_as_many_short_lived_clients_as_there_is_room_for_are_all_answered(town: Town) -> None:
    """Those that have gone take nobody's room, also where nobody has looked yet."""

    def visit(site: Site, times: int) -> list[bytes]:
        found = []
        for _ in range(times):
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", site.port), timeout=10) as client,
            ):
                client.sendall(ASKED)
                found.append(client.recv(12))
        return found

    async def work(site: Site) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(12) as pool:
            clients = [loop.run_in_executor(pool, visit, site, 50) for _ in range(12)]
            assert [[b"HTTP/1.1 200"] * 50] * 12 == await asyncio.gather(*clients)

    run(town, "", work, ClientLimits(connections=12))


def test_silent_clients_make_room_for_those_that_speak(town: Town) -> None:
    async def work(site: Site) -> None:
        for _ in range(5):
            silent = await site.silent(64)
            clients = [asking(site) for _ in range(15)]
            assert [b"HTTP/1.1 200"] * 15 == await answered(clients)
            for client in (*silent, *clients):
                client.close()

    run(town, "", work, ClientLimits(connections=16))


# --- what a browser is told ---


def test_no_answer_is_without_the_headers_that_protect_a_browser(town: Town) -> None:
    async def work(site: Site) -> None:
        answers = [
            await site.get(path, auth=auth, method=method)
            for method, path, auth in (
                ("GET", "/", None),
                ("GET", "/", GOOD),
                ("GET", "/none", GOOD),
                ("DELETE", "/", GOOD),
                ("GET", "/-/ready", None),
                ("GET", "/", GOOD),
            )
        ]
        assert [401, 200, 404, 405, 200, 429] == [answer.status_code for answer in answers]
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"no HTTP\r\n\r\n")
        heads = [str(answer.headers).lower() for answer in answers]
        heads.append((await reader.read()).decode().lower())
        writer.close()
        assert heads[-1].startswith("http/1.1 400")
        for head in heads:
            assert "nosniff" in head
            assert "content-security-policy" in head
            assert "x-frame-options" in head
            assert "uvicorn" not in head
            assert "\nserver:" not in head

    users = f"basic_auth_users: {{alice: '{HASH}'}}"
    run(town, f"{users}\nrate_limit: {{interval: 1h, burst: 4}}", work)
