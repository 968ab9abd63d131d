"""`keyturn sign`, `keyturn verify-signature` and `keyturn jwks`: data and tokens come from standard input."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError
from keyturn.cli.opening import opened
from keyturn.domain.bytestext import from_any_base64
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.signature_check import SignatureCheck
from keyturn.signing.jwt import MAX_TOKEN_CHARACTERS
from keyturn.signing.signer import MAX_DATA_BYTES
from keyturn.views import signature_check_view, signature_view, signed_jwt_view

INVALID: Final = 1
_SHOWN: Final = ("code", "key_id", "version", "algorithm", "claims")

Issuer = Annotated[str | None, options.text("--issuer", "TEXT", "Who says so: iss of a token.")]
Audience = Annotated[str | None, options.text("--audience", "TEXT", "Whom it is for: aud of a token.")]
Typ = Annotated[str | None, options.text("--typ", "TYPE", "The sort of token: at+jwt; JWT if absent.")]


def sign(
    *,
    key_id: options.KeyId,
    claims: Annotated[
        dict[str, Any] | None,
        options.text(
            "--claims", "JSON", "Claims, for a JWT key, instead of data.", parser=options.json_object
        ),
    ] = None,
    expires_in: options.ExpiresIn = None,
    issuer: Issuer = None,
    audience: Audience = None,
    typ: Typ = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Sign what comes from standard input, and print the signature in base64url.

    With a key of type jwt, claims are signed, and a JSON Web Token is printed.
    """
    said = _said(issuer=issuer, audience=audience, typ=typ)
    named = [*(() if expires_in is None else ("expires-in",)), *said]
    if claims is None and named:
        raise MisuseError(f"--{named[0]} is for claims", fix="Leave it out, or add --claims.")
    with opened(tenant) as work:
        if claims is None:
            view = signature_view(work.node.signer.sign(key_id, _data(), work.by))
        else:
            view = signed_jwt_view(
                work.node.signer.sign_jwt(key_id, claims, work.by, expires_in=expires_in, **said)
            )
    if as_json:
        output.write_json(view)
    else:
        output.write(f"{view['signature'] or view['token']}\n")


def verify_signature(
    *,
    key_id: options.KeyId,
    signature: Annotated[
        str | None,
        options.text("--signature", "BASE64", "Over the data on standard input; without it a JWT is read."),
    ] = None,
    version: Annotated[
        int | None,
        options.text(
            "--version",
            "NUMBER",
            "The version that signed; if absent the one that serves, or its rotation's other.",
        ),
    ] = None,
    issuer: Issuer = None,
    audience: Audience = None,
    typ: Typ = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Whether a signature over standard input is the key's: the exit status is 0 if it is, and 1 if it is not.

    Without --signature, standard input is a JSON Web Token.
    """
    said = _said(issuer=issuer, audience=audience, typ=typ)
    if signature is not None and said:
        raise MisuseError(
            f"--{next(iter(said))} is for a token", fix="Leave it out, or leave --signature out."
        )
    with opened(tenant) as work:
        if signature is None:
            token = _data(MAX_TOKEN_CHARACTERS).decode("utf-8", "replace").strip()
            work.node.reader.get(key_id, work.by)
            check = work.node.signer.verify_jwt(token, work.by, key_id=key_id, **said)
        else:
            check = work.node.signer.verify(key_id, _data(), _decoded(signature), work.by, version=version)
    _show(check, as_json=as_json)
    if not check:
        raise typer.Exit(INVALID)


def jwks(*, tenant: options.Tenant = DEFAULT_TENANT) -> None:
    """Print the public halves of the published keys, as a JSON Web Key Set for those who verify."""
    with opened(tenant) as work:
        work.node.published.refresh(tenant)
        output.write_json(json.loads(work.node.published.of(tenant).body))


def _said(**said: str | None) -> dict[str, str]:
    return {name: value for name, value in said.items() if value is not None}


def _data(most: int = MAX_DATA_BYTES) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise MisuseError("there is nothing on standard input", fix="Let it come from there: ... < file")
    return sys.stdin.buffer.read(most + 1)


def _decoded(text: str) -> bytes:
    try:
        return from_any_base64(text)
    except ValueError:
        raise MisuseError("the signature is not base64", fix="Give it as it was printed.") from None


def _show(check: SignatureCheck, *, as_json: bool) -> None:
    view = signature_check_view(check)
    if as_json:
        output.write_json(view)
    else:
        output.write_fields({name: view[name] for name in _SHOWN if view[name] is not None})
