"""--web.config.file of a real process, with a real Prometheus as its client."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import bcrypt
import httpx
import pytest

from exporter import cli
from tests.system.web.certificates import Authority, Pair
from tests.tools.monitoring import served
from tests.tools.system import TOKEN_ENV, Exporter, account, configure, eventually, get

PASSWORD = "open sesame"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
MUTUAL = """\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
basic_auth_users:
  prometheus: {hash}
"""


class Stage(NamedTuple):
    """An exporter that nobody gets at without a certificate and a password."""

    folder: Path
    authority: Authority
    client: Pair
    stranger: Pair
    exporter: Exporter

    @property
    def address(self) -> str:
        return self.exporter.url.removeprefix("http://")

    def get(self, path: str, *, method: str = "GET", password: str = PASSWORD) -> httpx.Response:
        """One request on a connection of its own."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(self.client.cert, self.client.key)
        with httpx.Client(verify=context, trust_env=False, timeout=10.0) as client:
            url = f"https://{self.address}{path}"
            return client.request(method, url, auth=("prometheus", password))

    def value(self, name: str) -> float:
        """Of a series without labels."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        assert found is not None
        return float(found[1])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    authority = Authority(folder)
    authority.sign("server")
    client = authority.sign("prometheus")
    stranger = Authority(folder / "foreign", "foreign").sign("stranger")
    web = folder / "web.yml"
    web.write_text(MUTUAL.format(hash=HASH))
    nowhere = account("acme", "github", "http://127.0.0.1:9", ["acme/shop"])
    file = configure(folder, [nowhere], state={"url": "memory:"})
    exporter = Exporter(file, f"--web.config.file={web}", "--web.enable-lifecycle")
    with exporter:
        yield Stage(folder, authority, client, stranger, exporter)


def test_a_real_prometheus_needs_all_of_it(stage: Stage, prometheus: Path) -> None:
    def job(name: str, pair: Pair | None, password: str | None) -> dict[str, object]:
        keys = {"cert_file": str(pair.cert), "key_file": str(pair.key)} if pair else {}
        auth = {"basic_auth": {"username": "prometheus", "password": password}}
        return {
            "job_name": name,
            "scheme": "https",
            "tls_config": {"ca_file": str(stage.authority.file), **keys},
            "static_configs": [{"targets": [stage.address]}],
            **(auth if password else {}),
        }

    jobs = [
        job("all", stage.client, PASSWORD),
        job("wrong password", stage.client, "wrong"),
        job("no password", stage.client, None),
        job("no certificate", None, PASSWORD),
        job("foreign certificate", stage.stranger, PASSWORD),
    ]

    def assert_up() -> None:
        try:
            answer = get(url, "/api/v1/targets?state=active")
        except OSError as error:
            raise AssertionError(str(error)) from error
        assert answer.status == 200, answer.body
        targets = json.loads(answer.body)["data"]["activeTargets"]
        told = {target["labels"]["job"]: target for target in targets}
        assert {name: target["health"] for name, target in told.items()} == {
            "all": "up",
            "wrong password": "down",
            "no password": "down",
            "no certificate": "down",
            "foreign certificate": "down",
        }
        for name in ("wrong password", "no password"):
            assert "HTTP status 401" in told[name]["lastError"]
        for name in ("no certificate", "foreign certificate"):
            assert "HTTP status 401" not in told[name]["lastError"]

    scraping = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    with served(prometheus, stage.folder, **scraping) as url:
        eventually(assert_up)
        answer = get(url, "/api/v1/query?query=up")
        result = json.loads(answer.body)["data"]["result"]
        ups = {row["metric"]["job"]: row["value"][1] for row in result}
        assert ups == {str(job["job_name"]): str(int(job is jobs[0])) for job in jobs}
        for why in ("peer did not return a certificate", "certificate verify failed"):
            stage.exporter.logged(f'"a client\'s TLS handshake failed: {why}"')
            assert stage.exporter.log.count(why) == 1


def test_the_log_says_what_is_in_force_and_no_secret(stage: Stage) -> None:
    line = stage.exporter.logged("msg=serving")

    assert "tls=True auth=True" in line
    assert HASH not in stage.exporter.log


def test_a_renewed_certificate_is_served_by_itself(stage: Stage) -> None:
    context = ssl.create_default_context(cafile=str(stage.authority.file))
    context.load_cert_chain(stage.client.cert, stage.client.key)

    def shown() -> str:
        host, port = stage.address.split(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    def assert_shown(pair: Pair) -> None:
        assert int(shown(), 16) == pair.serial

    new = stage.authority.sign("server")
    eventually(lambda: assert_shown(new))

    (stage.folder / "server.key").write_text("broken")
    stage.exporter.logged("the old certificate stays")
    assert_shown(new)

    def assert_ok(*, is_ok: bool) -> None:
        assert stage.value("cicd_exporter_config_last_reload_successful") == is_ok
        error = stage.get("/status.json").json()["reload"]["error"]
        assert (error is None) == is_ok
        assert is_ok or "tls_server_config.key_file: holds no private key in PEM form" in error

    eventually(lambda: assert_ok(is_ok=False))
    newer = stage.authority.sign("server")
    eventually(lambda: assert_shown(newer))
    eventually(lambda: assert_ok(is_ok=True))


def test_a_reload_takes_users_and_a_fault_changes_nothing(stage: Stage) -> None:
    web = stage.folder / "web.yml"
    sound = web.read_text()
    try:
        for text, said in (
            ("basic_auth_user: {}", "1:1: basic_auth_user: unknown key (did you mean"),
            ("", "1:1: file: is empty and was not (write {} to serve everybody without TLS)"),
        ):
            web.write_text(text)
            answer = stage.get("/-/reload", method="POST")
            assert (answer.status_code, said in answer.text) == (400, True), answer.text
        assert stage.get("/", password="wrong").status_code == 401

        other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
        web.write_text(sound.replace(HASH, other))
        stage.exporter.process.send_signal(signal.SIGHUP)
        stage.exporter.logged("~--web.config.file user prometheus")
        assert stage.get("/").status_code == 401
        assert stage.get("/", password="other").status_code == 200
        web.write_text(sound)
        answer = stage.get("/-/reload", method="POST", password="other")
        assert answer.text == "~--web.config.file user prometheus\n"
    finally:
        web.write_text(sound)
    assert stage.get("/-/reload", method="POST").text == "nothing has changed\n"


def test_a_fault_ends_the_start(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    monkeypatch.setattr("exporter.logs.configure", lambda **_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    bad = stage.folder / "bad.yml"
    bad.write_text("tls_server_config: {cert_file: server.crt}\n")
    said = f"{bad}:1:20: tls_server_config.key_file: required key is missing"
    flags = [f"--config.file={stage.folder}/config.yaml", f"--web.config.file={bad}"]

    for command in (["run", *flags], ["check-config", *flags], ["demo", flags[1]]):
        assert cli.main(command) == 2
        assert capsys.readouterr().err.partition(" (")[0] == said
