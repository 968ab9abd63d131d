"""Issuing: a generated key becomes rows and an event, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keyturn.crypto.sealing import associated_data, seal_material
from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.change import MAX_EVENTS, ChangeSet, Event, EventType, Require
from keyturn.domain.key import Key, Version
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.issuing.keys import Keys
from keyturn.ports.clock import Clock
from keyturn.records.records import Records

SEALED: Final = "sealed"  # custody: encrypted, in the version's row


class Issuer:
    """Stores generated keys."""

    def __init__(self, *, records: Records, keys: Keys, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock

    def issue(self, generated: GeneratedKey, by: Principal) -> Key:
        """Store one key. ConflictError if it is stored already or its owner was revoked meanwhile."""
        return self.issue_all((generated,), by)[0]

    def issue_all(self, batch: Sequence[GeneratedKey], by: Principal) -> list[Key]:
        """Store 1 to 1,000 keys, all or none.

        ForbiddenError when one would hold more than the caller; ConflictError as for `issue`.
        """
        if not 1 <= len(batch) <= MAX_EVENTS:
            raise InvalidInputError(f"a batch has 1 to {MAX_EVENTS} keys, not {len(batch)}")
        for generated in batch:
            by.require_grantable(generated.spec.permissions, generated.spec.scope)
        epochs = self._owner_epochs(batch, by.tenant)
        keys = [self._key(generated, by.tenant, epochs) for generated in batch]
        versions = [self._version(generated, by.tenant) for generated in batch]
        changes = ChangeSet(
            requires=tuple(require for _, require in epochs.values()),
            puts=tuple(key_put(key) for key in keys) + tuple(version_put(version) for version in versions),
            events=tuple(self._event(*pair, by) for pair in zip(keys, versions, strict=True)),
        )
        try:
            self._records.commit(changes)
        except ConflictError:
            # Not retried: a key must not be handed out to an owner who was revoked while it was being issued.
            raise ConflictError(
                "the key is stored already, or its owner was revoked meanwhile",
                fix="Look at the owner; issue a new key if it should have one.",
            ) from None
        return keys

    def _owner_epochs(self, batch: Sequence[GeneratedKey], tenant: str) -> dict[str, tuple[int, Require]]:
        """For each owner in the batch: the epoch, and what must still hold of the owner's row at the commit."""
        epochs = {}
        for owner in {generated.spec.owner for generated in batch} - {None}:
            assert owner is not None
            row_id, found = self._keys.owner_row_id(tenant, owner), self._keys.owner(tenant, owner)
            epochs[owner] = (
                0 if found is None else found.epoch,
                Require(row_id, 0 if found is None else found.revision),
            )
        return epochs

    def _key(self, generated: GeneratedKey, tenant: str, epochs: dict[str, tuple[int, Require]]) -> Key:
        spec, at = generated.spec, generated.created_at
        epoch, require = epochs[spec.owner] if spec.owner is not None else (0, None)
        return Key(
            key_id=generated.key_id,
            tenant=tenant,
            type=spec.type,
            scope=spec.scope,
            length=spec.length,
            state_changed_at=at,
            name=spec.name,
            owner=spec.owner,
            owner_row=None if require is None else require.id,
            owner_epoch=epoch,
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
        )

    def _version(self, generated: GeneratedKey, tenant: str) -> Version:
        spec = generated.spec
        comes_back = spec.recoverable or not spec.type.is_token
        material = None
        if comes_back:
            secret = generated.secret
            raw = secret if spec.type.is_token else Secret(from_base64url(secret.reveal()))
            aad = associated_data(tenant, generated.key_id, 1, spec.type)
            material = seal_material(self._records.keyring, raw, aad)
        return Version(
            key_id=generated.key_id,
            tenant=tenant,
            number=1,
            type=spec.type,
            state_changed_at=generated.created_at,
            credential_id=generated.credential_id,
            digest=generated.digest,
            custody=SEALED if comes_back else None,
            created_at=generated.created_at,
            material=material,
        )

    def _event(self, key: Key, version: Version, by: Principal) -> Event:
        return Event(
            type=EventType.KEY_CREATED,
            time=self._clock.now(),
            tenant=key.tenant,
            actor=by.actor,
            subjects=(key.key_id,),
            rows=(key.row_id, version.row_id),
        )
