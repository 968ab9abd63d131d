"""Key pairs: making them, writing them down and reading them back.

A private key is PKCS #8 (RFC 5958), as DER where it is sealed and as PEM where people see it; a public key is
SubjectPublicKeyInfo (RFC 5280), likewise.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from keyturn.domain.key import Algorithm, KeyLength
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

PUBLIC_EXPONENT: Final = 65_537  # FIPS 186-5, section 5.1
_CURVES: Final = {
    KeyLength.BITS_256: ec.SECP256R1(),
    KeyLength.BITS_384: ec.SECP384R1(),
    KeyLength.BITS_521: ec.SECP521R1(),
}
_PEM_LINE: Final = 64


def make_rsa_key(bits: int) -> bytes:
    """The DER of a fresh RSA key. It takes 0.4 s for 4,096 bits and seconds for 8,192, in which other threads run."""
    return private_der(rsa.generate_private_key(PUBLIC_EXPONENT, bits))


def make_elliptic_key(algorithm: Algorithm, length: KeyLength) -> bytes:
    """The DER of a fresh key on the algorithm's curve."""
    if algorithm is Algorithm.EDDSA:
        return private_der(ed25519.Ed25519PrivateKey.generate())
    return private_der(ec.generate_private_key(_CURVES[length]))


def private_der(key: PrivateKey) -> bytes:
    """A private key as DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_der(key: PublicKey) -> bytes:
    """A public key as DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private_key_of(der: bytes) -> PrivateKey:
    """The private key that this program wrote as DER; IntegrityError for anything else.

    RSA keys are not checked again, which takes longer than to make them: what is sealed is what was made or imported.
    """
    try:
        key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IntegrityError("a private key is malformed") from None
    if not isinstance(key, PrivateKey):
        raise IntegrityError("a private key is of a kind that is not used here")
    return key


def public_key_of(der: bytes) -> PublicKey:
    """The public key that this program wrote as DER; IntegrityError for anything else."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise IntegrityError("a public key is malformed") from None
    if not isinstance(key, PublicKey):
        raise IntegrityError("a public key is of a kind that is not used here")
    return key


def is_of(key: PublicKey, algorithm: Algorithm, length: KeyLength) -> bool:
    """Whether a public key is one for this algorithm, of this length."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return algorithm is Algorithm.EDDSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        is_elliptic = algorithm in (Algorithm.ES256, Algorithm.ES384, Algorithm.ES512)
        return is_elliptic and isinstance(key.curve, type(_CURVES[length]))
    return key.key_size == length and algorithm.value[0] in "PR"


def private_pem(der: bytes) -> Secret:
    """A private key's DER as PEM text."""
    return Secret(_pem("PRIVATE KEY", der))


def public_pem(der: bytes) -> str:
    """A public key's DER as PEM text."""
    return _pem("PUBLIC KEY", der)


def private_der_of(pem: Secret) -> bytes:
    """The DER in `private_pem`'s text; ValueError for any other."""
    text = pem.reveal()
    try:
        der = base64.b64decode("".join(text.split("\n")[1:-2]), validate=True)
    except binascii.Error:
        raise ValueError("not PEM") from None
    if _pem("PRIVATE KEY", der) != text:
        raise ValueError("not PEM as it is written here")
    return der


def _pem(label: str, der: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(der).decode(), _PEM_LINE)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
