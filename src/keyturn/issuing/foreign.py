"""What becomes of tokens that were issued elsewhere where they are stored: each one once, over all tenants."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from keyturn.crypto.digests import token_digest
from keyturn.domain import token
from keyturn.domain.bodies import version_from
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.key import Hashed, Version
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError
from keyturn.records.records import Records

Storable = GeneratedKey | ImportedToken

_TAKEN: Final = "Revoke or update the key that it is kept under; a token is imported once."
_LONGER: Final = "Import it with a longer start, which no other token begins with."


class ForeignConflicts:
    """Refuses tokens that the store has already, and says which."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def require_new(self, batch: Sequence[Storable]) -> None:
        """ConflictError for a token that was issued in this very store, as which it is looked up."""
        for number, imported in enumerate(batch):
            if not isinstance(imported, ImportedToken) or imported.secret is None:
                continue
            text = imported.secret.reveal()
            parsed = token.parse(text)
            rows = None if parsed is None else self._records.read_credential(parsed.credential_id)
            if rows is None:
                continue
            found = version_from(self._records.open_sealed(rows.version).body, rows.version.material)
            if found.digest is not None and hmac.compare_digest(found.digest, token_digest(text)):
                raise ConflictError(
                    f"{_which(number, batch)} was issued in this store", fix="Leave it: it is good as it is."
                )

    def require_apart(self, versions: Sequence[Version]) -> None:
        """ConflictError where two of these would be looked up alike."""
        seen: set[str] = set()
        for number, version in enumerate(versions):
            if version.hashed is None or version.credential_id is None:
                continue
            if version.credential_id in seen:
                raise _conflict(version, _which(number, versions), "is there twice")
            seen.add(version.credential_id)

    def explain(self, versions: Sequence[Version]) -> None:
        """After a conflict: ConflictError that names the token which the store has already, if that was it."""
        handles = [version.credential_id for version in versions if version.hashed and version.credential_id]
        if not handles:
            return
        taken = {
            self._records.open_sealed(rows.version).body.get("credential_id")
            for rows in self._records.read_credentials(handles)
        }
        for number, version in enumerate(versions):
            if version.hashed is not None and version.credential_id in taken:
                raise _conflict(version, _which(number, versions), "has been imported already") from None


def _conflict(version: Version, which: str, problem: str) -> ConflictError:
    if version.hashed is Hashed.SEALED:
        return ConflictError(f"{which}, or another one with the same start, {problem}", fix=_LONGER)
    return ConflictError(f"{which} {problem}", fix=_TAKEN)


def _which(number: int, batch: Sequence[object]) -> str:
    return "the token" if len(batch) == 1 else f"the token of item {number}"
