"""Taking over key pairs that were made elsewhere, once they have been looked at."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyturn.crypto.generation import Material, key_pair
from keyturn.crypto.key_pairs import PrivateKey, is_of, private_der
from keyturn.crypto.weak_rsa import weakness_of
from keyturn.domain.key import KeyLength
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec
from keyturn.errors import InvalidInputError

MAX_PEM_BYTES: Final = 8_192  # RSA with 8,192 bits takes 6,400; a longer key would be checked for minutes
_FIX: Final = "Give a private key as PEM (PKCS #8, or the older forms), not encrypted."
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_KINDS: Final = "Use RSA, an elliptic curve of NIST (P-256, P-384, P-521), or Ed25519."


def read_private_key(pem: Secret) -> PrivateKey:
    """The private key in a PEM text, all of its numbers checked; InvalidInputError for anything else.

    For RSA the check takes 0.5 s with 4,096 bits and 8 s with 8,192, in which other threads wait.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidInputError(
            f"a private key has at most {MAX_PEM_BYTES:,} bytes", field="private_key", fix=_FIX
        )
    try:
        key = load_pem_private_key(pem.reveal_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInputError("that is no private key", field="private_key", fix=_FIX) from None
    if not isinstance(key, PrivateKey):
        raise InvalidInputError(
            "the private key is of a kind that is not used here",
            field="private_key",
            fix=_KINDS,
        )
    return key


def length_of(key: PrivateKey) -> KeyLength:
    """The length of a key; InvalidInputError for one that no type has."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES):
        raise InvalidInputError(
            f"the curve {key.curve.name} is not used here", field="private_key", fix=_KINDS
        )
    bits = 256 if isinstance(key, ed25519.Ed25519PrivateKey) else key.key_size
    try:
        return KeyLength(bits)
    except ValueError:
        raise InvalidInputError(
            f"there is no key length of {bits:,} bits", field="private_key", fix="Make a new key."
        ) from None


def imported(spec: KeySpec, key: PrivateKey) -> Material:
    """The material of a key that was read; InvalidInputError for a weak one, or one that is not what `spec` says."""
    algorithm = spec.algorithm
    if algorithm is None or algorithm.is_symmetric or not is_of(key.public_key(), algorithm, spec.length):
        raise InvalidInputError(
            f"the private key is none for a {spec.type.value} key"
            + ("" if algorithm is None else f" with {algorithm.value}"),
            field="private_key",
            fix="Name the type and the algorithm that the key is for.",
        )
    weakness = weakness_of(key) if isinstance(key, rsa.RSAPrivateKey) else None
    if weakness is not None:
        raise InvalidInputError(
            f"the RSA key is weak: {weakness}", field="private_key", fix="Make a new key instead."
        )
    return key_pair(private_der(key))
