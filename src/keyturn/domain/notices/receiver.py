"""Whose new secrets an endpoint gets, and the public key of its receiver, to which they are encrypted.

    Receiver.of({"kty": "OKP", "crv": "X25519", "x": "…"}, owners=("acme",))

Keys are JSON Web Keys (RFC 7517, 7518 and 8037). Of one only what is needed is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyturn.domain import fields
from keyturn.domain.bytestext import from_base64url
from keyturn.errors import InvalidInputError

MAX_OWNERS: Final = 100
MAX_KID_CHARACTERS: Final = 128
_MAX_BYTES: Final = 1_024  # RSA of 8,192 bits
_KEPT: Final = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}
_CURVES: Final = {"EC": "P-256", "OKP": "X25519"}
_AGREEMENT: Final = ("ECDH-ES+A256KW", "ECDH-ES")
ALGORITHMS: Final = {"EC": _AGREEMENT, "OKP": _AGREEMENT, "RSA": ("RSA-OAEP-256",)}
"""How a content key is agreed on or encrypted, for each kind of key; the first where the key does not say."""

_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))  # RFC 7518, section 6
_FIX: Final = (
    "Give a public key as JWK: EC on P-256 or OKP on X25519 (ECDH-ES+A256KW, ECDH-ES), or RSA (RSA-OAEP-256)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """What an endpoint says of its receiver.

    Attributes:
        jwk: `kty`, `alg`, the members of the key, and `kid` where it has one.
        owners: whose keys' secrets are for it; empty exactly for `every_owner`.
        every_owner: whether those of all keys of the tenant are, of keys without an owner too.
    """

    jwk: Mapping[str, str]
    owners: tuple[str, ...] = ()
    every_owner: bool = False

    def __post_init__(self) -> None:
        if _checked(self.jwk) != self.jwk:
            raise ValueError("a key has members that are not kept")
        if self.owners != tuple(sorted(set(self.owners))):
            raise ValueError("the owners are not in order")
        if bool(self.owners) == self.every_owner or len(self.owners) > MAX_OWNERS:
            raise InvalidInputError(
                f"a receiver is for 1 to {MAX_OWNERS} owners, or for every owner",
                field="receiver.owners",
                fix="Name the owners, or set every_owner and name none.",
            )
        for owner in self.owners:
            fields.check_owner(owner)

    @classmethod
    def of(cls, jwk: Mapping[str, Any], *, owners: Sequence[str] = (), every_owner: bool = False) -> Receiver:
        """A receiver with this public key; InvalidInputError for one that nothing can be encrypted to."""
        if isinstance(owners, str) or not all(type(owner) is str for owner in owners):
            raise InvalidInputError("owners are a list of texts", field="receiver.owners")
        return cls(jwk=_checked(jwk), owners=tuple(sorted(set(owners))), every_owner=every_owner)

    def takes(self, owner: str | None) -> bool:
        """Whether the new secrets of this owner's keys are for it; None is no owner."""
        return self.every_owner or owner in self.owners


def _checked(jwk: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of a JWK."""
    if _PRIVATE & jwk.keys():
        raise InvalidInputError(
            "this is a private key, or a secret one",
            field="receiver.public_key",
            fix="Take it for leaked: make another pair, and send its public key only.",
        )
    kind, kid = jwk.get("kty"), jwk.get("kid")
    if type(kind) is not str or kind not in _KEPT:
        raise _unusable()
    if jwk.get("use", "enc") != "enc" or _CURVES.get(kind) != jwk.get("crv"):
        raise _unusable()
    algorithm = jwk.get("alg", ALGORITHMS[kind][0])
    if algorithm not in ALGORITHMS[kind]:
        raise _unusable()
    if kid is not None and (type(kid) is not str or not 1 <= len(kid) <= MAX_KID_CHARACTERS):
        raise _unusable()
    members = {name: jwk.get(name) for name in _KEPT[kind]}
    for name, value in members.items():
        if name != "crv" and not _is_number(value):
            raise _unusable()
    named = {} if kid is None else {"kid": kid}
    return {"kty": kind, "alg": algorithm, **members, **named}


def _is_number(value: object) -> bool:
    if type(value) is not str or len(value) > 2 * _MAX_BYTES:
        return False
    try:
        return 1 <= len(from_base64url(value)) <= _MAX_BYTES
    except ValueError:
        return False


def _unusable() -> InvalidInputError:
    return InvalidInputError(
        "this is no public key that secrets are encrypted to", field="receiver.public_key", fix=_FIX
    )
