"""The states of a key and of each of its versions, after NIST SP 800-57 part 1, section 7, and how they change.

    pre_active ── activate ──> active <── resume ── suspended
        │                        │ └──── suspend ────> │
        └───── deactivate ───────┴───── deactivate ────┘──> deactivated ── compromise ──> compromised
    compromise: from any of the four; destroy: from anything but destroyed

Where Keyturn differs from the standard it is stricter or only quicker:

- *suspended* and *compromised* keys process nothing. The standard lets a recorded risk decision allow it; there is no
  place to record one here.
- *pre_active* may be deactivated: a key that is revoked before its time is refused for good, with its history.
- *destroy* is allowed from every state, as the standard has it for most (pre_active, active and suspended to destroyed
  are transitions 2, 5 and 9 of revision 4); it is not reserved to some types of keys, because whoever must be rid of a
  key now should not need two calls, of which the second can fail.
- *destroyed* is the end: a compromise that comes to light later is an entry in the log, not a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from keyturn.errors import IllegalTransitionError, InvalidInputError


class KeyState(Enum):
    """Where a key or a version stands, from the most usable on; expiry is no state but computed from the time."""

    PRE_ACTIVE = "pre_active"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class Act(Enum):
    """What changes a state."""

    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    DEACTIVATE = "deactivate"
    COMPROMISE = "compromise"
    DESTROY = "destroy"


class RevocationReason(Enum):
    """Why a key was revoked: the names of RFC 5280, section 5.3.1.

    certificateHold and removeFromCRL are left out, for they revoke nothing: here they are suspending and resuming.
    """

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


_ENDS: Final = {Act.COMPROMISE: KeyState.COMPROMISED, Act.DESTROY: KeyState.DESTROYED}
_STOPS: Final = {Act.DEACTIVATE: KeyState.DEACTIVATED, **_ENDS}

TRANSITIONS: Final[Mapping[KeyState, Mapping[Act, KeyState]]] = MappingProxyType(
    {
        KeyState.PRE_ACTIVE: {Act.ACTIVATE: KeyState.ACTIVE, **_STOPS},
        KeyState.ACTIVE: {Act.SUSPEND: KeyState.SUSPENDED, **_STOPS},
        KeyState.SUSPENDED: {Act.RESUME: KeyState.ACTIVE, **_STOPS},
        KeyState.DEACTIVATED: dict(_ENDS),
        KeyState.COMPROMISED: {Act.DESTROY: KeyState.DESTROYED},
        KeyState.DESTROYED: {},
    }
)

# By how final a state is. What a token's holder is told follows it: revoked for good outweighs suspended for now.
_STRICTNESS: Final = (
    KeyState.ACTIVE,
    KeyState.PRE_ACTIVE,
    KeyState.SUSPENDED,
    KeyState.DEACTIVATED,
    KeyState.COMPROMISED,
    KeyState.DESTROYED,
)
_RANK: Final = {state: rank for rank, state in enumerate(_STRICTNESS)}


def next_state(state: KeyState, act: Act) -> KeyState:
    """The state after `act`; IllegalTransitionError, which names the acts that are possible, where it is not one."""
    possible = TRANSITIONS[state]
    if act in possible:
        return possible[act]
    acts = ", ".join(other.value for other in possible) or "nothing"
    raise IllegalTransitionError(f"a key that is {state.value} cannot {_PASSIVE[act]}; possible: {acts}")


_PASSIVE: Final = {
    Act.ACTIVATE: "be activated",
    Act.SUSPEND: "be suspended",
    Act.RESUME: "be resumed",
    Act.DEACTIVATE: "be deactivated",
    Act.COMPROMISE: "be marked as compromised",
    Act.DESTROY: "be destroyed",
}


def stricter(first: KeyState, second: KeyState) -> KeyState:
    """The stricter of a key's state and its version's: the more final one.

    It says what to answer. For what a signing key may still do ask `may_protect` and `may_process` with both states:
    a suspended key with a deactivated version is *deactivated* here, yet verifies nothing while the key is suspended.
    """
    return first if _RANK[first] >= _RANK[second] else second


def may_protect(*states: KeyState) -> bool:
    """Whether something new may be signed, or a token accepted: all states, of key and version, are active."""
    if not states:
        raise ValueError("no state would admit every key")
    return all(state is KeyState.ACTIVE for state in states)


def may_process(*states: KeyState) -> bool:
    """Whether what was protected before may be verified or decrypted: all states are active or deactivated."""
    if not states:
        raise ValueError("no state would admit every key")
    return all(state in (KeyState.ACTIVE, KeyState.DEACTIVATED) for state in states)


def act_for(reason: RevocationReason) -> Act:
    """The act that a revocation is: only keyCompromise says that the key itself is in wrong hands."""
    return Act.COMPROMISE if reason is RevocationReason.KEY_COMPROMISE else Act.DEACTIVATE


def parse_reason(text: str) -> RevocationReason:
    """The reason of that name, exactly as written; InvalidInputError that lists the names otherwise."""
    try:
        return RevocationReason(text)
    except ValueError:
        names = ", ".join(reason.value for reason in RevocationReason)
        raise InvalidInputError(
            "no such revocation reason", field="reason", fix=f"Use one of: {names}."
        ) from None
