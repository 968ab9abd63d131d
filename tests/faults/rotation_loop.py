"""Schedulers in processes of their own, which are killed: a driver for any ledger.

fleet = Fleet(store)
fleet.fill()                        # keys under a policy, all of them due
fleet.one_life(moments)             # a scheduler begins to work them off, and is killed
fleet.finish(schedulers=3)          # several work off the rest, at once
fleet.check()                       # each key was rotated once, and its old token still verifies
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import random
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.domain.instants import from_micros, to_micros
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import StorageBusyError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.verifier.decision import NO_DEMAND
from tests.contract.ledger_stores import Store
from tests.fakes import BEGINNING, ManualClock

KEYS: Final = 60
LONGEST_LIFE: Final = 0.4  # seconds after the scheduler has opened the store
BY: Final = Principal(actor=LOCAL_ACTOR)
MONTH_LATER: Final = BEGINNING + timedelta(days=32)
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [__name__, "keyturn.adapters.ledger.sqlite", "keyturn.adapters.ledger.postgres"]
)


def wrapper() -> LocalKeyWrapper:
    return LocalKeyWrapper(Secret(bytes(range(32))))


def node_at(url: str, micros: int) -> Node:
    """The store, opened by somebody whose clock stands at this time."""
    return open_node(url, wrapper(), clock=ManualClock(from_micros(micros)))


@dataclass
class Fleet:
    """Keys, half of them tokens, and the schedulers that rotate them."""

    store: Store
    started: list[str] = field(default_factory=list)
    _keys: list[GeneratedKey] = field(default_factory=list)

    def fill(self) -> None:
        """Make the store, a policy, and keys that follow it."""
        initialise(self.store.owner_url, wrapper(), with_first_key=False, grant_to=self.store.role)
        clock = ManualClock()
        node = open_node(self.store.url, wrapper(), clock=clock)
        policy = RotationPolicy(
            policy_id="monthly",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
        )
        node.rotation.policies.create(policy, BY)
        generator = SecureKeyGenerator(clock=clock)
        self._keys = [
            generator.generate_api_key(
                key_type=KeyType.API_TOKEN if number % 2 else KeyType.HMAC,
                key_scope=KeyScope.FULL,
                rotation_policy_id="monthly",
            )
            for number in range(KEYS)
        ]
        node.issuer.issue_all(self._keys, BY)
        node.close()

    def one_life(self, moments: random.Random) -> None:
        """Start a scheduler, and kill it."""
        process, reader = self._start()
        self._read(reader, 1)
        time.sleep(moments.uniform(0, LONGEST_LIFE))
        process.kill()
        process.join()
        self._read(reader, None)

    def finish(self, schedulers: int) -> None:
        """Let several schedulers work at once, until nothing is due."""
        running = [self._start() for _ in range(schedulers)]
        for process, reader in running:
            self._read(reader, None)
            process.join(60)
            assert process.exitcode == 0

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, multiprocessing.connection.Connection]:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_work, args=(self.store.url, to_micros(MONTH_LATER), writer))
        process.start()
        writer.close()
        return process, reader

    def _read(self, reader: multiprocessing.connection.Connection, lines: int | None) -> None:
        """Hear what a scheduler says: so many lines at least, or all until it ends."""
        heard = b""
        while (lines is None or heard.count(b"\n") < lines) and (more := os.read(reader.fileno(), 1 << 16)):
            heard += more
        self.started += [line for line in heard.decode().splitlines() if line.startswith("key_")]

    def check(self) -> None:
        """Each key was rotated once, whatever was killed; what was acknowledged is there; every old secret is good."""
        node = node_at(self.store.url, to_micros(MONTH_LATER))
        assert len(self.started) == len(set(self.started)), "a rotation was begun twice"
        rotations = list(node.rotation.history.newest_first(BY.tenant))
        assert sorted(each.key_id for each in rotations) == sorted(key.key_id for key in self._keys)
        assert set(self.started) <= {each.key_id for each in rotations}
        by_key = {each.key_id: each for each in rotations}
        for key in self._keys:
            found = node.reader.get(key.key_id, BY)
            assert (found.rotation, found.newest_version) == (by_key[key.key_id].rotation_id, 2)
            versions = node.versions.list(key.key_id, BY).items
            is_token = key.type is KeyType.API_TOKEN
            awaits = [KeyState.PRE_ACTIVE, KeyState.ACTIVE] if is_token else [KeyState.ACTIVE] * 2
            assert [each.version.state for each in versions] == awaits
            if is_token:
                assert node.verifier.authenticate(key.secret.reveal(), NO_DEMAND).valid
        node.close()


def _work(url: str, micros: int, report: multiprocessing.connection.Connection) -> None:
    os.write(report.fileno(), b"opening\n")
    node = node_at(url, micros)
    while True:
        try:
            for event in node.rotation.scheduler.work():
                os.write(report.fileno(), f"{event.key_id}\n".encode())
            break
        except StorageBusyError:
            continue  # so many at once may wait for too long; what is due stays due
    node.close()
