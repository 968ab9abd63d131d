"""The status of a key as such: what a verification would say of its state and its time."""

from __future__ import annotations

from typing import Final

from keyturn.domain.key import Key, Owner, Version
from keyturn.domain.verdict import Code, KeyCheck
from keyturn.verifier.decision import NO_DEMAND, judge
from keyturn.verifier.entries import NO_OWNER, Entry

_MESSAGES: Final = {
    Code.VALID: "the key is active",
    Code.NOT_YET_VALID: "the key is not valid yet",
    Code.EXPIRED: "the key has expired",
    Code.SUSPENDED: "the key is suspended",
    Code.REVOKED: "the key has been revoked",
}


def status(key: Key, version: Version, owner: Owner | None, now: int) -> KeyCheck:
    """Whether the key would be accepted at `now` (nanoseconds since the epoch), with a sentence for people."""
    entry = Entry(version, key, owner, NO_OWNER)
    entry.networks = None
    code = judge(entry, NO_DEMAND, None, now)
    return KeyCheck(code is Code.VALID, _MESSAGES[code])
