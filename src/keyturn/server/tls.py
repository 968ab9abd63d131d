"""The certificate that the server shows: checked when it starts, and taken anew when its files change.

    identity = Identity(Path("cert.pem"), Path("key.pem"), is_strict=True)     # or ConfigurationError
    identity.context                                                           # for the next handshake
    identity.refresh()                                                         # every second or so, in a thread

A pair that does not fit is reported and not taken: the server goes on with the one that it has.
"""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from keyturn.errors import ConfigurationError

LOOK_SECONDS: Final = 1.0  # between two looks at the files
SOON: Final = timedelta(days=14)  # before it ends, a certificate is reported

# Mozilla's "intermediate" without finite-field Diffie-Hellman; TLS 1.3 has its own, all of them good.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_OTHERS: Final = 0o077  # permissions of anybody but the owner

_log = logging.getLogger("keyturn.tls")


class _Seen(NamedTuple):
    """How a file was when it was looked at; another file has other values."""

    inode: int
    size: int
    changed: int


class Identity:
    """A certificate and its private key, from two PEM files.

    Attributes:
        context: for the next handshake; connections that are open keep the one they began with.
        ends_at: when the certificate ceases to be valid.
    """

    def __init__(self, certificate: Path, key: Path, *, is_strict: bool) -> None:
        self._certificate = certificate
        self._key = key
        self._is_strict = is_strict
        self._seen = self._candidate = self._look()
        self.context, self.ends_at = self._load()

    def refresh(self) -> None:
        """Take the files anew if they have changed.

        Whoever replaces them does one after the other, so they have to look the same twice before they are read.
        """
        seen = self._look()
        is_settled, self._candidate = seen == self._candidate, seen
        if seen == self._seen or not is_settled:
            return
        self._seen = seen
        try:
            self.context, self.ends_at = self._load()
        except ConfigurationError as error:
            _log.error("the new TLS certificate is not taken, the old one stays: %s. %s", error, error.fix)
        else:
            _log.info("the TLS certificate was taken anew; it ends at %s", self.ends_at.isoformat())

    def _look(self) -> tuple[_Seen | None, _Seen | None]:
        return _seen(self._certificate), _seen(self._key)

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        ends_at = _end_of(self._certificate)
        _check_private(self._key, is_strict=self._is_strict)
        context = _context(self._certificate, self._key)
        if ends_at - datetime.now(UTC) < SOON:
            _log.warning("the TLS certificate in %s ends at %s", self._certificate, ends_at.isoformat())
        return context, ends_at


def _seen(path: Path) -> _Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)


def _end_of(path: Path) -> datetime:
    """When the first certificate of a file, the server's own, ends."""
    try:
        return x509.load_pem_x509_certificates(_read(path, "certificate"))[0].not_valid_after_utc
    except ValueError:
        raise ConfigurationError(
            f"{path} holds no certificate in PEM",
            fix="Name a file with the server's certificate first, and those that lead to its root after it.",
        ) from None


def _check_private(path: Path, *, is_strict: bool) -> None:
    """Whoever reads the key can be the server."""
    _read(path, "private key")
    mode = path.stat().st_mode & 0o777
    if not mode & _OTHERS:
        return
    problem, fix = (
        f"the private key in {path} may be read by others: its mode is {mode:04o}",
        f"Run: chmod 600 {path}",
    )
    if is_strict:
        raise ConfigurationError(problem, fix=fix)
    _log.warning("%s. %s", problem, fix)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the TLS {what} {path}: {error.strerror or error}",
            fix="Check the path and the file's permissions.",
        ) from None


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(
                f"the private key in {key} is not that of the certificate in {certificate}",
                fix="Name the two files that were made together.",
            ) from None
        raise ConfigurationError(
            f"the private key in {key}, or the certificate in {certificate}, cannot be used: {error.reason or error}",
            fix="Use a key in PEM that is not encrypted, and a certificate with a key of 2,048 bits (RSA) or a curve.",
        ) from None
    return context


def _refuse_password() -> str:
    # OpenSSL would ask for it at the terminal.
    raise ConfigurationError(
        "the private key is encrypted, and there is nobody to ask for its password",
        fix="Decrypt it, for example with 'openssl pkey', into a file that only the server may read.",
    )
