"""Certificates for servers of this machine, made as they are needed.

pair = authority.issue(tmp_path)                  # certificate and key, in files that only we may read
context = authority.trusted()                     # for clients
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

LIFETIME: Final = timedelta(days=90)


@dataclass(frozen=True)
class Pair:
    """Two files, and the number that tells the certificate from others."""

    certificate: Path
    key: Path
    serial: int

    def replace_with(self, other: Pair, *, only: str = "") -> None:
        """Put another pair, or one half of it, in the place of this one, as a tool that renews would."""
        for name in ("certificate", "key"):
            if only in ("", name):
                getattr(other, name).rename(getattr(self, name))


class Authority:
    """Issues certificates for 127.0.0.1, and is trusted by our own clients only."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keyturn tests")])
        self._own = self._signed(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0), LIFETIME
        )

    def issue(
        self,
        directory: Path,
        name: str = "server",
        *,
        lifetime: timedelta = LIFETIME,
        password: bytes | None = None,
    ) -> Pair:
        """A new certificate and its key, in two files of this directory."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(
            subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None), lifetime
        )
        encryption: KeySerializationEncryption = (
            NoEncryption() if password is None else BestAvailableEncryption(password)
        )
        pair = Pair(directory / f"{name}.pem", directory / f"{name}.key", certificate.serial_number)
        chain = certificate.public_bytes(Encoding.PEM) + self._own.public_bytes(Encoding.PEM)
        pair.certificate.write_bytes(chain)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return pair

    def trusted(self) -> ssl.SSLContext:
        """What a client needs to know this authority."""
        return ssl.create_default_context(cadata=self._own.public_bytes(Encoding.PEM).decode())

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        constraints: x509.BasicConstraints,
        lifetime: timedelta,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=100))
            .not_valid_after(now + lifetime)
            .add_extension(constraints, critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture(scope="session")
def authority() -> Authority:
    """One for all tests."""
    return Authority()
