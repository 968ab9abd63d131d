"""Keys in the hands of two processes on one file, against a dictionary that says what should be.

Whatever is done in whatever order: an answer is the model's at a position of the log that is at least what its `as_of`
says, and no older than the bound; what was acknowledged is there; a log that is read from the beginning leads to the
same floor.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification
from keyturn.errors import IllegalTransitionError, StorageError
from keyturn.key_store import SecureKeyStore
from keyturn.records.log_reader import LogReader
from keyturn.verifier.decision import NO_DEMAND
from tests.contract.ledger_stores import sqlite_store
from tests.fakes import Process, Site

BOUND: Final = 1.0
FEW: Final = 5  # keys, so that much happens to each; a process keeps four in memory
OWNERS: Final = ("acme", "bolt")
SCOPES: Final = {
    KeyScope.READ: {"read"},
    KeyScope.WRITE: {"write"},
    KeyScope.READ_WRITE: {"read", "write"},
    KeyScope.FULL: {"read", "write", "admin"},
}
NETWORKS: Final = {(): ("10.1.1.1", "192.0.2.1", None), ("10.0.0.0/8",): ("10.1.1.1",)}  # who may come
ADDRESSES: Final = ("10.1.1.1", "192.0.2.1", None)
PERMISSIONS: Final = ("a.b", "c.d")
GRANTS: Final = {(): (), ("a.b",): ("a.b",), ("c.*",): ("c.d",), ("*",): PERMISSIONS}  # what each covers
ENDED: Final = ("deactivated", "compromised", "destroyed")
AFTER: Final = {
    "suspend": {"active": "suspended"},
    "resume": {"suspended": "active"},
    "destroy": dict.fromkeys(("active", "suspended", "deactivated", "compromised"), "destroyed"),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """What should be true of one key."""

    owner: str | None
    epoch: int
    scope: KeyScope
    permissions: tuple[str, ...]
    networks: tuple[str, ...]
    expires_at: datetime | None
    name: str | None = None
    state: str = "active"
    has_run_out: bool = False

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


@dataclass
class Moment:
    """Everything that should be true at one position of the log, and when it came to be."""

    position: int
    since: float
    keys: dict[str, Model] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OWNERS, 0))


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked of a key."""

    scope: KeyScope | None
    permissions: str | None
    ip: str | None


def verdict(moment: Moment, key_id: str, demand: Demand, now: datetime) -> str:
    """The code that is due, written as the contract says it and not as the program does."""
    key = moment.keys.get(key_id)
    if key is None:
        return "not_found"
    if key.has_run_out and key.state == "deactivated":
        return "expired"
    if key.state in ENDED or (key.owner is not None and key.epoch < moment.epochs[key.owner]):
        return "revoked"
    if key.state == "suspended" or key.is_expired(now):
        return "suspended" if key.state == "suspended" else "expired"
    if demand.ip not in NETWORKS[key.networks]:
        return "ip_denied"
    if demand.scope is not None and not SCOPES[demand.scope] <= SCOPES[key.scope]:
        return "insufficient_scope"
    if demand.permissions is not None and demand.permissions not in GRANTS[key.permissions]:
        return "insufficient_permissions"
    return "valid"


PLAIN: Final = Demand(scope=None, permissions=None, ip="10.1.1.1")
demands = st.builds(
    Demand,
    scope=st.none() | st.sampled_from(list(SCOPES)),
    permissions=st.none() | st.sampled_from(PERMISSIONS),
    ip=st.sampled_from(ADDRESSES),
)
either = st.integers(0, 1)
policies = st.tuples(
    st.sampled_from(list(SCOPES)), st.sampled_from(list(GRANTS)), st.sampled_from(list(NETWORKS))
)


def go_away() -> None:
    raise StorageError("gone")


class Keys(RuleBasedStateMachine):
    """Two processes, a clock, and the history of what should be."""

    keys = Bundle("keys")

    @initialize(target=keys)
    def open(self) -> Any:
        self.directory = Path(tempfile.mkdtemp(prefix="keyturn-keys-"))
        store = sqlite_store(self.directory / "keyturn.db")
        store.initialise()
        self.site = Site.on(store)
        self.clock = self.site.clock
        self.processes = [self.site.process(max_staleness=BOUND, capacity=4) for _ in range(2)]
        self.issued: dict[str, GeneratedKey] = {}
        self.history = [Moment(1, self.clock.steady())]
        policies = [
            (KeyScope.FULL, ("*",), ()),
            (KeyScope.READ, ("a.b",), ("10.0.0.0/8",)),
            (KeyScope.FULL, (), ()),
        ]
        return multiple(
            *(self.issued_by(0, owner, p, None) for owner, p in zip((*OWNERS, None), policies, strict=True))
        )

    def teardown(self) -> None:
        if hasattr(self, "site"):
            self.check_that_nothing_is_lost()
            self.site.close()
            shutil.rmtree(self.directory)

    @property
    def present(self) -> Moment:
        return self.history[-1]

    def store(self, which: int) -> SecureKeyStore:
        return self.processes[which].store()

    def happened(self, keys: dict[str, Model], **epochs: int) -> None:
        """All this is true from now on."""
        last = self.present
        position = self.processes[0].ledger.inner.head()
        self.history.append(
            Moment(position, self.clock.steady(), {**last.keys, **keys}, {**last.epochs, **epochs})
        )

    # -- what people do

    @precondition(lambda self: len(self.issued) < FEW)
    @rule(
        target=keys,
        which=either,
        owner=st.none() | st.sampled_from(OWNERS),
        policy=policies,
        lifetime=st.none() | st.sampled_from([5, 50]),
    )
    def issue(self, which: int, owner: str | None, policy: tuple[Any, ...], lifetime: int | None) -> str:
        return self.issued_by(which, owner, policy, lifetime)

    def issued_by(self, which: int, owner: str | None, policy: tuple[Any, ...], lifetime: int | None) -> str:
        scope, permissions, networks = policy
        key = self.processes[which].issue(
            owner=owner, key_scope=scope, permissions=permissions, allowed_ips=networks, expires_in=lifetime
        )
        self.issued[key.key_id] = key
        model = Model(
            owner=owner,
            epoch=0 if owner is None else self.present.epochs[owner],
            scope=scope,
            permissions=permissions,
            networks=networks,
            expires_at=None if lifetime is None else self.clock.now() + timedelta(seconds=lifetime),
        )
        self.happened({key.key_id: model})
        return key.key_id

    @rule(which=either, key_id=keys, what=st.sampled_from(["suspend", "resume", "destroy"]))
    def act(self, which: int, key_id: str, what: str) -> None:
        model = self.present.keys[key_id]
        expected = AFTER[what].get(model.state)
        try:
            getattr(self.store(which), f"{what}_key")(key_id)
        except IllegalTransitionError:
            assert expected is None, f"{model.state} can {what}"
            return
        assert expected is not None, f"{model.state} cannot {what}"
        self.happened({key_id: replace(model, state=expected, has_run_out=False)})

    @rule(which=either, key_id=keys, is_compromise=st.booleans())
    def revoke(self, which: int, key_id: str, is_compromise: bool) -> None:
        model = self.present.keys[key_id]
        reason = RevocationReason.KEY_COMPROMISE if is_compromise else RevocationReason.SUPERSEDED
        self.store(which).revoke_key(key_id, reason)
        if model.state in ENDED and not (model.state == "deactivated" and is_compromise):
            return
        state = "compromised" if is_compromise else "deactivated"
        self.happened({key_id: replace(model, state=state, has_run_out=False)})

    @rule(which=either, owner=st.sampled_from(OWNERS), is_cut_off=st.booleans())
    def revoke_owner(self, which: int, owner: str, is_cut_off: bool) -> None:
        due = {
            key_id: replace(model, state="deactivated")
            for key_id, model in self.present.keys.items()
            if model.owner == owner and model.state not in ENDED
        }
        if is_cut_off:  # the process ends, or the store goes away, before the keys' own rows have followed
            due = {}
            self.processes[which].ledger.before("list_owned", go_away)
            with pytest.raises(StorageError):
                self.store(which).revoke_owner(owner)
        else:
            assert self.store(which).revoke_owner(owner) == len(due)
        self.happened(due, **{owner: self.present.epochs[owner] + 1})

    @rule(
        which=either,
        key_id=keys,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "name": st.none() | st.sampled_from(["one", "two"]),
                "scope": st.sampled_from(list(SCOPES)),
                "permissions": st.sampled_from(list(GRANTS)),
                "allowed_ips": st.sampled_from(list(NETWORKS)),
                "expires_in": st.none() | st.just(20),
            },
        ).filter(bool),  # a change of nothing is refused
    )
    def update(self, which: int, key_id: str, changes: dict[str, Any]) -> None:
        model, now = self.present.keys[key_id], self.clock.now()
        may_change = model.state not in ENDED and not model.is_expired(now)
        try:
            self.store(which).update_key(key_id, **changes)
        except IllegalTransitionError:
            assert not may_change
            return
        assert may_change
        fields = {{"allowed_ips": "networks"}.get(name, name): value for name, value in changes.items()}
        if "expires_in" in fields:
            lifetime = fields.pop("expires_in")
            fields["expires_at"] = None if lifetime is None else now + timedelta(seconds=lifetime)
        self.happened({key_id: replace(model, **fields)})

    @rule(which=either)
    def keep_house(self, which: int) -> None:
        now = self.clock.now()
        due = {
            key_id: replace(model, state="deactivated", has_run_out=True)
            for key_id, model in self.present.keys.items()
            if model.state == "active" and model.is_expired(now)
        }
        assert self.store(which).cleanup_expired_keys() == len(due)
        self.happened(due)

    # -- what happens

    @rule(seconds=st.sampled_from([0.25, 0.5, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.pass_time(seconds)

    @rule(which=either)
    def a_process_writes_down_what_it_counted(self, which: int) -> None:
        self.processes[which].node.recorder.tick()

    @rule(which=either)
    def a_process_follows_the_log(self, which: int) -> None:
        self.processes[which].catch_up()

    @rule(which=either)
    def a_process_is_started_anew(self, which: int) -> None:
        self.processes[which].node.close()
        self.processes[which] = self.site.process(max_staleness=BOUND, capacity=4)

    # -- what is answered

    @rule(which=either, key_id=keys, demand=demands)
    def ask_for_something(self, which: int, key_id: str, demand: Demand) -> None:
        self.ask(which, key_id, demand)

    def ask(self, which: int, key_id: str, demand: Demand) -> None:
        answer = self.store(which).authenticate(
            self.issued[key_id].secret, scope=demand.scope, permissions=demand.permissions, ip=demand.ip
        )
        self.check(answer, key_id, demand)

    @rule(which=either)
    def everybody_asks(self, which: int) -> None:
        for key_id in self.issued:
            self.ask(which, key_id, PLAIN)

    def check(self, answer: Verification, key_id: str, demand: Demand) -> None:
        """The answer is one that is due."""
        due = [verdict(moment, key_id, demand, self.clock.now()) for moment in self.possible(answer)]
        assert answer.code in due, f"{answer.code} is none of {due}"
        assert bool(answer) is (answer.code == "valid")

    def possible(self, answer: Verification) -> list[Moment]:
        """What the answer may rest on: nothing that is older than it says it is, or than the bound allows."""
        position = int(answer.as_of.rpartition(":")[2])
        earliest = self.clock.steady() - BOUND - 0.01
        read = [moment for moment in self.history if moment.position <= position]
        not_before_as_of = self.history[len(read) - 1 :]
        ended = [*(later.since for later in not_before_as_of[1:]), float("inf")]
        return [moment for moment, until in zip(not_before_as_of, ended, strict=True) if until >= earliest]

    @rule(which=either, key_id=keys)
    def look(self, which: int, key_id: str) -> None:
        model, found = self.present.keys[key_id], self.store(which).retrieve_key(key_id).metadata
        assert (found.state.value, found.name, found.scope) == (model.state, model.name, model.scope)
        assert (found.permissions, found.allowed_ips) == (model.permissions, model.networks)
        assert found.expires_at == model.expires_at
        is_good = verdict(
            self.present, key_id, Demand(scope=None, permissions=None, ip=None), self.clock.now()
        )
        assert self.store(which).verify_key(key_id).valid is (is_good in ("valid", "ip_denied"))

    # -- what always holds

    @invariant()
    def whoever_answers_from_memory_is_right(self) -> None:
        for process in self.processes if hasattr(self, "processes") else ():
            for key_id, key in self.issued.items():
                outcome = process.node.verifier.decide(key.secret.reveal(), NO_DEMAND, PLAIN.ip)
                if isinstance(outcome, Verification):
                    self.check(outcome, key_id, PLAIN)

    @invariant()
    def an_ended_key_is_refused_by_whoever_has_read_of_its_end(self) -> None:
        for process in self.processes if hasattr(self, "processes") else ():
            position = process.node.records.log.position
            known = [moment for moment in self.history if moment.position <= position][-1]
            for key_id, model in known.keys.items():
                if model.state in ENDED:
                    assert process.decide(self.issued[key_id]) != "valid"

    def check_that_nothing_is_lost(self) -> None:
        """Every acknowledged key is as it should be, for each process and for one that begins now."""
        self.clock.pass_time(2 * BOUND)
        for process in (*self.processes, self.site.process()):
            for key_id, key in self.issued.items():
                due = verdict(self.present, key_id, PLAIN, self.clock.now())
                assert process.ask(key, ip=PLAIN.ip).code == due
        listed = [key.key_id for key in self.store(0).list_keys(limit=1_000).items]
        assert listed == list(reversed(self.issued)), "newest first"
        self.check_that_a_replay_leads_to_the_same(self.processes[0])

    def check_that_a_replay_leads_to_the_same(self, process: Process) -> None:
        process.catch_up()
        log = process.node.records.log
        ledger = self.site.open_ledger()
        anew = LogReader(ledger=ledger, keyring=process.node.records.keyring, clock=self.clock)
        ledger.close()
        assert (anew.position, anew.as_of) == (log.position, log.as_of)
        assert anew.floor._marks == log.floor._marks


TestKeys = Keys.TestCase
TestKeys.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
