"""A history of keys: issued, narrowed, suspended, resumed, revoked, destroyed, their owners revoked; all recorded.

After each step the tables are read by somebody else, so that every row and every whole store that ever was can be put
back later. `CAST` says of each key what an honest store answers at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest

from keyturn.bootstrap import Node
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.principal import LIBRARY_ACTOR, Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import StorageError
from keyturn.issuing.keys import Keys
from keyturn.issuing.lifecycle import Lifecycle
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.ledger import Ledger, Row
from tests.security.attacker import Attacker, Image

BEGINNING: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP: Final = timedelta(minutes=1)
OTHER_TENANT: Final = "other"


class HandClock:
    """Stands still unless it is moved; its steady time goes on by a microsecond with each look, as a real one would."""

    def __init__(self, at: datetime = BEGINNING) -> None:
        self._at = at
        self._steady = 1_000.0

    def now(self) -> datetime:
        return self._at

    def nanos(self) -> int:
        return int(self._at.timestamp()) * 1_000_000_000

    def steady(self) -> float:
        self._steady += 1e-6
        return self._steady

    def move(self, by: timedelta) -> None:
        """Let time pass, or turn it back, on the wall alone."""
        self._at += by

    def wait(self, seconds: float) -> None:
        """Let time pass on both."""
        self._at += timedelta(seconds=seconds)
        self._steady += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A key of the history.

    Attributes:
        issue: what it was issued with, beside the usual.
        answer: what its token is told in the end, whatever it asks for; None for `valid`, but for what `refused` says.
        refused: by probe, what an otherwise valid token is told.
        revisions, version_revisions: how many the key's row, and that of its version, has had.
    """

    label: str
    issue: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    revisions: int = 1
    version_revisions: int = 1
    tenant: str = "default"

    @property
    def owner(self) -> str | None:
        owner = self.issue.get("owner")
        assert owner is None or isinstance(owner, str)
        return owner

    @property
    def is_token(self) -> bool:
        return self.issue.get("key_type", KeyType.API_TOKEN) is not KeyType.HMAC


READER: Final = {"full scope": "insufficient_scope", "dropped permission": "insufficient_permissions"}
WIDE: Final = {"key_scope": KeyScope.FULL, "permissions": ("documents.*", "billing.read")}
INSIDE: Final = "203.0.113.0/24"

CAST: Final = (
    Member(label="plain", refused=READER),
    Member(label="powerful", issue={"key_scope": KeyScope.FULL, "permissions": ("*",)}),
    Member(label="foreign", refused=READER, tenant=OTHER_TENANT),
    Member(
        label="scope",
        issue={"key_scope": KeyScope.FULL},
        refused=READER,
        revisions=2,
    ),
    Member(
        label="permissions",
        issue={"permissions": ("documents.*", "billing.read")},
        refused=READER,
        revisions=2,
    ),
    Member(label="network", refused={**READER, "other ip": "ip_denied", "no ip": "ip_denied"}, revisions=2),
    Member(label="expiry", refused={**READER, "past expiry": "expired"}, revisions=2),
    Member(
        label="narrowed",
        issue=WIDE,
        refused={**READER, "other ip": "ip_denied", "no ip": "ip_denied", "past expiry": "expired"},
        revisions=5,
    ),
    Member(label="postponed", answer="not_yet_valid", revisions=2),
    Member(label="suspended", answer="suspended", revisions=4),
    Member(label="resumed", refused=READER, revisions=3),
    Member(label="revoked", answer="revoked", revisions=2),
    Member(label="compromised", answer="revoked", revisions=3),
    Member(label="recoverable", issue={"recoverable": True}, refused=READER),
    Member(
        label="destroyed", issue={"recoverable": True}, answer="revoked", revisions=2, version_revisions=2
    ),
    Member(label="signing", issue={"key_type": KeyType.HMAC, "permissions": ()}),
    Member(
        label="retired",
        issue={"key_type": KeyType.HMAC, "permissions": ()},
        answer="revoked",
        revisions=2,
        version_revisions=2,
    ),
    # An owner who was revoked twice, with a key of before, between and after.
    Member(label="acme-first", issue={"owner": "acme"}, answer="revoked", revisions=2),
    Member(label="acme-second", issue={"owner": "acme"}, answer="revoked", revisions=2),
    Member(label="acme-third", issue={"owner": "acme"}, refused=READER),
    # An owner whose revocation was cut off after its first commit: only the owner's row says that the key has ended.
    Member(label="bolt-first", issue={"owner": "bolt"}, answer="revoked"),
    Member(label="bolt-second", issue={"owner": "bolt"}, refused=READER),
    # An owner who was never revoked, and has no row.
    Member(label="calm", issue={"owner": "calm"}, refused=READER),
)
MEMBERS: Final = {member.label: member for member in CAST}
TOKENS: Final = tuple(member.label for member in CAST if member.is_token)
OWNER_REVISIONS: Final = {"acme": 2, "bolt": 1}

LAST_REVISIONS: Final = {
    "keyring": 1,
    **{label: member.revisions for label, member in MEMBERS.items()},
    **{f"version of {label}": member.version_revisions for label, member in MEMBERS.items()},
    **{f"owner {owner}": revisions for owner, revisions in OWNER_REVISIONS.items()},
}
"""How many revisions each row of the history has had, by what it is called here."""


def by(tenant: str = "default") -> Principal:
    """The caller of management in a tenant."""
    return Principal(actor=LIBRARY_ACTOR, tenant=tenant)


class Narrator:
    """Carries the history out on a node."""

    def __init__(self, node: Node, clock: HandClock) -> None:
        self.node = node
        self.clock = clock
        self.keys: dict[str, GeneratedKey] = {}
        self._generator = SecureKeyGenerator(clock=clock)

    def issue(self, *labels: str) -> None:
        for label in labels:
            member = MEMBERS[label]
            usual = {"key_scope": KeyScope.READ, "permissions": ("documents.read",), "name": label}
            self.keys[label] = self._generator.generate_api_key(**{**usual, **member.issue})
            self.node.issuer.issue(self.keys[label], by(member.tenant))

    def update(self, label: str, **changes: object) -> None:
        self.node.updater.update(self.keys[label].key_id, by(), changes)

    def suspend(self, label: str) -> None:
        self.node.lifecycle.suspend(self.keys[label].key_id, by())

    def resume(self, label: str) -> None:
        self.node.lifecycle.resume(self.keys[label].key_id, by())

    def revoke(self, label: str, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        self.node.lifecycle.revoke(self.keys[label].key_id, by(), reason=reason, note=f"{label} has to go")

    def destroy(self, label: str) -> None:
        self.node.lifecycle.destroy(self.keys[label].key_id, by())

    def revoke_owner(self, owner: str) -> None:
        self.node.lifecycle.revoke_owner(owner, by())

    def begin_to_revoke_owner(self, owner: str) -> None:
        """As a process does that dies after its first commit."""
        node = self.node
        ledger = cast(Ledger, _CutOff(node.ledger))
        lifecycle = Lifecycle(ledger=ledger, records=node.records, keys=Keys(node.records), clock=self.clock)
        with pytest.raises(StorageError):
            lifecycle.revoke_owner(owner, by())


class _CutOff:
    """A ledger that is gone when the keys of an owner are to be listed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def list_owned(self, *_: object) -> list[Row]:
        raise StorageError("cut off")

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


FIRST: Final = tuple(label for label in MEMBERS if label not in ("acme-second", "acme-third", "bolt-second"))

HISTORY: Final[Mapping[str, Callable[[Narrator], None]]] = {
    "keys issued": lambda it: it.issue(*FIRST),
    "scope narrowed": lambda it: it.update("scope", scope=KeyScope.READ),
    "permissions narrowed": lambda it: it.update("permissions", permissions=("documents.read",)),
    "network narrowed": lambda it: it.update("network", allowed_ips=(INSIDE,)),
    "expiry narrowed": lambda it: it.update("expiry", expires_in=3_600),
    "narrowed in scope": lambda it: it.update("narrowed", scope=KeyScope.READ),
    "narrowed in permissions": lambda it: it.update("narrowed", permissions=("documents.read",)),
    "narrowed in network": lambda it: it.update("narrowed", allowed_ips=(INSIDE,)),
    "narrowed in expiry": lambda it: it.update("narrowed", expires_in=3_600),
    "postponed": lambda it: it.update("postponed", not_before=BEGINNING + timedelta(days=30)),
    "suspended": lambda it: it.suspend("suspended"),
    "resumed": lambda it: it.resume("suspended"),
    "suspended again": lambda it: it.suspend("suspended"),
    "another suspended": lambda it: it.suspend("resumed"),
    "another resumed": lambda it: it.resume("resumed"),
    "revoked": lambda it: it.revoke("revoked"),
    "compromised": lambda it: it.revoke("compromised"),
    "known to be compromised": lambda it: it.revoke("compromised", RevocationReason.KEY_COMPROMISE),
    "token destroyed": lambda it: it.destroy("destroyed"),
    "signing key destroyed": lambda it: it.destroy("retired"),
    "owner revoked": lambda it: it.revoke_owner("acme"),
    "owner given a second key": lambda it: it.issue("acme-second"),
    "owner revoked again": lambda it: it.revoke_owner("acme"),
    "owner given a third key": lambda it: it.issue("acme-third"),
    "other owner's revocation cut off": lambda it: it.begin_to_revoke_owner("bolt"),
    "other owner given a second key": lambda it: it.issue("bolt-second"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """What happened, as somebody saw it who read the tables after each step.

    Attributes:
        moments: the whole store after each step, in order.
        held: every row that the store ever held, by what it is called and its revision.
        names: what each row is called, by its id.
        end: the whole store once the node that did all this had ended in order.
        ended_at: the time then.
    """

    keys: Mapping[str, GeneratedKey]
    moments: Mapping[str, Image]
    held: Mapping[tuple[str, int], Row]
    names: Mapping[str, str]
    end: Image
    ended_at: datetime

    def now(self, name: str) -> Row:
        """The row of this name as it is at the end."""
        return self.held[name, LAST_REVISIONS[name]]


def carry_out(node: Node, clock: HandClock, attacker: Attacker) -> Chronicle:
    """Let the history happen on a node, which is closed then, while the attacker takes notes."""
    narrator, moments = Narrator(node, clock), {}
    for name, step in HISTORY.items():
        step(narrator)
        clock.wait(STEP.total_seconds())
        moments[name] = attacker.image()
    names = {"keyring": "keyring"}
    for label, key in narrator.keys.items():
        names |= {key.key_id: label, f"{key.key_id}.1": f"version of {label}"}
    for owner in OWNER_REVISIONS:
        names[Keys(node.records).owner_row_id("default", owner)] = f"owner {owner}"
    node.close()
    end = attacker.image()
    held = {
        (names[row.id], row.revision): row
        for image in (*moments.values(), end)
        for row in image.rows.values()
    }
    return Chronicle(
        keys=narrator.keys, moments=moments, held=held, names=names, end=end, ended_at=clock.now()
    )
