"""Keys that management calls ask for: made here, or taken over from another system."""

from __future__ import annotations

from keyturn import key_policy
from keyturn.crypto.hash_forms import read_salt
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey, KeySpec, check_imported_type
from keyturn.errors import InvalidInputError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_policy import KeyPolicy
from keyturn.ports.clock import Clock
from keyturn.server.models import ImportedHashBody, ImportedTokenBody, NewKey


def made(wanted: NewKey, spec: KeySpec, generator: SecureKeyGenerator) -> GeneratedKey | ImportedToken:
    """The key that is asked for; InvalidInputError, which names the field, for what cannot be imported."""
    if wanted.imported is None:
        return generator.generate(spec)
    try:
        return _imported(wanted.imported, spec, generator)
    except InvalidInputError as error:
        raise InvalidInputError(str(error), field=f"import.{error.field}", fix=error.fix) from None


def _imported(
    wanted: ImportedTokenBody | ImportedHashBody, spec: KeySpec, generator: SecureKeyGenerator
) -> ImportedToken:
    if isinstance(wanted, ImportedTokenBody):
        return generator.imported_token(spec, Secret(wanted.token))
    return generator.imported_hash(
        spec,
        wanted.hash,
        algorithm=wanted.algorithm,
        salt=None if wanted.salt is None else read_salt(wanted.salt, wanted.salt_encoding),
        salt_position=wanted.salt_position,
        start=wanted.start,
    )


def spec_of(wanted: NewKey, clock: Clock) -> KeySpec:
    """What is to be made; InvalidInputError, which names the field, for anything out of bounds."""
    if wanted.imported is not None:
        check_imported_type(wanted.type)
    if wanted.imported is not None and wanted.length is not None:
        raise InvalidInputError(
            "an imported token has no length to choose", field="length", fix="Leave it out."
        )
    policy = KeyPolicy(
        name=wanted.name,
        owner=wanted.owner,
        prefix=wanted.prefix,
        permissions=wanted.permissions,
        allowed_ips=wanted.allowed_ips,
        metadata=wanted.metadata,
        tags=wanted.tags,
        recoverable=wanted.recoverable,
        not_before=wanted.not_before,
        expires_at=wanted.expires_at,
        profile=None if wanted.profile is None else wanted.profile.model_dump(),
    )
    return key_policy.spec_of(
        clock.now(),
        wanted.type,
        wanted.scope,
        wanted.expires_in,
        policy,
        length=wanted.length,
        algorithm=wanted.algorithm,
        is_imported=wanted.imported is not None,
    )
