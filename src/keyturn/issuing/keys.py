"""Finding a key for a caller: checked rows in, domain values out, another tenant's key as if it did not exist."""

from __future__ import annotations

from collections.abc import Sequence

from keyturn.domain.bodies import key_from, owner_from, version_from
from keyturn.domain.ids import KEY, OWNER, build, is_id, version_row_id
from keyturn.domain.key import Key, Owner, Version
from keyturn.errors import IntegrityError, InvalidInputError, NotFoundError
from keyturn.issuing.turns import Turns
from keyturn.records.records import Records


class Keys:
    """Reads keys, versions and owners.

    Attributes:
        turns: in which this process changes them.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.turns = Turns()

    def get(self, tenant: str, key_id: str) -> Key:
        """The key; NotFoundError for an unknown id and for another tenant's alike."""
        if not is_id(KEY, key_id):
            raise InvalidInputError(
                "that is no key_id", field="key_id", fix="A key_id is 'key_' and 22 letters and digits."
            )
        opened = self._records.get(key_id)
        if opened is None or opened.body["tenant"] != tenant:
            raise NotFoundError("there is no such key")
        return key_from(opened.body)

    def parts(self, tenant: str, key_id: str, number: int | None = None) -> tuple[Key, Version, Owner | None]:
        """All that a key's standing depends on: the key, a version, its owner if that was ever revoked.

        The version is the one of that number, the present one when absent. NotFoundError as for `get`, and for a number
        that there is not.
        """
        key = self.get(tenant, key_id)
        if number is not None and type(number) is not int:
            raise InvalidInputError("a version is a whole number", field="version")
        if number is not None and not 1 <= number <= key.version:
            raise NotFoundError("the key has no version of that number")
        owner = None if key.owner is None else self.owner(tenant, key.owner)
        return key, self.version(key, number or key.version), owner

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
