"""Keys, versions and owners as the verifier gets them from rows, and entries made of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from keyturn.domain.key import Key, KeyLength, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.verifier.entries import NO_OWNER, Entry, Standing

AT: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
NANOS: Final = 1_772_366_400 * 1_000_000_000
ENDED: Final = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)


def key_id_of(number: int) -> str:
    return f"key_{number:022}"


def key_of(number: int = 1, /, **members: Any) -> Key:
    """An active key without restrictions, unless `members` say otherwise; an ended one was revoked."""
    state = members.get("state", KeyState.ACTIVE)
    given: dict[str, Any] = {
        "key_id": key_id_of(number),
        "tenant": "default",
        "type": KeyType.API_TOKEN,
        "scope": KeyScope.READ,
        "length": KeyLength.BITS_256,
        "state_changed_at": AT,
        "created_at": AT,
        "updated_at": AT,
        "reason": RevocationReason.UNSPECIFIED if state in ENDED else None,
        **members,
    }
    return Key(**given)


def version_of(number: int = 1, /, **members: Any) -> Version:
    """The first version of key `number`, active."""
    given: dict[str, Any] = {
        "key_id": key_id_of(number),
        "tenant": "default",
        "number": 1,
        "type": KeyType.API_TOKEN,
        "state_changed_at": AT,
        "credential_id": f"{number:016}",
        "digest": digest_of(number),
        "created_at": AT,
        **members,
    }
    return Version(**given)


def digest_of(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def owner_of(epoch: int) -> Owner:
    """An owner that was revoked so many times."""
    return Owner(
        row_id=OWNER_ROW,
        tenant="default",
        id="acme",
        revision=epoch,
        epoch=epoch,
        revoked_at=AT,
        reason=RevocationReason.UNSPECIFIED,
    )


OWNER_ROW: Final = f"own_{0:022}"


def entry_of(
    number: int = 1,
    /,
    *,
    standing: Standing = NO_OWNER,
    version: dict[str, Any] | None = None,
    **members: Any,
) -> Entry:
    """What the verifier keeps of key `number`."""
    return Entry(version_of(number, **(version or {})), key_of(number, **members), None, standing)
