"""Reasons not to trust an RSA key that somebody else made.

What `cryptography` checks when it reads a key is not repeated here: that its numbers fit, and its primes are primes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MIN_BITS: Final = 2_048  # SP 800-131A rev. 2, section 3
_CLOSE: Final = "its primes are close to one another"
_FERMAT_STEPS: Final = 100  # CVE-2022-26320 needed one; more costs nothing
_ROCA_GENERATOR: Final = 65_537
_ROCA_PRIMES: Final = tuple(n for n in range(3, 168, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def weakness_of(key: RSAPrivateKey) -> str | None:
    """What is wrong with a key, in words; None where nothing is found."""
    return next(_weaknesses(key), None) or weakness_of_modulus(key.public_key().public_numbers().n)


def weakness_of_modulus(modulus: int) -> str | None:
    """The same of its modulus alone, as far as that tells."""
    if modulus.bit_length() < MIN_BITS:
        return f"it has {modulus.bit_length()} bits, and {MIN_BITS:,} are the least"
    if _is_factored_by_fermat(modulus):
        return _CLOSE
    if _has_roca_fingerprint(modulus):
        return "it was made by a chip with a known flaw (ROCA, CVE-2017-15361)"
    return None


def _weaknesses(key: RSAPrivateKey) -> Iterator[str]:
    numbers = key.private_numbers()
    bits, exponent = key.key_size, numbers.public_numbers.e
    # FIPS 186-5, appendix A.1.1: the public exponent is odd and above 2^16, the private one longer than half the
    # modulus, and the primes differ in their first 100 bits.
    if exponent % 2 == 0 or not 2**16 < exponent < 2**256:
        yield f"its public exponent is {exponent if exponent < 2**32 else 'too large'}; 65537 is usual"
    if numbers.d.bit_length() <= bits // 2:
        yield "its private exponent is small"
    if min(numbers.p, numbers.q).bit_length() < bits // 2 - 1:
        yield "one of its primes is small"
    if abs(numbers.p - numbers.q).bit_length() <= bits // 2 - 100:
        yield _CLOSE


def _is_factored_by_fermat(modulus: int) -> bool:
    start = math.isqrt(modulus) + 1
    return any(
        math.isqrt(square) ** 2 == square
        for square in (a * a - modulus for a in range(start, start + _FERMAT_STEPS))
    )


def _has_roca_fingerprint(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo each small prime, as those of the flawed library all are."""
    return all(modulus % prime in _powers(prime) for prime in _ROCA_PRIMES)


def _powers(prime: int) -> set[int]:
    found, power = set[int](), 1
    while power not in found:
        found.add(power)
        power = power * _ROCA_GENERATOR % prime
    return found
