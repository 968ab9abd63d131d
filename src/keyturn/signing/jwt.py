"""JSON Web Tokens in their compact form (RFC 7519, RFC 7515): what is signed, and what a token says.

Which algorithm a token is to be verified with, its key says and never the token (RFC 8725, section 3.1).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.key import Algorithm
from keyturn.domain.members import unique
from keyturn.domain.signature_check import SignatureCode
from keyturn.errors import InvalidInputError

MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_CLAIMS_BYTES: Final = 8_192
DEFAULT_TYP: Final = "JWT"
_TYP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+/-]{0,63}")
MAX_DEPTH: Final = 16  # objects and arrays inside one another: what is read has to be passed on as JSON again
_TIMES: Final = ("exp", "nbf", "iat")
_PARTS: Final = 3
_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/_-]")
_BEGINS_OBJECT: Final = re.compile(rb"[\s\0\xef\xbb\xbf\xff\xfe]*\{[\s\0]*[\"}]")


@dataclass(frozen=True, slots=True)
class ParsedJwt:
    """A token taken apart; nothing of it is verified yet.

    Attributes:
        kid: the header's, which names the version that signed.
        algorithm: the header's, for comparison with the version's.
        typ: the header's, as types are compared; of a header without one that of a JWT.
        signed: the bytes that the signature is over.
    """

    kid: str
    algorithm: str
    typ: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say of itself (RFC 8725, sections 3.8, 3.9 and 3.11).

    Attributes:
        issuer: its `iss`; None where the caller takes any.
        audience: one of its `aud`; None for a token that names no audience at all.
        typ: its type. One that says none passes for a `JWT`, and for nothing else.
    """

    issuer: str | None = None
    audience: str | None = None
    typ: str = DEFAULT_TYP

    def __post_init__(self) -> None:
        check_typ(self.typ)
        for name in ("issuer", "audience"):
            check_party(name, getattr(self, name))

    def code(self, parsed: ParsedJwt) -> SignatureCode:
        """Why a token whose signature holds is not the one that is expected; VALID where it is."""
        claims = parsed.claims
        if parsed.typ != compared_typ(self.typ):
            return SignatureCode.WRONG_TYPE
        if self.issuer is not None and claims.get("iss") != self.issuer:
            return SignatureCode.WRONG_ISSUER
        named = claims.get("aud", [])
        audiences = named if isinstance(named, list) else [named]
        if not all(type(audience) is str for audience in audiences):
            return SignatureCode.MALFORMED
        is_meant = self.audience in audiences if self.audience is not None else "aud" not in claims
        return SignatureCode.VALID if is_meant else SignatureCode.WRONG_AUDIENCE


def check_typ(typ: str) -> str:
    """A token's type; InvalidInputError for what is no media type."""
    if not isinstance(typ, str) or _TYP.fullmatch(typ) is None:
        raise InvalidInputError(
            "typ is a media type of at most 64 characters", field="typ", fix="Such as JWT or at+jwt."
        )
    return typ


def check_party(name: str, value: str | None) -> None:
    """InvalidInputError for an issuer or an audience that is no text, or an empty one, which would match too much."""
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInputError(f"{name} is a text", field=name, fix="Such as https://auth.example.com.")


def compared_typ(typ: str) -> str:
    """A type as types are compared (RFC 7515, section 4.1.9)."""
    return typ.lower().removeprefix("application/")


def with_parties(claims: Mapping[str, Any], issuer: str | None, audience: str | None) -> dict[str, Any]:
    """The claims with `iss` and `aud`; InvalidInputError for one that is said twice."""
    complete = dict(claims)
    for claim, name, value in (("iss", "issuer", issuer), ("aud", "audience", audience)):
        check_party(name, value)
        if value is not None and claim in complete:
            raise InvalidInputError(f"{claim} is among the claims already", field=name, fix="Say it once.")
        if value is not None:
            complete[claim] = value
    return complete


def signing_input(algorithm: Algorithm, kid: str, claims: Mapping[str, Any], typ: str = DEFAULT_TYP) -> bytes:
    """What is to be signed.

    InvalidInputError for claims that `parse` would refuse, that are too large, or with times that are no numbers.
    """
    for name in _TIMES:
        if name in claims and (type(claims[name]) not in (int, float)):
            raise InvalidInputError(f"{name} is a number of seconds since 1970", field=f"claims.{name}")
    try:
        payload = json.dumps(dict(claims), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(payload.encode())
        if size <= MAX_CLAIMS_BYTES:
            _object(payload)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInputError(
            f"claims are an object of JSON, at most {MAX_DEPTH} deep, without a name that is there twice",
            field="claims",
        ) from None
    if size > MAX_CLAIMS_BYTES:
        raise InvalidInputError(f"claims have at most {MAX_CLAIMS_BYTES:,} bytes of JSON", field="claims")
    header = json.dumps({"alg": algorithm.value, "kid": kid, "typ": check_typ(typ)}, separators=(",", ":"))
    return f"{to_base64url(header.encode())}.{to_base64url(payload.encode())}".encode()


def may_be_signed_for(data: bytes) -> bool:
    """Whether somebody could take a signature over `data` for that of a token (RFC 7515, section 5.1).

    That is where they begin with an object of JSON in base64url and a dot. It is looked for as the most lenient
    libraries read a header, some of which skip what is no base64 or decode UTF-16.
    """
    head, dot, _ = data.partition(b".")
    if not dot:
        return False
    text = _NO_BASE64.sub(b"", head).translate(bytes.maketrans(b"-_", b"+/"))
    text = text[:-1] if len(text) % 4 == 1 else text
    return _BEGINS_OBJECT.match(base64.b64decode(text + b"=" * (-len(text) % 4))) is not None


def parse(token: str) -> ParsedJwt | None:
    """The parts of a token; None for what is none, has an extension that must be understood, or names no key."""
    parts = token.split(".") if len(token) <= MAX_TOKEN_CHARACTERS else []
    if len(parts) != _PARTS:
        return None
    try:
        header, claims = (_object(from_base64url(part).decode()) for part in parts[:2])
        signature = from_base64url(parts[2])
    except (ValueError, RecursionError):
        return None
    kid, algorithm = header.get("kid"), header.get("alg")
    typ = header.get("typ", DEFAULT_TYP)
    if type(kid) is not str or type(algorithm) is not str or type(typ) is not str or "crit" in header:
        return None
    return ParsedJwt(kid, algorithm, compared_typ(typ), claims, f"{parts[0]}.{parts[1]}".encode(), signature)


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


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text, object_pairs_hook=unique, parse_float=_finite, parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - it is text that is malformed
    if not _nests_within(value, MAX_DEPTH):
        raise ValueError("too deep")
    json.dumps(value, ensure_ascii=False).encode()  # halves of surrogate pairs could not be passed on
    return value


def _nests_within(value: object, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_nests_within(part, depth - 1) for part in parts)


def _finite(text: str) -> float:
    # 1e999 is JSON; as a float it is infinite, which would be an `exp` for ever and is no JSON any more.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
