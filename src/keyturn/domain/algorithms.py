"""Which signature algorithms, and which lengths, a type of key has. Names are JOSE's (RFC 7518, RFC 8037).

    chosen(KeyType.RSA, None, None)                        # (KeyLength.BITS_3072, Algorithm.PS256)
    chosen(KeyType.ECDSA, KeyLength.BITS_384, None)        # (KeyLength.BITS_384, Algorithm.ES384)

A key has one algorithm for good, and what verifies its signatures never asks the signature which one it is: so nobody
can make an RSA public key pass for an HMAC secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.errors import InvalidInputError, shown

_TOKENS: Final = (KeyLength.BITS_256, KeyLength.BITS_128, KeyLength.BITS_4096, KeyLength.BITS_8192)
_RSA: Final = (KeyLength.BITS_3072, KeyLength.BITS_4096, KeyLength.BITS_8192)
_JWT_RSA: Final = (KeyLength.BITS_3072, KeyLength.BITS_4096)
_256: Final = (KeyLength.BITS_256,)

# The first of each is what it is where nothing is said. RS256 comes last of all that have its lengths: it is for
# receivers that know nothing better, and only on request.
_CHOICES: Final[Mapping[KeyType, Mapping[Algorithm | None, tuple[KeyLength, ...]]]] = MappingProxyType(
    {
        KeyType.API_TOKEN: {None: _TOKENS},
        # What may issue keys is never shorter than what it issues.
        KeyType.PROVISIONING: {None: (KeyLength.BITS_256, KeyLength.BITS_4096, KeyLength.BITS_8192)},
        KeyType.HMAC: {
            Algorithm.HS256: _TOKENS,
            Algorithm.HS512: (KeyLength.BITS_4096, KeyLength.BITS_8192),
        },
        KeyType.RSA: dict.fromkeys((Algorithm.PS256, Algorithm.PS384, Algorithm.PS512), _RSA),
        KeyType.ECDSA: {
            Algorithm.ES256: _256,
            Algorithm.ES384: (KeyLength.BITS_384,),
            Algorithm.ES512: (KeyLength.BITS_521,),
        },
        KeyType.JWT: {
            Algorithm.EDDSA: _256,
            Algorithm.ES256: _256,
            Algorithm.PS256: _JWT_RSA,
            Algorithm.HS256: _256,
            Algorithm.RS256: _JWT_RSA,
        },
    }
)
_IMPORTED: Final = KeyLength.BITS_2048  # of RSA keys that were made elsewhere; too short for a new one


def chosen(
    key_type: KeyType, length: KeyLength | None, algorithm: Algorithm | None, *, is_import: bool = False
) -> tuple[KeyLength, Algorithm | None]:
    """Length and algorithm, with what was not said filled in; the algorithm is None for tokens.

    InvalidInputError, which names what is possible, for a pair that does not go together.
    """
    choices = _CHOICES[key_type]
    if algorithm is not None:
        lengths = choices.get(algorithm)
        if lengths is None:
            raise _refused(
                key_type, "algorithm", f"no algorithm {algorithm.value}", [a.value for a in choices if a]
            )
    for candidate, lengths in choices.items():
        if algorithm in (None, candidate):
            found = lengths[0] if length is None else length
            if found in lengths or (is_import and found is _IMPORTED and KeyLength.BITS_3072 in lengths):
                return found, candidate
    possible = [n for a, lengths in choices.items() if algorithm in (None, a) for n in lengths]
    named = "" if algorithm is None else f" with {algorithm.value}"
    assert length is not None
    raise _refused(key_type, "length", f"no length of {int(length)} bits{named}", sorted(set(possible)))


def parse_length(bits: int) -> KeyLength:
    """The length of so many bits; InvalidInputError that lists those there are."""
    try:
        return KeyLength(bits)
    except ValueError:
        lengths = ", ".join(str(int(known)) for known in KeyLength)
        raise InvalidInputError(
            f"there is no key length of {shown(bits)} bits", field="length", fix=f"Use one of: {lengths}."
        ) from None


def parse_algorithm(name: str) -> Algorithm:
    """The algorithm of that name, exactly as written; InvalidInputError that lists the names otherwise."""
    try:
        return Algorithm(name)
    except ValueError:
        names = ", ".join(known.value for known in Algorithm)
        raise InvalidInputError(
            f"there is no algorithm {shown(name)}", field="algorithm", fix=f"Use one of: {names}."
        ) from None


def _refused(
    key_type: KeyType, field: str, what: str, possible: list[str] | list[KeyLength]
) -> InvalidInputError:
    names = ", ".join(name if isinstance(name, str) else str(int(name)) for name in possible)
    return InvalidInputError(
        f"a key of type {key_type.value} has {what}",
        field=field,
        fix=f"Use one of: {names}." if names else "Leave it out.",
    )
