"""Whether the material of a signing key is whole."""

from __future__ import annotations

from typing import Final

from keyturn.crypto.key_pairs import is_of, private_der_of, private_key_of, public_der
from keyturn.crypto.signatures import is_signed_by, sign
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import KeyCheck
from keyturn.errors import IntegrityError

_PROBE: Final = b"keyturn-integrity-probe"


def check_material(key: GeneratedKey, text: str) -> KeyCheck:
    """Whether `text` is material of the key's type and length, and of a pair where there is a public key."""
    algorithm = key.spec.algorithm
    assert algorithm is not None
    if algorithm.is_symmetric:
        return _check_bytes(text, int(key.spec.length) // 8)
    try:
        material = Secret(private_der_of(Secret(text)))
        public = private_key_of(material.reveal_bytes()).public_key()
    except (ValueError, IntegrityError):
        return KeyCheck(False, "the private key has been damaged")
    if key.public_key is None or public_der(public) != key.public_key:
        return KeyCheck(False, "the private key belongs to another public key")
    if not is_of(public, algorithm, key.spec.length):
        return KeyCheck(False, "the private key is of another kind or length than it should be")
    # A private key may name the right public key and still not be its own.
    if not is_signed_by(algorithm, public, _PROBE, sign(algorithm, material, _PROBE)):
        return KeyCheck(False, "the private key does not sign for its public key")
    return KeyCheck(True, "the key pair is whole")


def _check_bytes(text: str, length: int) -> KeyCheck:
    try:
        whole = len(from_base64url(text)) == length
    except ValueError:
        whole = False
    return KeyCheck(whole, "the material is whole" if whole else "the material has been damaged")
