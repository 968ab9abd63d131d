"""JSON Web Tokens in their compact form (RFC 7519, RFC 7515): what is signed, and what a token says.

Which algorithm a token is to be verified with, its key says and never the token (RFC 8725, section 3.1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.key import Algorithm
from keyturn.domain.signature_check import SignatureCode
from keyturn.errors import InvalidInputError

MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_CLAIMS_BYTES: Final = 8_192
MAX_DEPTH: Final = (
    32  # objects and arrays in claims, the outermost included; what writes answers gives up at some 250
)
_TIMES: Final = ("exp", "nbf", "iat")
_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class ParsedJwt:
    """A token taken apart; nothing of it is verified yet.

    Attributes:
        kid: the header's, which names the version that signed.
        algorithm: the header's, for comparison with the version's.
        signed: the bytes that the signature is over.
    """

    kid: str
    algorithm: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def signing_input(algorithm: Algorithm, kid: str, claims: Mapping[str, Any]) -> bytes:
    """What is to be signed; InvalidInputError for claims that are no JSON, too large, or times that are no numbers."""
    for name in _TIMES:
        if name in claims and (type(claims[name]) not in (int, float)):
            raise InvalidInputError(f"{name} is a number of seconds since 1970", field=f"claims.{name}")
    try:
        payload = json.dumps(
            dict(claims), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
        _check_depth(dict(claims), MAX_DEPTH)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInputError(
            f"claims are an object of JSON, {MAX_DEPTH} levels deep at most", field="claims"
        ) from None
    if len(payload) > MAX_CLAIMS_BYTES:
        raise InvalidInputError(f"claims have at most {MAX_CLAIMS_BYTES:,} bytes of JSON", field="claims")
    header = json.dumps({"alg": algorithm.value, "kid": kid, "typ": "JWT"}, separators=(",", ":")).encode()
    return f"{to_base64url(header)}.{to_base64url(payload)}".encode()


def parse(token: str) -> ParsedJwt | None:
    """The parts of a token; None for what is none, has an extension that must be understood, or names no key."""
    parts = token.split(".") if len(token) <= MAX_TOKEN_CHARACTERS else []
    if len(parts) != _PARTS:
        return None
    try:
        header, claims = _object(parts[0]), _object(parts[1])
        signature = from_base64url(parts[2])
    except (ValueError, RecursionError):
        return None
    kid, algorithm = header.get("kid"), header.get("alg")
    if type(kid) is not str or type(algorithm) is not str or "crit" in header:
        return None
    return ParsedJwt(kid, algorithm, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def time_code(claims: Mapping[str, Any], now: datetime) -> SignatureCode:
    """Whether the claims hold at `now`: `exp` is exclusive, and no leeway is given."""
    times = {name: claims[name] for name in _TIMES if name in claims}
    if any(type(value) not in (int, float) for value in times.values()):
        return SignatureCode.MALFORMED
    seconds = now.timestamp()
    if "exp" in times and seconds >= times["exp"]:
        return SignatureCode.EXPIRED
    if "nbf" in times and seconds < times["nbf"]:
        return SignatureCode.NOT_YET_VALID
    return SignatureCode.VALID


def _object(part: str) -> dict[str, Any]:
    value = json.loads(
        from_base64url(part).decode(), object_pairs_hook=_without_twins, parse_constant=_refuse
    )
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - it is text that is malformed
    # What could not be passed on: halves of surrogate pairs, numbers past those that JSON has (1e999), depths.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    _check_depth(value, MAX_DEPTH)
    return value


def _check_depth(value: object, levels: int) -> None:
    """ValueError where objects and arrays nest in more than so many levels."""
    if not isinstance(value, dict | list | tuple):
        return
    if not levels:
        raise ValueError("too deep")
    for each in value.values() if isinstance(value, dict) else value:
        _check_depth(each, levels - 1)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Which of two members counts, programs disagree on.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
