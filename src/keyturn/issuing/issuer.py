"""Issuing: a generated key becomes rows and an event, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from keyturn.crypto.foreign_tokens import handle_of, keyed_digest
from keyturn.crypto.key_pairs import private_der_of
from keyturn.crypto.keyring import Keyring
from keyturn.crypto.sealing import SEALED, associated_data, seal_material
from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.change import MAX_EVENTS, ChangeSet, Event, EventType, Put, Require
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.key import Hashed, Key, KeyType, Version
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.issuing.foreign import ForeignConflicts, Storable
from keyturn.issuing.keys import Keys
from keyturn.issuing.publishing import PublishedRoom
from keyturn.ports.clock import Clock
from keyturn.records.records import Records

Beside = Callable[[list[Key]], tuple[Put, ...]]
"""Given the keys that are about to be stored, the rows that are to be stored in the same commit."""


class OwnerAtIssue(NamedTuple):
    """An owner's epoch, and what must still hold of the owner's row at the commit; nothing where there is no owner."""

    epoch: int = 0
    require: Require | None = None


class Issuer:
    """Stores generated keys."""

    def __init__(self, *, records: Records, keys: Keys, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock
        self._foreign = ForeignConflicts(records)

    def issue(self, generated: Storable, by: Principal) -> Key:
        """Store one key. ConflictError if it or its token is stored already, or its owner was revoked meanwhile."""
        return self.issue_all((generated,), by)[0]

    def issue_all(
        self, batch: Sequence[Storable], by: Principal, *, beside: Beside = lambda _: ()
    ) -> list[Key]:
        """Store 1 to 1,000 keys, all or none, together with the rows that `beside` gives.

        ForbiddenError when one would hold more than the caller; NotFoundError for a rotation policy that there is not;
        ConflictError as for `issue`, and where a row of `beside` is there already.
        """
        self._require_issuable(batch, by)
        self.require_new(batch)
        owners = self._owners(batch, by.tenant)
        pairs = [
            rows_of(generated, by.tenant, self._records.keyring, owners[generated.spec.owner])
            for generated in batch
        ]
        self._foreign.require_apart([version for _, version in pairs])
        now = self._clock.now()
        changes = ChangeSet(
            requires=tuple(owner.require for owner in owners.values() if owner.require is not None),
            puts=tuple(put for key, version in pairs for put in (key_put(key), version_put(version))),
            events=tuple(created_event(key, version, by.actor, now) for key, version in pairs),
        ).with_rows(beside([key for key, _ in pairs]))
        try:
            self._records.commit(changes)
        except ConflictError:
            self._foreign.explain([version for _, version in pairs])
            # Not retried: a key must not be handed out to an owner who was revoked while it was being issued.
            raise ConflictError(
                "the key is stored already, or its owner was revoked meanwhile",
                fix="Look at the owner; issue a new key if it should have one.",
            ) from None
        return [key for key, _ in pairs]

    def _require_issuable(self, batch: Sequence[Storable], by: Principal) -> None:
        if not isinstance(batch, Sequence) or not all(isinstance(each, Storable) for each in batch):
            raise InvalidInputError(
                "only generated keys are stored", fix="Make them with SecureKeyGenerator, and give a list."
            )
        if not 1 <= len(batch) <= MAX_EVENTS:
            raise InvalidInputError(f"a batch has 1 to {MAX_EVENTS} keys, not {len(batch)}")
        if len({generated.key_id for generated in batch}) < len(batch):
            raise InvalidInputError("a key is in the batch twice", fix="Generate another one.")
        for generated in batch:
            by.require_grantable(generated.spec.permissions, generated.spec.scope)
        for policy_id in {generated.spec.rotation_policy_id for generated in batch} - {None}:
            self._keys.policy(by.tenant, str(policy_id))
        published = sum(generated.spec.published_for is not None for generated in batch)
        if published:
            PublishedRoom(self._records, self._clock.now()).require_for_new(by.tenant, published)

    def require_new(self, batch: Sequence[Storable]) -> None:
        """ConflictError where the token of one was issued in this very store."""
        self._foreign.require_new(batch)

    def _owners(self, batch: Sequence[Storable], tenant: str) -> dict[str | None, OwnerAtIssue]:
        owners: dict[str | None, OwnerAtIssue] = {None: OwnerAtIssue()}
        named = sorted({generated.spec.owner for generated in batch if generated.spec.owner is not None})
        for owner, found in zip(named, self._keys.owners(tenant, named), strict=True):
            row_id = self._keys.owner_row_id(tenant, owner)
            owners[owner] = (
                OwnerAtIssue(0, Require(row_id, 0))
                if found is None
                else OwnerAtIssue(found.epoch, Require(row_id, found.revision))
            )
        return owners


def rows_of(generated: Storable, tenant: str, keyring: Keyring, owner: OwnerAtIssue) -> tuple[Key, Version]:
    """The key and its first version."""
    spec, at = generated.spec, generated.created_at
    key = Key(
        key_id=generated.key_id,
        tenant=tenant,
        type=spec.type,
        scope=spec.scope,
        length=spec.length,
        algorithm=spec.algorithm,
        state_changed_at=at,
        name=spec.name,
        owner=spec.owner,
        owner_row=None if owner.require is None else owner.require.id,
        owner_epoch=owner.epoch,
        prefix=spec.prefix,
        permissions=spec.permissions,
        allowed_ips=spec.allowed_ips,
        metadata=spec.metadata,
        tags=spec.tags,
        recoverable=spec.recoverable,
        created_at=at,
        updated_at=at,
        not_before=spec.not_before,
        expires_at=spec.expires_at,
        profile=spec.profile,
        rotation_policy_id=spec.rotation_policy_id,
        published_for=spec.published_for,
    )
    material = _sealed_material(generated, tenant, keyring)
    version = Version(
        key_id=generated.key_id,
        tenant=tenant,
        number=1,
        type=spec.type,
        state_changed_at=at,
        custody=None if material is None else SEALED,
        algorithm=spec.algorithm,
        created_at=at,
        material=material,
    )
    return key, _with_credential(version, generated, keyring)


def _with_credential(version: Version, stored: Storable, keyring: Keyring) -> Version:
    if isinstance(stored, GeneratedKey):
        return replace(
            version,
            credential_id=stored.credential_id,
            digest=stored.digest,
            public_key=stored.public_key,
        )
    hashed = stored.hashed
    digest = keyed_digest(keyring, hashed, stored.hash.reveal_bytes()) if hashed.is_keyed else None
    return replace(version, credential_id=handle_of(keyring, stored), hashed=hashed, digest=digest)


def created_event(key: Key, version: Version, actor: str, now: datetime) -> Event:
    """What the log says of a new key."""
    return Event(
        type=EventType.KEY_CREATED,
        time=now,
        tenant=key.tenant,
        actor=actor,
        subjects=(key.key_id,),
        rows=(key.row_id, version.row_id),
        details={} if version.hashed is None else {"imported": version.hashed.value},
    )


def _sealed_material(stored: Storable, tenant: str, keyring: Keyring) -> bytes | None:
    """The secret, sealed, where it may come back; of an imported token the hash that has to be computed."""
    material = _hash_to_compute(stored) if isinstance(stored, ImportedToken) else _coming_back(stored)
    if material is None:
        return None
    return seal_material(keyring, material, associated_data(tenant, stored.key_id, 1, stored.spec.type))


def _hash_to_compute(imported: ImportedToken) -> Secret | None:
    if imported.hashed is Hashed.SEALED:
        return imported.hash
    return imported.secret if imported.spec.recoverable else None


def _coming_back(generated: GeneratedKey) -> Secret | None:
    spec = generated.spec
    if spec.type.is_token and not spec.recoverable:
        return None
    return raw_material(spec.type, generated.secret, generated.public_key)


def raw_material(key_type: KeyType, secret: Secret, public_key: bytes | None) -> Secret:
    """What is sealed of a secret: a token as it is, a private key's DER, an HMAC key's bytes."""
    if public_key is not None:
        return Secret(private_der_of(secret))
    return secret if key_type.is_token else Secret(from_base64url(secret.reveal()))
