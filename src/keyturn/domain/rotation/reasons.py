"""Why rotations ended or stand still, and why policies do: closed codes for programs, each beside a text for people.

`docs/formats/rotation.md` lists the codes. A row may have one that only a newer program knows: it is read as the text
that it is, for whoever ended or paused something must be able to say why without locking older programs out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from keyturn.domain.body_parts import Body, Members


class Outcome(Enum):
    """How a rotation ended; NOT_BEGUN is for one that never was, which only the log knows of."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    NOT_VERIFYING = "not_verifying"
    CHECK_REFUSED = "check_refused"
    SUPERSEDED = "superseded"
    COMPROMISED = "compromised"
    KEY_EXPIRED = "key_expired"
    KEY_ENDED = "key_ended"
    OWNER_REVOKED = "owner_revoked"
    NOT_BEGUN = "not_begun"


class PauseCode(Enum):
    """Why a rotation stands still."""

    REQUESTED = "requested"
    NOT_VERIFYING = "not_verifying"
    CHECK_REFUSED = "check_refused"


class PolicyPauseCode(Enum):
    """Why no rotation begins by a policy."""

    REQUESTED = "requested"
    NOT_TAKEN_UP = "not_taken_up"


_C = TypeVar("_C", bound=Enum)


@dataclass(frozen=True, slots=True)
class Reason(Generic[_C]):
    """A code, and a short text of the program that says more; no personal data.

    `code` is a plain text where this program does not know it.
    """

    code: _C | str
    text: str

    @property
    def name(self) -> str:
        """The code as rows and answers have it."""
        return self.code if isinstance(self.code, str) else str(self.code.value)


def reason_body(reason: Reason[Any]) -> Body:
    """The members that a row has of a reason."""
    return {"code": reason.name, "text": reason.text}


def reason_from(members: Members, kind: type[_C]) -> Reason[_C]:
    """The reason that is all that is left of these members."""
    code, text = members.take("code", str), members.take("text", str)
    members.finish()
    known: _C | None = next((each for each in kind if each.value == code), None)
    return Reason(code if known is None else known, text)


POLICY_PAUSED_BY_SOMEBODY: Final = Reason(PolicyPauseCode.REQUESTED, "somebody paused it")
PAUSED_BY_SOMEBODY: Final = Reason(PauseCode.REQUESTED, "somebody paused it")
