"""Finding a key for a caller: checked rows in, domain values out, another tenant's key as if it did not exist."""

from __future__ import annotations

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

    def version(self, key: Key, number: int) -> Version:
        """One version of a key; IntegrityError if it is missing, for a key's row names only versions that exist."""
        row_id = version_row_id(key.key_id, number)
        opened = self._records.get(row_id)
        if opened is None or opened.body["key"] != key.key_id or opened.body["tenant"] != key.tenant:
            raise self._records.refuse(row_id, key.tenant, "a version of the key is missing")
        return version_from(opened.body, opened.row.material)

    def owner_row_id(self, tenant: str, owner: str) -> str:
        """The id of an owner's row: a pseudonym, so that the log holds no personal data."""
        return build(OWNER, self._records.keyring.pseudonym("owner", tenant, owner))

    def owner(self, tenant: str, owner: str) -> Owner | None:
        """The owner's row; None for one that was never revoked."""
        opened = self._records.get(self.owner_row_id(tenant, owner))
        if opened is None:
            return None
        found = owner_from(opened.body)
        if (found.tenant, found.id) != (tenant, owner):
            raise IntegrityError("an owner's row names another owner")
        return found
