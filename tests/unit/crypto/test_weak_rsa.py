"""RSA keys that somebody else made: each known way of making them badly is noticed, and good ones are taken."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from keyturn import KeyScope, KeyType, Secret, SecureKeyGenerator
from keyturn.crypto.weak_rsa import weakness_of, weakness_of_modulus
from keyturn.errors import InvalidInputError
from tests.unit.crypto.samples import vectors

VECTORS: Final = vectors("weak_rsa")["moduli"]
GENERATOR: Final = SecureKeyGenerator()
E: Final = 65_537
SMALL: Final = [n for n in range(2, 702) if all(n % d for d in range(2, math.isqrt(n) + 1))]


def is_prime(n: int) -> bool:
    return all(n % p for p in SMALL) and pow(2, n - 1, n) == 1


def prime(bits: int) -> int:
    """A prime from a good key."""
    return rsa.generate_private_key(E, 2 * bits).private_numbers().p


def prime_from(n: int) -> int:
    n |= 1
    while not (is_prime(n) and math.gcd(n - 1, E) == 1):
        n += 2
    return n


def key_of(p: int, q: int, *, e: int = E, d: int | None = None) -> rsa.RSAPrivateKey:
    if d is None:
        d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def roca_prime(bits: int) -> int:
    """As the flawed library makes them: a power of 65537 modulo the product of the first primes."""
    product = math.prod(SMALL[:126])
    while True:
        n = secrets.randbits(bits - product.bit_length()) * product + pow(E, secrets.randbits(256), product)
        if n >> (bits - 2) == 0b11 and is_prime(n) and math.gcd(n - 1, E) == 1:
            return n


def close_primes() -> rsa.RSAPrivateKey:
    p = prime(1_024)
    return key_of(p, prime_from(p + 2**900))


def neighbours() -> rsa.RSAPrivateKey:
    p = prime(1_024)
    return key_of(p, prime_from(p + 2))


def small_private_exponent() -> rsa.RSAPrivateKey:
    """Not of one piece: hardly any key with a public exponent below 2^256 is like this, so it takes one to look."""
    p, q = prime(1_024), prime(1_024)
    return key_of(p, q, d=2**1_000 + 1)


def large_public_exponent() -> rsa.RSAPrivateKey:
    """What a short private exponent comes with."""
    p, q = prime(1_024), prime(1_024)
    d = 2**400 + 1
    while math.gcd(d, (p - 1) * (q - 1)) != 1:
        d += 2
    return key_of(p, q, e=pow(d, -1, (p - 1) * (q - 1)), d=d)


WEAK: Final[dict[str, tuple[Callable[[], rsa.RSAPrivateKey], str]]] = {
    "short": (lambda: key_of(prime(768), prime(768)), "1536 bits"),
    "small exponent": (lambda: rsa.generate_private_key(3, 2_048), "public exponent is 3"),
    "large exponent": (large_public_exponent, "public exponent is too large"),
    "small private exponent": (small_private_exponent, "private exponent is small"),
    "unbalanced": (lambda: key_of(prime(1_536), prime(520)), "primes is small"),
    "close primes": (close_primes, "close to one another"),
    "neighbours": (neighbours, "close to one another"),
    "ROCA": (lambda: key_of(roca_prime(1_024), roca_prime(1_024)), "ROCA"),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_key_is_refused_and_why(kind: str) -> None:
    make, says = WEAK[kind]
    key = make()
    found = weakness_of(key)
    assert found is not None
    assert says in found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_moduli_that_are_known_to_be_weak_are_found_and_others_are_not(vector: dict[str, str]) -> None:
    found = weakness_of_modulus(int(vector["modulus"], 16))
    assert (found or "none").find(vector["weakness"]) >= 0


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> Secret:
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_a_weak_key_is_not_imported() -> None:
    with pytest.raises(InvalidInputError, match="weak: it was made by a chip") as refused:
        GENERATOR.import_key_pair(pem(key_of(roca_prime(1_024), roca_prime(1_024))), KeyType.RSA)
    assert refused.value.field == "private_key"


@pytest.mark.parametrize("bits", [2_048, 3_072])
def test_a_good_rsa_key_is_imported_and_signs_as_any_other(bits: int) -> None:
    key = rsa.generate_private_key(E, bits)
    assert weakness_of(key) is None
    imported = GENERATOR.import_key_pair(pem(key), KeyType.RSA, KeyScope.FULL, owner="acme")
    assert (imported.spec.length, imported.spec.owner) == (bits, "acme")
    assert GENERATOR.verify_key_integrity(imported)
    assert GENERATOR.import_key_pair(pem(key), KeyType.RSA).key_id != imported.key_id


@pytest.mark.parametrize("format_", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_elliptic_keys_are_imported_in_the_forms_that_openssl_writes(format_: PrivateFormat) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    text = Secret(key.private_bytes(Encoding.PEM, format_, NoEncryption()))
    imported = GENERATOR.import_key_pair(text, KeyType.ECDSA)
    assert (imported.spec.length, imported.spec.algorithm and imported.spec.algorithm.value) == (384, "ES384")
    assert GENERATOR.verify_key_integrity(imported)


def test_an_ed25519_key_is_imported_for_tokens() -> None:
    imported = GENERATOR.import_key_pair(pem(ed25519.Ed25519PrivateKey.generate()), KeyType.JWT)
    assert imported.spec.algorithm is not None
    assert imported.spec.algorithm.value == "EdDSA"


def test_what_is_no_usable_key_is_refused_in_words() -> None:
    good = ec.generate_private_key(ec.SECP256R1())
    encrypted = good.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    others: list[Any] = [
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(2_048),
    ]
    texts = [other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for other in others]
    for curve in (ec.BrainpoolP256R1(), ec.SECP256K1()):
        other = pem(ec.generate_private_key(curve))
        with pytest.raises(InvalidInputError, match=f"the curve {curve.name} is not used here"):
            GENERATOR.import_key_pair(other, KeyType.ECDSA)
    for text in (b"", b"-----BEGIN PRIVATE KEY-----", pem(good).reveal_bytes()[:-60], encrypted, *texts):
        with pytest.raises(InvalidInputError) as refused:
            GENERATOR.import_key_pair(Secret(text), KeyType.ECDSA)
        assert refused.value.field == "private_key"
        assert refused.value.fix
    for no_text in (5, None, "\ud800"):
        with pytest.raises(InvalidInputError, match="private_key is"):
            GENERATOR.import_key_pair(no_text, KeyType.ECDSA)  # type: ignore[arg-type]


def test_what_is_too_long_for_a_key_is_not_even_read() -> None:
    """Checking an RSA key takes eight times as long for twice as many bits, and others wait meanwhile."""
    padding = "A" * 64 + "\n"
    text = pem(ec.generate_private_key(ec.SECP256R1())).reveal()
    assert GENERATOR.import_key_pair(padding * 10 + text, KeyType.ECDSA).spec.length == 256
    with pytest.raises(InvalidInputError, match="at most 8,192 bytes"):
        GENERATOR.import_key_pair(padding * 200 + text, KeyType.ECDSA)


def test_a_key_is_imported_for_what_it_is_only() -> None:
    curve = pem(ec.generate_private_key(ec.SECP256R1()))
    for key_type in (KeyType.RSA, KeyType.JWT, KeyType.API_TOKEN, KeyType.HMAC):
        with pytest.raises(InvalidInputError):
            GENERATOR.import_key_pair(curve, key_type)
    imported = GENERATOR.import_key_pair(curve, KeyType.JWT, algorithm="ES256")
    assert GENERATOR.verify_key_integrity(imported)
