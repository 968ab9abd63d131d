"""Which versions of a key others may verify with, and until when: what a JSON Web Key Set (RFC 7517) shows.

A key that has `published_for` is in its tenant's set. Its next version is there for LEAD before it signs, and one that
signs no more stays for `published_for`, which is the longest that anything it signed may last.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from keyturn.domain.key import Algorithm, Key, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.errors import InvalidInputError

CACHE_SECONDS: Final = 300  # for which whoever fetches a set may keep it (RFC 9111, max-age)
# A verifier's own cache may be filled from one that stands between, so there are two in a row; the third is for clocks
# that differ and for nodes that are behind.
LEAD_SECONDS: Final = 3 * CACHE_SECONDS
MAX_PUBLISHED_FOR: Final = 31_622_400  # seconds: a leap year
MAX_PUBLISHED_KEYS: Final = 100  # of one tenant in its set, those that have ended included
MAX_PUBLISHED_VERSIONS: Final = 400  # of all its keys together: 600 KB, were each an RSA key of 8,192 bits
MAX_VERSIONS_LOOKED_AT: Final = 100  # of one key, the newest; none that is shown may be older
ALWAYS: Final = datetime.max.replace(tzinfo=UTC)


def check_published_for(seconds: int) -> int:
    """Seconds from 1 to a leap year; InvalidInputError otherwise."""
    if type(seconds) is not int or not 1 <= seconds <= MAX_PUBLISHED_FOR:
        raise InvalidInputError(
            f"published_for is a whole number of seconds from 1 to {MAX_PUBLISHED_FOR:,}",
            field="published_for",
            fix="Give the longest that anything it signs is to last; leave it out for a key that is not published.",
        )
    return seconds


def check_may_be_published(key_type: KeyType, algorithm: Algorithm | None, published_for: int | None) -> None:
    """InvalidInputError for a key of which there is nothing that everybody may see."""
    if published_for is not None and (key_type.is_token or algorithm is None or algorithm.is_symmetric):
        signing = "" if algorithm is None else f" with {algorithm.value}"
        raise InvalidInputError(
            f"a key of type {key_type.value}{signing} has no public half to publish",
            field="published_for",
            fix="Leave it out, or use a key of type jwt, rsa or ecdsa that does not sign with a shared secret.",
        )


def is_in_set(key: Key, now: datetime) -> bool:
    """Whether a key takes up room in its tenant's set: one that is suspended may be back at any time."""
    if key.published_for is None or key.state in (KeyState.COMPROMISED, KeyState.DESTROYED):
        return False
    until = _until(_ends_of(key), key.published_for)
    return now < until


def shown_until(key: Key, version: Version, owner: Owner | None) -> datetime | None:
    """Until when a version of a published key is in the set, exclusive: ALWAYS while it may sign; None for not at all.

    In wrong hands, destroyed or suspended it is not there at all, for then what it signed does not count either.
    """
    is_revoked = owner is not None and owner.epoch != key.owner_epoch
    is_exposed = is_revoked and owner is not None and owner.reason is RevocationReason.KEY_COMPROMISE
    if key.published_for is None or is_exposed or not {key.state, version.state} <= _SHOWN:
        return None
    ends = [*_ends_of(key), *_ends_of(version)]
    if is_revoked and owner is not None:
        ends.append(owner.revoked_at)
    return _until(ends, key.published_for)


def _ends_of(ending: Key | Version) -> list[datetime]:
    """When it came to its end, or will."""
    ends = [] if ending.expires_at is None else [ending.expires_at]
    return [*ends, ending.state_changed_at] if ending.state is KeyState.DEACTIVATED else ends


def _until(ends: list[datetime], published_for: int) -> datetime:
    ended = min(ends, default=ALWAYS)
    return ended + timedelta(seconds=published_for) if ended < _LATEST else ALWAYS


_SHOWN: Final = frozenset((KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.DEACTIVATED))
_LATEST: Final = ALWAYS - timedelta(seconds=MAX_PUBLISHED_FOR)
