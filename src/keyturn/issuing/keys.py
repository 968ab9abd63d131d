"""Finding a key for a caller: checked rows in, domain values out, another tenant's key as if it did not exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keyturn.domain.bodies import key_from, owner_from, version_from
from keyturn.domain.fields import check_key_id, check_policy_id
from keyturn.domain.ids import OWNER, POLICY, ROTATION, build, is_id, version_row_id
from keyturn.domain.key import Key, Owner, Version
from keyturn.domain.lifecycle import may_protect
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy_bodies import policy_from
from keyturn.domain.rotation.rotation import Rotation
from keyturn.errors import IntegrityError, InvalidInputError, NotFoundError, StorageBusyError
from keyturn.issuing.turns import Turns
from keyturn.records.records import Records

_READS: Final = 20  # of a key and what belongs to it, each overtaken by a change, before a reader gives up


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """A key with what its use depends on, all as it was at one moment.

    Attributes:
        versions: by number: the one that serves and the newest, and those that were asked for.
        owner: the owner's row; None for one that was never revoked.
        rotation: the one that is under way.
    """

    key: Key
    versions: Mapping[int, Version]
    owner: Owner | None
    rotation: Rotation | None

    @property
    def is_owner_revoked(self) -> bool:
        """Whether the owner was revoked after the key was issued."""
        return self.owner is not None and self.owner.epoch != self.key.owner_epoch

    def is_in_service(self, version: Version, now: datetime) -> bool:
        """Whether the key may be used for something new with this version now, its owner left aside."""
        key = self.key
        is_early = key.not_before is not None and now < key.not_before
        return not is_early and not key.is_expired(now) and may_protect(key.state, version.state)


class Keys:
    """Reads keys and what they name: versions, owners, rotations and rotation policies.

    Attributes:
        turns: in which this process changes them.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.turns = Turns()

    def get(self, tenant: str, key_id: str) -> Key:
        """The key; NotFoundError for an unknown id and for another tenant's alike."""
        opened = self._records.get(check_key_id(key_id))
        if opened is None or opened.body["tenant"] != tenant:
            raise NotFoundError("there is no such key")
        return key_from(opened.body)

    def version(self, key: Key, number: int) -> Version:
        """One version of a key; IntegrityError if it is missing, for a key's row names only versions that exist."""
        return self.versions(key, (number,))[0]

    def versions(self, key: Key, numbers: Sequence[int]) -> list[Version]:
        """These versions (at most 1,000) of a key, in order; IntegrityError as for one."""
        row_ids = [version_row_id(key.key_id, number) for number in numbers]
        versions = []
        for row_id, opened in zip(row_ids, self._records.get_many(row_ids), strict=True):
            if opened is None or opened.body["key"] != key.key_id or opened.body["tenant"] != key.tenant:
                raise self._records.refuse(row_id, key.tenant, "a version of the key is missing")
            versions.append(version_from(opened.body, opened.row.material))
        return versions

    def together(self, tenant: str, key_id: str, numbers: Sequence[int] = ()) -> Together:
        """A key and what belongs to it at one moment, with the versions of these numbers too.

        Errors as for `get`; NotFoundError also for a number that the key has no version of. StorageBusyError where the
        key changes faster than it can be read.
        """
        key = self.get(tenant, key_id)
        if not all(type(number) is int for number in numbers):
            raise InvalidInputError("a version is a whole number", field="version")
        for _ in range(_READS):
            if not all(1 <= number <= key.newest_version for number in numbers):
                raise NotFoundError("the key has no version of that number")
            found = self._together(key, {key.version, key.newest_version, *numbers})
            if found.key.revision == key.revision:
                return found
            key = found.key
        raise StorageBusyError("the key changes faster than it can be read")

    def _together(self, key: Key, numbers: set[int]) -> Together:
        ids = {number: version_row_id(key.key_id, number) for number in numbers}
        others = [row_id for row_id in (key.owner_row, key.rotation) if row_id is not None]
        wanted = [key.row_id, *ids.values(), *others]
        rows = dict(zip(wanted, self._records.get_many(wanted), strict=True))
        owner = None if key.owner_row is None else rows[key.owner_row]
        rotation = None if key.rotation is None else rows[key.rotation]
        versions = {number: rows[row_id] for number, row_id in ids.items()}
        present = rows[key.row_id]
        for row_id, opened in rows.items():
            if opened is None and row_id != key.owner_row:
                raise self._records.refuse(row_id, key.tenant, "what the key names is missing")
        assert present is not None
        return Together(
            key=key_from(present.body),
            versions={
                number: version_from(opened.body, opened.row.material)
                for number, opened in versions.items()
                if opened is not None
            },
            owner=None if owner is None else self._owner_of(key, owner_from(owner.body)),
            rotation=None if rotation is None else rotation_from(rotation.body),
        )

    def _owner_of(self, key: Key, owner: Owner) -> Owner:
        if (owner.tenant, owner.id) != (key.tenant, key.owner):
            raise IntegrityError("an owner's row names another owner")
        return owner

    def rotation(self, tenant: str, rotation_id: str) -> Rotation:
        """A rotation; NotFoundError for an unknown id and for another tenant's alike."""
        if not is_id(ROTATION, rotation_id):
            raise InvalidInputError(
                "that is no id of a rotation",
                field="rotation_id",
                fix="A rotation's id is 'rot_' and 22 letters and digits.",
            )
        opened = self._records.get(rotation_id)
        if opened is None or opened.body["tenant"] != tenant:
            raise NotFoundError("there is no such rotation")
        return rotation_from(opened.body)

    def policy_row_id(self, tenant: str, policy_id: str) -> str:
        """The id of a policy's row."""
        return build(POLICY, self._records.keyring.pseudonym("policy", tenant, check_policy_id(policy_id)))

    def kept_policy(self, tenant: str, policy_id: str) -> KeptPolicy | None:
        """A policy's row, be it deleted; None where there never was one of that name."""
        opened = self._records.get(self.policy_row_id(tenant, policy_id))
        kept = None if opened is None else policy_from(opened.body)
        if kept is not None and (kept.tenant, kept.policy.policy_id) != (tenant, policy_id):
            raise IntegrityError("a policy's row names another policy")
        return kept

    def policy(self, tenant: str, policy_id: str) -> KeptPolicy:
        """A policy; NotFoundError for one that does not exist, or not any more."""
        kept = self.kept_policy(tenant, policy_id)
        if kept is None or kept.is_deleted:
            raise NotFoundError(
                "there is no such rotation policy", fix="Create it first, or list those that there are."
            )
        return kept

    def owner_row_id(self, tenant: str, owner: str) -> str:
        """The id of an owner's row: a pseudonym, so that the log holds no personal data."""
        return build(OWNER, self._records.keyring.pseudonym("owner", tenant, owner))

    def owner(self, tenant: str, owner: str) -> Owner | None:
        """The owner's row; None for one that was never revoked."""
        return self.owners(tenant, (owner,))[0]

    def owners(self, tenant: str, owners: Sequence[str]) -> list[Owner | None]:
        """The rows of these owners (at most 1,000), in order; None for each that was never revoked."""
        if not owners:
            return []  # without a read of the log
        opened = self._records.get_many([self.owner_row_id(tenant, owner) for owner in owners])
        found = [None if row is None else owner_from(row.body) for row in opened]
        for owner, row in zip(owners, found, strict=True):
            if row is not None and (row.tenant, row.id) != (tenant, owner):
                raise IntegrityError("an owner's row names another owner")
        return found
