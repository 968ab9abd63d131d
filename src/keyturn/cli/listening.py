"""Who may be served, and how: loopback in development, TLS for other machines in production."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from keyturn.config import Environment, Settings
from keyturn.errors import ConfigurationError

if TYPE_CHECKING:
    from keyturn.server.tls import Identity


def check(settings: Settings) -> None:
    """ConfigurationError where keys would travel in the clear, or development would be reached from elsewhere."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, absent = ("certificate", "--tls-key") if settings.tls_key is None else ("key", "--tls-cert")
        raise ConfigurationError(
            f"TLS needs a certificate and its private key, and there is only the {given}",
            fix=f"Name the other with {absent}.",
        )
    if _is_loopback(settings.host):
        return
    if settings.environment is Environment.DEVELOPMENT:
        raise ConfigurationError(
            f"development keeps to loopback addresses, and {settings.host} is none",
            fix="Set KEYTURN_ENV=production to be reached from other machines, or listen on 127.0.0.1.",
        )
    if settings.tls_cert is None and not settings.allow_plain_http:
        raise ConfigurationError(
            f"without TLS, whoever is on the way to {settings.host} would read every key",
            fix="Give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy on this machine. Where a proxy on"
            " another machine has TLS, and nobody else reaches this port, say so with --allow-plain-http.",
        )


def identity(settings: Settings) -> Identity | None:
    """What the server shows of itself over TLS; None where it speaks plain HTTP."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    from keyturn.server.tls import Identity  # noqa: PLC0415 - no other command should wait for it

    is_production = settings.environment is Environment.PRODUCTION
    return Identity(settings.tls_cert, settings.tls_key, is_strict=is_production)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
