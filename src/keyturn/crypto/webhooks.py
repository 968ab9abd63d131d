"""Signatures of webhooks after Standard Webhooks: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from typing import Final, assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.crypto.randomness import random_bytes
from keyturn.domain.notices.endpoint import Signing
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError

SECRET_BYTES: Final = 32


def new_secret() -> Secret:
    """A secret for either way of signing; for Ed25519 it is the seed of RFC 8032."""
    return Secret(random_bytes(SECRET_BYTES))


def public_key_of(secret: Secret) -> bytes:
    """The 32 bytes of the public key that belongs to an Ed25519 seed."""
    return Ed25519PrivateKey.from_private_bytes(secret.reveal_bytes()).public_key().public_bytes_raw()


def secret_text(secret: Secret) -> Secret:
    """An HMAC secret as receivers put it into their libraries: `whsec_` and base64."""
    return Secret("whsec_" + b64encode(secret.reveal_bytes()).decode())


def public_key_text(public_key: bytes) -> str:
    """A public key, likewise: `whpk_` and base64."""
    return "whpk_" + b64encode(public_key).decode()


def joined(secrets: Sequence[Secret]) -> Secret:
    """One or two secrets as one, the present one first."""
    return Secret(b"".join(secret.reveal_bytes() for secret in secrets))


def taken_apart(material: Secret) -> tuple[Secret, ...]:
    """What `joined` put together; IntegrityError for anything else."""
    raw = material.reveal_bytes()
    if len(raw) not in (SECRET_BYTES, 2 * SECRET_BYTES):
        raise IntegrityError("an endpoint's secrets are malformed")
    return tuple(Secret(raw[at : at + SECRET_BYTES]) for at in range(0, len(raw), SECRET_BYTES))


def signatures(
    signing: Signing, secrets: Sequence[Secret], message_id: str, timestamp: int, body: bytes
) -> str:
    """The value of `webhook-signature`: one signature for each secret, with a space between them."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(signing, secret, signed) for secret in secrets)


def _signature(signing: Signing, secret: Secret, signed: bytes) -> str:
    if signing is Signing.HMAC:
        return "v1," + b64encode(hmac.digest(secret.reveal_bytes(), signed, "sha256")).decode()
    if signing is Signing.ED25519:
        private = Ed25519PrivateKey.from_private_bytes(secret.reveal_bytes())
        return "v1a," + b64encode(private.sign(signed)).decode()
    assert_never(signing)
