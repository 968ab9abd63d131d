"""The store of the history with whoever is there: nodes, an attacker, and somebody who asks for everything.

node = scene.open()                               # a running node; `scene` closes it
scene.attacker.put_rows(scene.held["scope", 1])
assert scene.ask(node) == scene.honest            # by token and probe, the code that was answered
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, open_node
from keyturn.domain.change import EventType
from keyturn.domain.entry import decode_entry
from keyturn.domain.ids import KEY, SYSTEM_TENANT, is_id
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.verdict import Verification
from keyturn.errors import KeyturnError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.ledger import Row
from keyturn.verifier.decision import Demand
from tests.security.attacker import Attacker
from tests.security.history import MEMBERS, TOKENS, Chronicle, HandClock, by

MAX_STALENESS: Final = 1.0
_ATTEMPTS: Final = 3  # after a first one that was `stale`
LATER: Final = timedelta(hours=2)  # past what `expiry` was narrowed to
TAMPERED: Final = "integrity_failed"
GONE: Final = "not_found"

When = Literal["running", "stopped"]
WHEN: Final = ("running", "stopped")
"""Whether a node was open while the store was tampered with, or is opened afterwards. A running node has decided on
nothing yet: it knows the log and has to read the rows."""


class Probe(NamedTuple):
    """Something to ask for. `network` is that of the asking address, None for none."""

    scope: KeyScope | None = None
    permissions: str | None = None
    network: str | None = "203.0.113"
    later: bool = False


PROBES: Final = {
    "at all": Probe(),
    "kept": Probe(scope=KeyScope.READ, permissions="documents.read"),
    "full scope": Probe(scope=KeyScope.FULL),
    "dropped permission": Probe(permissions="billing.read"),
    "other ip": Probe(network="198.51.100"),
    "no ip": Probe(network=None),
    "past expiry": Probe(later=True),
}

FEW: Final = ("at all", "full scope")  # where tokens are many, and refused before they are heard

Answers = dict[tuple[str, str], str]
"""The code that was answered, by token and probe."""


class Finding(NamedTuple):
    """An `integrity_failed` entry of the log."""

    tenant: str
    subjects: tuple[str, ...]
    row: str


@dataclass(kw_only=True)
class Scene:
    """One store, and who is there."""

    url: str
    kek: bytes
    attacker: Attacker
    chronicle: Chronicle
    clock: HandClock
    _open: list[Node] = field(default_factory=list)

    @property
    def held(self) -> Mapping[tuple[str, int], Row]:
        """Every row that there ever was, by name and revision."""
        return self.chronicle.held

    @property
    def honest(self) -> Answers:
        """What is answered at the end when nobody has touched anything."""
        return _all_answers(_honest)

    def open(self) -> Node:
        """A node; the errors are those of `open_node`."""
        node = open_node(
            self.url, LocalKeyWrapper(Secret(self.kek)), clock=self.clock, max_staleness=MAX_STALENESS
        )
        self._open.append(node)
        return node

    def close(self) -> None:
        """Close every node that is open."""
        while self._open:
            self._open.pop().close()

    def key_id(self, label: str) -> str:
        return self.chronicle.keys[label].key_id

    def by(self, label: str) -> Principal:
        """The caller of management in the key's tenant."""
        return by(MEMBERS[label].tenant)

    def token(self, label: str) -> str:
        return self.chronicle.keys[label].secret.reveal()

    def ask_one(self, node: Node, label: str, probe: str = "at all") -> Verification:
        """What a node answers to one token that asks for one thing, from an address that no other token has."""
        asked = PROBES[probe]
        number = TOKENS.index(label) + 1
        demand = Demand.of(tenant=MEMBERS[label].tenant, scope=asked.scope, permissions=asked.permissions)
        ip = None if asked.network is None else f"{asked.network}.{number}"
        shift = LATER if asked.later else timedelta(0)
        self.clock.move(shift)
        try:
            answer = node.verifier.authenticate(self.token(label), demand, ip)
            for _ in range(_ATTEMPTS):
                if answer.code != "stale":
                    break  # else the database was only slower than the deadline, or the node is closed for good
                answer = node.verifier.authenticate(self.token(label), demand, ip)
            return answer
        finally:
            self.clock.move(-shift)

    def ask(self, node: Node, labels: Iterable[str] = TOKENS, probes: Iterable[str] = PROBES) -> Answers:
        """What a node answers to these tokens when they ask for all of this."""
        return {(label, probe): self.ask_one(node, label, probe).code for label in labels for probe in probes}

    def status(self, node: Node, label: str) -> str:
        """What a node says of a key that is named by its id: its state, or the code of its refusal."""
        try:
            return node.reader.get(self.key_id(label), self.by(label)).state.value
        except KeyturnError as error:
            return error.code

    def material(self, node: Node, label: str) -> str:
        """The secret that a node hands out for a key, or the code of its refusal."""
        try:
            return node.reader.material(self.key_id(label), self.by(label)).secret.reveal()
        except KeyturnError as error:
            return error.code

    def owners_status(self, node: Node, owner: str) -> str:
        """What a node says when it is to issue a key to an owner; `issued` if it does."""
        key = SecureKeyGenerator(clock=self.clock).generate_api_key(owner=owner)
        try:
            return f"issued in epoch {node.issuer.issue(key, by()).owner_epoch}"
        except KeyturnError as error:
            return error.code

    def findings(self, *, after: int | None = None) -> list[Finding]:
        """What the log was told of tampering, as the tables have it: since the history's end, or after a position."""
        begin = len(self.chronicle.end.log) if after is None else after
        decoded = [(stored, decode_entry(stored.entry)) for stored in self.attacker.log()]
        return [
            Finding(entry.tenant, entry.subjects, json.loads(stored.details or "{}")["row"])
            for stored, entry in decoded
            if stored.position > begin and entry.type == EventType.INTEGRITY_FAILED.value
        ]

    def assert_told(self, refused: Iterable[str], *, after: int | None = None) -> None:
        """The log was told why each of these tokens is refused: of no row twice, and of none that others rest on."""
        behind = {
            label: {self.chronicle.now(name).id for name in self.rows_behind(label)} for label in refused
        }
        findings = [finding for finding in self.findings(after=after) if finding.row != "log"]
        told = [finding.row for finding in findings]
        assert len(set(told)) == len(told)
        assert set(told) <= set().union(*behind.values())
        assert [label for label, rows in behind.items() if rows.isdisjoint(told)] == []
        for finding in findings:
            key_id = finding.row.partition(".")[0]
            subjects = (key_id,) if is_id(KEY, key_id) else ()
            assert (finding.tenant, finding.subjects) == (SYSTEM_TENANT, subjects)

    def node(self, when: When, attack: Callable[[], object]) -> Node:
        """A node that was open while `attack` happened, or was opened afterwards. Its bound has passed since."""
        if when == "stopped":
            attack()
            return self.open()
        node = self.open()
        attack()
        self.clock.wait(2 * MAX_STALENESS)
        return node

    def answers_with(self, rows: Mapping[str, Row]) -> Answers:
        """What a node that has read the whole log is to answer where the store holds these rows.

        A token whose rows are all the current ones is answered as ever, one that has another row is refused as tampered
        with, and one that has no row, or whose key has none, can't be told from an unknown one.
        """
        return _all_answers(lambda label, probe: self._judged(rows, label) or _honest(label, probe))

    def told(self, codes: Mapping[str, str]) -> Answers:
        """The honest answers, but for these tokens, which are told this whatever they ask for."""
        return self.honest | {(label, probe): code for label, code in codes.items() for probe in PROBES}

    def _judged(self, rows: Mapping[str, Row], label: str) -> str | None:
        names = self.rows_behind(label)
        now = {name: self.chronicle.now(name) for name in names}
        there = {name: rows.get(row.id) for name, row in now.items()}
        if there[names[0]] is None or there[names[1]] is None:
            return "not_found"
        return None if all(_same(there[name], now[name]) for name in names) else "integrity_failed"

    def resting_on(self, *names: str) -> list[str]:
        """The tokens that rest on any of these rows."""
        return [label for label in TOKENS if not set(names).isdisjoint(self.rows_behind(label))]

    def rows_behind(self, label: str) -> tuple[str, ...]:
        """The names of the rows that a token rests on: its version's, its key's, and its owner's if there is one."""
        owner = f"owner {MEMBERS[label].owner}"
        known = (owner,) if owner in self.chronicle.names.values() else ()
        return (f"version of {label}", label, *known)


def _all_answers(judge: Callable[[str, str], str]) -> Answers:
    return {(label, probe): judge(label, probe) for label in TOKENS for probe in PROBES}


def _same(row: Row | None, other: Row) -> bool:
    return row is not None and (row.body, row.seal) == (other.body, other.seal)


def _honest(label: str, probe: str) -> str:
    member = MEMBERS[label]
    return member.answer or member.refused.get(probe, "valid")
