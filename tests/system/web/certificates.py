"""Certificates of an authority that exists for one test only."""

from __future__ import annotations

import ipaddress
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path
    serial: int


class Authority:
    """Signs certificates for 127.0.0.1 and writes them to a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._serials = itertools.count(1)
        made = (
            self._certificate(self._name, self._key.public_key(), DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.public_bytes(_PEM))

    def sign(
        self,
        name: str,
        *more: x509.GeneralName,
        life: timedelta = DAY,
        phrase: bytes | None = None,
    ) -> Pair:
        """A certificate for this machine, for `name` and for `more`; a phrase locks its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            self._certificate(subject, key.public_key(), life)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name), here, *more]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if phrase:
            lock = serialization.BestAvailableEncryption(phrase)
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key", made.serial_number)
        pair.cert.write_bytes(made.public_bytes(_PEM))
        pair.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, lock))
        return pair

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
    ) -> x509.CertificateBuilder:
        end = datetime.now(UTC) + life
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(next(self._serials) + (1 << 64))
            .not_valid_before(end - 3 * DAY)
            .not_valid_after(end)
        )
