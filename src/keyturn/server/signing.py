"""Signing and verifying signatures. Each call runs in a thread: RSA takes milliseconds."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field

from keyturn.domain.bytestext import from_any_base64
from keyturn.errors import InvalidInputError
from keyturn.server.access import MaySign, TheNode
from keyturn.server.models import Body, Closed, example
from keyturn.server.openapi import CONFLICT
from keyturn.server.schemas import EXAMPLE_KEY_ID, KeyId
from keyturn.views import View, signature_check_view, signature_view, signed_jwt_view

router = APIRouter(prefix="/v1", tags=["signatures"])

_BASE64: Final = "Base64, in either alphabet, padded or not."
_PATTERN: Final = "^[A-Za-z0-9+/_-]*={0,2}$"

Data = Annotated[
    str,
    Field(
        description=f"Up to 512 KiB. {_BASE64}",
        examples=["aGVsbG8"],
        max_length=700_000,
        json_schema_extra={"pattern": _PATTERN},
    ),
]


Typ = Annotated[
    str,
    Field(
        description="The type of a token: `JWT` when absent. One of another type is refused.",
        examples=["at+jwt"],
        max_length=64,
    ),
]


class ToSign(Closed):
    """Data to be signed with an HMAC, RSA or ECDSA key, or claims to be signed with a JWT key."""

    model_config = example(data="aGVsbG8")

    data: Data | None = None
    claims: Annotated[
        dict[str, Any] | None, Field(description="`iat` is added.", examples=[{"sub": "user-1"}])
    ] = None
    expires_in: Annotated[
        int | None, Field(description="For claims: seconds from now, as `exp`.", examples=[3_600])
    ] = None
    issuer: Annotated[str | None, Field(description="For claims: who says so, as `iss`.")] = None
    audience: Annotated[str | None, Field(description="For claims: whom it is for, as `aud`.")] = None
    typ: Typ | None = None


class SignedBody(Body):
    """A signature over data, or a token."""

    model_config = example(
        key_id=EXAMPLE_KEY_ID, version=1, algorithm="HS256", token=None,
        signature="w0J0cLJvsoFAmYyjKAmIwTlzJzC-hI2pSnoBKaVQlCg",
    )  # fmt: skip

    key_id: str
    version: int
    algorithm: Annotated[str, Field(examples=["PS256"])]
    signature: Annotated[str | None, Field(description="Base64url; ECDSA as DER.")] = None
    token: Annotated[str | None, Field(description="A JSON Web Token in compact form.")] = None


class ToCheck(Closed):
    """Data and a signature over them, or a token."""

    model_config = example(data="aGVsbG8", signature="w0J0cLJvsoFAmYyjKAmIwTlzJzC-hI2pSnoBKaVQlCg")

    data: Data | None = None
    signature: (
        Annotated[
            str,
            Field(description=_BASE64, max_length=4_096, json_schema_extra={"pattern": _PATTERN}),
        ]
        | None
    ) = None
    version: Annotated[
        int | None,
        Field(
            description="The version that signed; when absent the one that serves, or the other of a rotation."
        ),
    ] = None
    token: Annotated[str | None, Field(description="A JSON Web Token in compact form.")] = None
    issuer: Annotated[str | None, Field(description="Of a token: what `iss` must be.")] = None
    audience: Annotated[
        str | None,
        Field(
            description="Of a token: what `aud` must name. When absent, a token that names any is refused."
        ),
    ] = None
    typ: Typ | None = None


class CheckedBody(Body):
    """Whether a signature holds, and why not."""

    model_config = example(
        valid=True, code="valid", key_id=EXAMPLE_KEY_ID, version=1, algorithm="HS256", claims=None
    )

    valid: bool
    code: Annotated[str, Field(examples=["valid", "invalid_signature"])]
    key_id: str | None
    version: int | None
    algorithm: str | None
    claims: dict[str, Any] | None


@router.post("/keys/{key_id}/sign", response_model=SignedBody, responses=CONFLICT)
def sign(key_id: KeyId, wanted: ToSign, node: TheNode, by: MaySign) -> View:
    """Sign data, or claims. The private key does not leave Keyturn."""
    said = _said(wanted)
    if wanted.data is not None and wanted.claims is None and wanted.expires_in is None and not said:
        return signature_view(node.signer.sign(key_id, _decoded("data", wanted.data), by))
    if wanted.claims is not None and wanted.data is None:
        signed = node.signer.sign_jwt(key_id, wanted.claims, by, expires_in=wanted.expires_in, **said)
        return signed_jwt_view(signed)
    raise InvalidInputError(
        "either data or claims are signed",
        fix='Send {"data": "..."} or {"claims": {...}, "expires_in": 3600}.',
    )


@router.post("/keys/{key_id}/verify-signature", response_model=CheckedBody)
def verify_signature(key_id: KeyId, asked: ToCheck, node: TheNode, by: MaySign) -> View:
    """Whether a signature over data, or a token, is the key's. Always 200 once the question makes sense."""
    said = _said(asked)
    if asked.token is not None and asked.data is None and asked.signature is None and asked.version is None:
        node.reader.get(key_id, by)  # of another tenant there is no key to ask about
        return signature_check_view(node.signer.verify_jwt(asked.token, by, key_id=key_id, **said))
    if asked.data is not None and asked.signature is not None and asked.token is None and not said:
        data, signature = _decoded("data", asked.data), _decoded("signature", asked.signature)
        return signature_check_view(node.signer.verify(key_id, data, signature, by, version=asked.version))
    raise InvalidInputError(
        "data and a signature, or a token, are verified",
        fix='Send {"data": "...", "signature": "..."} or {"token": "..."}.',
    )


def _said(body: ToSign | ToCheck) -> dict[str, str]:
    """What is said of a token."""
    said = {name: getattr(body, name) for name in ("issuer", "audience", "typ")}
    return {name: value for name, value in said.items() if value is not None}


def _decoded(field: str, text: str) -> bytes:
    try:
        return from_any_base64(text)
    except ValueError:
        raise InvalidInputError(
            f"{field} is not base64", field=field, fix=f"Send {_BASE64.lower()}"
        ) from None
