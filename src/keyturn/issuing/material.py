"""Opening sealed material."""

from __future__ import annotations

from keyturn.crypto.sealing import associated_data, open_material
from keyturn.domain.key import Key, Version
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, NotRecoverableError
from keyturn.records.records import Records


def material_of(records: Records, key: Key, version: Version) -> Secret:
    """The material of a version whose sealed body says that it has some; NotRecoverableError where it has none."""
    if version.custody is None:
        raise NotRecoverableError("the secret of this key cannot come back")
    aad = associated_data(key.tenant, key.key_id, version.number, key.type)
    try:
        return open_material(records.keyring, version.material or b"", aad)
    except IntegrityError as error:
        raise records.refuse(version.row_id, key.tenant, str(error)) from None
