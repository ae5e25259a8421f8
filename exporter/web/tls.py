"""TLS by the names of the web configuration, which are Go's, as far as Python's ssl goes.

The names are those of https://pkg.go.dev/crypto/tls; what a name means and Python cannot do
is refused, never left out.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn

from cryptography import x509

from exporter import files
from exporter.config.schema import Section
from exporter.messages import guess, unknown_word
from exporter.redaction import shown
from exporter.web.go_yaml import Flag, Texts

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    # Go counts these four among the insecure ones since 1.22; older exporters take them.
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
"""OpenSSL's name of each suite up to TLS 1.2: https://docs.openssl.org/3.0/man1/openssl-ciphers/"""

DEFAULT_CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
"""Up to TLS 1.2, where `cipher_suites` names none: authenticated encryption alone."""

TLS13_CIPHERS = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
"""Allowed in the list and without effect, as in Go: TLS 1.3 has all three."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""OpenSSL's names."""

_VERIFIED = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = "Python cannot ask for a client certificate and not verify it"


class TlsServer(Section):
    """`tls_server_config`."""

    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    client_auth_type: Literal[
        "NoClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "RequireClientCert",
    ] = "NoClientCert"
    client_allowed_sans: Texts = ()
    min_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS13"
    cipher_suites: Texts = ()
    prefer_server_cipher_suites: Flag = True
    curve_preferences: Texts = ()


class TlsFault(Exception):
    """The value of `key`, or its item number `item`, cannot be served."""

    def __init__(self, key: str, what: str, item: int | None = None) -> None:
        super().__init__(what)
        self.path: tuple[str | int, ...] = (key,) if item is None else (key, item)
        self.what = what


def faults(given: TlsServer) -> Iterator[TlsFault]:
    """All that is wrong with the keys alone; the files are not looked at."""
    for part in ("cert", "key"):
        inline, file = getattr(given, part), getattr(given, f"{part}_file")
        if not inline and not file:
            yield TlsFault(f"{part}_file", "required key is missing (or remove tls_server_config)")
    for part in ("cert", "key", "client_ca"):
        if getattr(given, part) is not None and getattr(given, f"{part}_file") is not None:
            yield TlsFault(part, f"cannot stand beside {part}_file (remove one)")
    yield from _client_faults(given)
    yield from _version_faults(given)
    yield from _cipher_faults(given)
    yield from _curve_faults(given)


def _client_faults(given: TlsServer) -> Iterator[TlsFault]:
    policy, key = given.client_auth_type, "client_auth_type"
    ca = given.client_ca_file or given.client_ca
    if policy == "RequestClientCert":
        yield TlsFault(key, f"{_UNVERIFIED} (use VerifyClientCertIfGiven or NoClientCert)")
    elif policy not in _VERIFIED:
        yield TlsFault(key, f"{_UNVERIFIED} (use RequireAndVerifyClientCert)")
    elif policy == "NoClientCert" and ca:
        yield TlsFault(
            "client_ca_file" if given.client_ca_file else "client_ca",
            "has no effect without client_auth_type (add RequireAndVerifyClientCert)",
        )
    elif policy != "NoClientCert" and not ca:
        yield TlsFault(key, f"{policy} needs client_ca_file (who signs the clients' certificates)")
    if given.client_allowed_sans and policy in ("NoClientCert", "VerifyClientCertIfGiven"):
        yield TlsFault("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")


def _version_faults(given: TlsServer) -> Iterator[TlsFault]:
    for key in ("min_version", "max_version"):
        if getattr(given, key) not in VERSIONS:
            yield TlsFault(key, "TLS 1.0 and 1.1 are not served (use TLS12 or TLS13)")
    if given.min_version > given.max_version:
        yield TlsFault("max_version", f"must not be below min_version, {given.min_version}")


def _cipher_faults(given: TlsServer) -> Iterator[TlsFault]:
    key = "cipher_suites"
    for i, name in enumerate(given.cipher_suites):
        if name not in CIPHERS and name not in TLS13_CIPHERS:
            yield TlsFault(key, f"unknown cipher suite ({_cipher_hint(name)})", i)
        elif name in CIPHERS and not _has_cipher(CIPHERS[name]):
            yield TlsFault(key, f"{ssl.OPENSSL_VERSION} on this machine does not offer it", i)
    only_13 = given.cipher_suites and TLS13_CIPHERS.issuperset(given.cipher_suites)
    if only_13 and given.max_version != "TLS13":
        yield TlsFault(key, f"has no suite for max_version {given.max_version}")


def _cipher_hint(name: str) -> str:
    for ours, theirs in CIPHERS.items():
        if name == theirs:
            return f"write {ours}"
    near = guess(name.lower(), {known.lower(): known for known in (*CIPHERS, *TLS13_CIPHERS)})
    return f"did you mean {near.upper()}?" if near else "docs/WEB.md lists them"


def _has_cipher(name: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(name)
    except ssl.SSLError:
        return False
    return True


def _curve_faults(given: TlsServer) -> Iterator[TlsFault]:
    key = "curve_preferences"
    for i, name in enumerate(given.curve_preferences):
        if name not in CURVES:
            yield TlsFault(key, unknown_word(name, CURVES), i)
    if len(given.curve_preferences) > 1:
        yield TlsFault(key, "Python can be told of one curve only (leave one, or remove the key)")


# -- what is made of it


def context(given: TlsServer, folder: str) -> ssl.SSLContext:
    """The context that new connections get; relative paths start at `folder`.

    Reads the files. Raises TlsFault if they cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = VERSIONS[given.min_version]
    made.maximum_version = VERSIONS[given.max_version]
    ciphers = [CIPHERS[name] for name in given.cipher_suites if name in CIPHERS]
    if given.cipher_suites and not ciphers:  # those of TLS 1.3 alone
        made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_ciphers(":".join(ciphers) or DEFAULT_CIPHERS)
    if not given.prefer_server_cipher_suites:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for name in given.curve_preferences:
        made.set_ecdh_curve(CURVES[name])
    # Each connection shows its certificate anew, and nobody may repeat handshakes in one.
    made.num_tickets = 0
    made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    made.set_alpn_protocols(["http/1.1"])
    _load_chain(made, given, folder)
    _load_authority(made, given, folder)
    made.verify_mode = _VERIFIED[given.client_auth_type]
    return made


def named(given: TlsServer, folder: str) -> list[Path]:
    """The files that `context` reads."""
    names = (given.cert_file, given.key_file, given.client_ca_file)
    return [Path(folder, name) for name in names if name]


def expired(given: TlsServer, folder: str, now: datetime | None = None) -> str | None:
    """What is to be said of a certificate whose time is over; `context` can read it."""
    end = x509.load_pem_x509_certificates(_pem(given, "cert", folder))[0].not_valid_after_utc
    if end > (now or datetime.now(UTC)):
        return None
    return f"the certificate has expired on {end:%Y-%m-%d} (clients refuse it: renew it)"


def _load_chain(made: ssl.SSLContext, given: TlsServer, folder: str) -> None:
    with (
        _path(given, "cert", folder) as cert,
        _path(given, "key", folder) as key,
    ):
        try:
            made.load_cert_chain(cert, key, password=_refuse_password)
        except _PassPhraseError:
            raise TlsFault(
                _key(given, "key"), "is protected by a pass phrase (remove it)"
            ) from None
        except ssl.SSLError:
            raise _chain_fault(given, cert, key) from None


def _chain_fault(given: TlsServer, cert: str, key: str) -> TlsFault:
    """Which of the two is at fault: OpenSSL does not say."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except (ssl.SSLError, OSError):
        return TlsFault(_key(given, "cert"), "holds no certificate in PEM form")
    if b" PRIVATE KEY" not in Path(key).read_bytes():
        return TlsFault(_key(given, "key"), "holds no private key in PEM form")
    return TlsFault(_key(given, "key"), "does not fit the certificate")


class _PassPhraseError(Exception):
    pass


def _refuse_password() -> NoReturn:
    """OpenSSL would ask at the terminal."""
    raise _PassPhraseError


def _load_authority(made: ssl.SSLContext, given: TlsServer, folder: str) -> None:
    if not given.client_ca and not given.client_ca_file:
        return
    with _path(given, "client_ca", folder) as file:
        try:
            made.load_verify_locations(file)
        except ssl.SSLError:
            what = "holds no certificates in PEM form"
            raise TlsFault(_key(given, "client_ca"), what) from None


def _key(given: TlsServer, part: str) -> str:
    """The key that `part` is given by."""
    return part if getattr(given, part) else f"{part}_file"


@contextmanager
def _path(given: TlsServer, part: str, folder: str) -> Iterator[str]:
    """A file with `part` in it, for OpenSSL. Raises TlsFault."""
    with files.in_memory(_pem(given, part, folder)) as file:
        yield file


def _pem(given: TlsServer, part: str, folder: str) -> bytes:
    """What `part` holds, given itself or by the name of a file. Raises TlsFault."""
    inline = getattr(given, part)
    if inline:
        return str(inline).encode()
    name = getattr(given, f"{part}_file")
    try:
        return files.content(Path(folder, name), most=files.LARGE)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TlsFault(f"{part}_file", f"file {shown(name)} {files.why(error)}") from None


# -- who the client is


def names(certificate: dict[str, Any] | None) -> set[str]:
    """The Subject Alternative Names of a client's certificate, as `getpeercert` gives it."""
    alternative_names = (certificate or {}).get("subjectAltName", ())
    return {normal(value) for kind, value in alternative_names if kind in _KINDS}


_KINDS = frozenset({"DNS", "email", "URI", "IP Address"})


def allowed(wanted: Iterable[str]) -> frozenset[str]:
    """`client_allowed_sans` in the form that `names` has."""
    return frozenset(map(normal, wanted))


def normal(name: str) -> str:
    """A name as it is; an address in its shortest form, as OpenSSL writes out all of it."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
