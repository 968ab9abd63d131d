"""`keyturn issue` and `keyturn update`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError, UnshownSecretError
from keyturn.cli.naming import program
from keyturn.cli.opening import Work, opened
from keyturn.crypto.key_pairs import public_pem
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import Key
from keyturn.domain.scope import KeyScope
from keyturn.key_generator import GeneratedKey, KeyType, SecureKeyGenerator
from keyturn.views import issued_view, key_view


class Clearable(Enum):
    """Fields that a key can do without."""

    NAME = "name"
    PERMISSIONS = "permissions"
    ALLOWED_IPS = "allowed_ips"
    METADATA = "metadata"
    TAGS = "tags"
    NOT_BEFORE = "not_before"
    EXPIRES_AT = "expires_at"
    PROFILE = "profile"
    PUBLISHED_FOR = "published_for"


def issue(
    *,
    key_type: Annotated[
        KeyType, options.choice("--type", "TYPE", "What it is for", KeyType)
    ] = KeyType.API_TOKEN,
    scope: options.Scope = KeyScope.READ,
    length: Annotated[
        int | None, options.text("--length", "BITS", "Its size; 256 if absent, 3072 for RSA.")
    ] = None,
    algorithm: Annotated[
        str | None, options.text("--algorithm", "NAME", "How it signs: PS256, ES256, EdDSA ...")
    ] = None,
    name: options.Name = None,
    owner: Annotated[str | None, options.text("--owner", "ID", "Your own id for who holds it.")] = None,
    prefix: Annotated[
        str | None, options.text("--prefix", "TEXT", "What a token begins with: acme_live; kt if absent.")
    ] = None,
    expires_in: options.ExpiresIn = None,
    expires_at: options.ExpiresAt = None,
    not_before: options.NotBefore = None,
    permissions: options.Permissions = None,
    allowed_ips: options.AllowedIps = None,
    metadata: options.Metadata = None,
    tags: options.Tags = None,
    recoverable: Annotated[
        bool, options.switch("--recoverable", "Keep the token, encrypted, so that it can be read back.")
    ] = False,
    require_scope: options.RequireScope = None,
    require_permissions: options.RequirePermissions = None,
    published_for: options.PublishedFor = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Issue a key and print its secret, this once.

    The secret is the last line, alone, so that it can be copied or piped on. Of a key pair it is the public key.
    """
    generated = SecureKeyGenerator().generate_api_key(
        key_type,
        scope,
        expires_in,
        length=length,
        algorithm=algorithm,
        name=name,
        owner=owner,
        prefix=prefix,
        permissions=tuple(permissions or ()),
        allowed_ips=tuple(allowed_ips or ()),
        metadata=metadata,
        tags=tuple(tags or ()),
        recoverable=recoverable,
        not_before=not_before,
        expires_at=expires_at,
        profile=_profile(require_scope, require_permissions),
        published_for=published_for,
    )
    with opened(tenant) as work:
        key = work.node.issuer.issue(generated, work.by)
        _hand_over(work, key, generated, as_json=as_json)


def _hand_over(work: Work, key: Key, generated: GeneratedKey, *, as_json: bool) -> None:
    try:
        if as_json:
            output.write_json(issued_view(key, generated))
            return
        output.write_fields(output.key_fields(key, work.node.clock.now()))
        if generated.public_key is not None:
            output.note(
                f"The public key follows. The private key stays in the store: sign with '{program()} sign'."
            )
            output.write(f"\n{public_pem(generated.public_key)}")
            return
        output.note(
            "The last line is the secret. It is shown this once: keep it where only its holder can read it."
        )
        output.write(f"\n{generated.secret.reveal()}\n")
    except OSError:
        raise UnshownSecretError(
            f"{key.key_id} was issued, but its secret could not be written out",
            fix=f"Revoke it ('keyturn revoke {key.key_id}') and issue another.",
        ) from None


def update(
    *,
    key_id: options.KeyId,
    name: options.Name = None,
    scope: options.NewScope = None,
    expires_in: options.ExpiresIn = None,
    expires_at: options.ExpiresAt = None,
    not_before: options.NotBefore = None,
    permissions: options.Permissions = None,
    allowed_ips: options.AllowedIps = None,
    metadata: options.Metadata = None,
    tags: options.Tags = None,
    require_scope: options.RequireScope = None,
    require_permissions: options.RequirePermissions = None,
    published_for: options.PublishedFor = None,
    clear: Annotated[
        list[Clearable] | None,
        options.choice("--clear", "FIELD", "A field to leave empty; repeatable", Clearable),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Change a key; what is not named stays as it is, its secret too.

    Lists are replaced whole: name every permission that the key shall have. So is what a gateway's key requires.
    """
    given = {
        "name": name,
        "scope": scope,
        "expires_in": expires_in,
        "expires_at": expires_at,
        "not_before": not_before,
        "permissions": tuple(permissions or ()) or None,
        "allowed_ips": tuple(allowed_ips or ()) or None,
        "metadata": metadata,
        "tags": tuple(tags or ()) or None,
        "profile": _profile(require_scope, require_permissions),
        "published_for": published_for,
    }
    changes = _changes({field: value for field, value in given.items() if value is not None}, clear or [])
    with opened(tenant) as work:
        key = work.node.updater.update(key_id, work.by, changes)
        if as_json:
            output.write_json(key_view(key))
        else:
            output.write_fields(output.key_fields(key, work.node.clock.now()))


def _profile(scope: KeyScope | None, permissions: str | None) -> dict[str, object] | None:
    return None if scope is None and permissions is None else {"scope": scope, "permissions": permissions}


def _changes(given: dict[str, Any], clear: list[Clearable]) -> dict[str, Any]:
    cleared = {field.value for field in clear}
    set_fields = {"expires_at" if field == "expires_in" else field for field in given}
    if both := sorted(cleared & set_fields):
        raise MisuseError(f"{both[0]} cannot be set and cleared at once", fix="Leave one of the two out.")
    if not given and not cleared:
        raise MisuseError(
            "there is nothing to change", fix="See 'keyturn update --help' for what can be changed."
        )
    return {**given, **dict.fromkeys(cleared)}
