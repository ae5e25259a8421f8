"""The web configuration: every fault at its place, and promtool's word on what is sound."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ConfigError
from exporter.web.config import HEADERS, HttpServer, RateLimit, WebConfig, WebSettings, load
from exporter.web.tls import CIPHERS, TLS13_CIPHERS, TlsServer
from tests.conftest import ROOT
from tests.system.web.certificates import Authority

DATA = Path(__file__).parent.parent / "data" / "web"
EXAMPLES = sorted((ROOT / "docs").glob("web-config*.yml"))
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: good.crt\n  key_file: good.key\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that configurations name."""
    folder = tmp_path_factory.mktemp("files")
    authority = Authority(folder)
    authority.sign("good")
    authority.sign("other")
    authority.sign("old", life=timedelta(days=-1))
    authority.sign("locked", phrase=b"open sesame")
    return folder


@pytest.fixture(autouse=True)
def folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(files)
    return files


def read(text: str) -> WebConfig:
    Path("web.yml").write_text(text)
    return load("web.yml")


def cases() -> list[Any]:
    """The blocks of faults.txt as parameters: the YAML and the faults."""
    found = []
    for block in (DATA / "faults.txt").read_text().split("\n=== ")[1:]:
        name, _, rest = block.partition("\n")
        lines, _, said = rest.partition("---\n")
        text = lines.replace("@tls\n", TLS).replace("@hash", HASH)
        found.append(pytest.param(text, said.strip().splitlines(), id=name))
    return found


# --- what is wrong ---


@pytest.mark.parametrize(("text", "said"), cases())
def test_every_fault_is_told_at_its_place(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)

    assert [f"web.yml:{line}" for line in said] == caught.value.faults
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        load("none.yml")

    assert caught.value.faults == ["none.yml:1:1: file: not found (check --web.config.file)"]


def test_a_pipe_is_not_waited_for(files: Path) -> None:
    os.mkfifo(files / "pipe")

    with pytest.raises(ConfigError, match="'pipe' is not a regular file"):
        read("tls_server_config: {cert_file: pipe, key_file: good.key}")


WORDS = st.sampled_from(
    [*TlsServer.model_fields, *RateLimit.model_fields, *HttpServer.model_fields, *HEADERS]
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["good.crt", "good.key", "ca.pem", ".", "RequireAndVerifyClientCert"])
    | st.sampled_from(["TLS12", "TLS13", "1s", "deny", HASH, *CIPHERS, *TLS13_CIPHERS])
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(WORDS | st.text(), inner), max_leaves=8
)


@given(st.dictionaries(st.sampled_from(WebSettings.__struct_fields__), VALUES, min_size=1))
def test_whatever_stands_there_is_taken_or_a_fault(content: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        read(json.dumps(content))


# --- what is sound ---

SOUND = {
    "": WebConfig(),
    "# nothing\n": WebConfig(),
    "{}": WebConfig(),
    "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\n": WebConfig(),
}


@pytest.mark.parametrize("text", SOUND)
def test_a_file_that_says_nothing_is_plain_http_for_everybody(text: str, promtool: Path) -> None:
    config = read(text)

    assert (None, {}, {}, ()) == (config.context, config.users, config.headers, config.warnings)
    assert checked(promtool)
    assert load(None).context is None
    assert load("").file is None


def checked(promtool: Path) -> bool:
    """Whether the real promtool takes web.yml too."""
    command = [str(promtool), "check", "web-config", "web.yml"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        f"basic_auth_users: {{alice: '{HASH}', 'bob smith': '{HASH}', '': '{HASH}'}}",
        f"basic_auth_users: {{a: '{HASH.replace('2y', '2a')}', b: '{HASH.replace('2y', '2b')}'}}",
        "http_server_config: {http2: no, headers: {X-Frame-Options: deny}}",
        "http_server_config: {headers: {Content-Security-Policy: ''}}",
        "http_server_config: {headers: {X-XSS-Protection: 0, X-Content-Type-Options: nosniff}}",
        TLS,
        f"{TLS}  min_version: TLS13\n  max_version: TLS13\n",
        f"{TLS}  cipher_suites: {json.dumps([*CIPHERS, *TLS13_CIPHERS])}\n",
        f"{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        f"{TLS}  prefer_server_cipher_suites: false\n",
        f"{TLS}  client_auth_type: NoClientCert\n",
        f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
        *(f"{TLS}  curve_preferences: [{c}]\n" for c in ("CurveP256", "CurveP521", "X25519")),
    ],
)
def test_what_is_sound_here_is_sound_for_promtool(text: str, promtool: Path) -> None:
    assert read(text).warnings == ()
    assert checked(promtool)


@pytest.mark.parametrize(
    "text",
    [
        (
            f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
            "  client_allowed_sans: [prometheus.example, 10.0.0.1]\n"
        ),
        "rate_limit: {interval: 1m30s, burst: 20}",
        "rate_limit: {interval: 0}",
    ],
)
def test_what_newer_promtools_know_is_sound(text: str) -> None:
    assert read(text).warnings == ()


def test_certificates_can_stand_in_the_file(files: Path) -> None:
    def inline(name: str) -> str:
        return json.dumps((files / name).read_text())

    config = read(
        f"tls_server_config: {{cert: {inline('good.crt')}, key: {inline('good.key')},"
        f" client_auth_type: RequireAndVerifyClientCert, client_ca: {inline('ca.pem')}}}"
    )

    assert config.context is not None
    assert config.context.verify_mode is ssl.CERT_REQUIRED
    assert [{"ca": 1}] == [{"ca": len(config.context.get_ca_certs())}]


def test_relative_paths_start_at_the_folder_of_the_file(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(TLS)
    monkeypatch.chdir(tmp_path)

    assert load(f"{files}/web.yml").context is not None


def test_what_is_doubtful_is_a_warning() -> None:
    slow = HASH.replace("$10$", "$15$")
    config = read(
        "tls_server_config: {cert_file: old.crt, key_file: old.key}\n"
        "http_server_config: {http2: true}\n"
        f"basic_auth_users: {{alice: '{slow}', 'a:b': '{HASH}'}}\n"
    )

    first, *rest = config.warnings
    assert first.startswith("web.yml:1:32: tls_server_config.cert_file: the certificate has exp")
    assert rest == [
        "web.yml:2:29: http_server_config.http2: HTTP/2 is not served (HTTP/1.1 is)",
        (
            "web.yml:3:27: basic_auth_users.alice: has the cost 15, so that a check takes seconds"
            " (use 10)"
        ),
        (
            "web.yml:3:98: basic_auth_users.'a:b': nobody can log in by this name (a `:` ends the"
            " name)"
        ),
    ]


def test_without_a_list_only_suites_that_encrypt_and_authenticate_in_one_are_offered() -> None:
    config = read(TLS)

    assert config.context is not None
    old = [c["name"] for c in config.context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in old
    assert [] == [name for name in old if "GCM" not in name and "CHACHA20" not in name]


def test_suites_and_versions_are_what_openssl_gets() -> None:
    config = read(
        f"{TLS}  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
        "  prefer_server_cipher_suites: false\n"
    )
    alone = read(f"{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n").context

    assert config.context is not None
    assert alone is not None
    old = [c["name"] for c in config.context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert old == ["ECDHE-ECDSA-AES256-GCM-SHA384"]
    assert not config.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert config.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert alone.minimum_version is ssl.TLSVersion.TLSv1_3


# --- the examples ---


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.name))
def test_promtool_and_we_take_the_examples(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promtool: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    authority = Authority(tmp_path, "client-ca")
    authority.sign("cicd-exporter")
    shutil.copy(example, "web.yml")

    assert load("web.yml").warnings == ()
    assert checked(promtool)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2
