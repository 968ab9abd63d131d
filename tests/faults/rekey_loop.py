"""SIGKILL while the keyring changes: a driver for any ledger.

    store = Rekeyed(url)
    for _ in range(60):
        store.one_life(moments)                 # a process that rekeys without end is started, and killed
        store.check()                           # one key-encryption key opens the store, and every key verifies

What the process is about to do, and what it was told, it reports through a pipe beforehand and afterwards.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.custody.tallying import tallied
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import WrongKekError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.verifier.decision import NO_DEMAND
from tests.contract.ledger_stores import Store

KEYS: Final = 220  # each of two rows: three batches of a run
LONGEST_LIFE: Final = 0.25  # seconds after the process has opened the store
BY: Final = Principal(actor=LOCAL_ACTOR)
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [__name__, "keyturn.adapters.ledger.sqlite", "keyturn.adapters.ledger.postgres"]
)

Say = Callable[[str], None]


def kek_of(number: int) -> LocalKeyWrapper:
    """The key-encryption key of this number."""
    return LocalKeyWrapper(Secret(hashlib.sha256(b"kek %d" % number).digest()))


@dataclass
class Rekeyed:
    """A store of keys whose keyring is changed by processes that do not live long.

    Attributes:
        keks: numbers of the key-encryption keys that may open it: that of the last change which was acknowledged, and
            those of changes which were begun since.
        present: the one that does.
        ends: how often a life ended in the middle of what.
    """

    store: Store
    keks: list[int] = field(default_factory=lambda: [0])
    present: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    _keys: list[GeneratedKey] = field(default_factory=list)
    _lives: int = 0

    def fill(self) -> None:
        """Make the store, and keys of which every third can be read back."""
        initialise(self.store.owner_url, kek_of(0), with_first_key=False, grant_to=self.store.role)
        generator = SecureKeyGenerator()
        self._keys = [generator.generate_api_key(recoverable=number % 3 == 0) for number in range(KEYS)]
        with self.node() as node:
            node.issuer.issue_all(self._keys, BY)
            node.lifecycle.revoke(self._keys[-1].key_id, BY)

    @contextmanager
    def node(self) -> Iterator[Node]:
        """The store, opened with the one key-encryption key that opens it; AssertionError for none or several."""
        found = self._opened()
        if len(found) > 1:
            # A server may finish what a killed client has asked it for, after the first was tried.
            _close(found)
            found = self._opened()
        try:
            assert len(found) == 1, f"{len(found)} key-encryption keys open the store"
            yield found[0]
        finally:
            _close(found)

    def _opened(self) -> list[Node]:
        found = []
        for number in self.keks:
            try:
                found.append(open_node(self.store.url, kek_of(number)))
            except WrongKekError:
                continue
            self.present = number
        return found

    def one_life(self, moments: random.Random) -> None:
        """Start a process that changes the keyring, and kill it."""
        self._lives += 1
        reader, writer = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(
            target=_rekey_until_killed, args=(self.store.url, self.present, self._lives, writer)
        )
        process.start()
        writer.close()
        lines = os.read(reader.fileno(), 1 << 20)
        time.sleep(moments.uniform(0, LONGEST_LIFE))
        process.kill()
        process.join()
        while more := os.read(reader.fileno(), 1 << 20):
            lines += more
        reader.close()
        said = lines.decode().splitlines()
        for line in said:
            self._heard(line)
        self.ends[said[-1].split()[0]] += 1

    def _heard(self, line: str) -> None:
        what, _, number = line.partition(" ")
        if what == "changing":
            self.keks.append(int(number))
        elif what == "changed":
            self.keks = [int(number)]

    def check(self, *, how_many: int = 12) -> set[int]:
        """Everything is as it was, to a process that starts now: some keys, spread over all of them.

        Returns the data keys that rows are under.
        """
        with self.node() as node:
            for key in self._keys[:: max(1, KEYS // how_many)] + self._keys[-1:]:
                answer = node.verifier.authenticate(key.secret.reveal(), NO_DEMAND)
                assert answer.code == ("revoked" if key is self._keys[-1] else "valid")
                if key.spec.recoverable and key is not self._keys[-1]:
                    assert node.reader.material(key.key_id, BY).secret.reveal() == key.secret.reveal()
            assert node.records.incidents.drain() == []
            return set(list(tallied(node.ledger))[-1].by_version)

    def finish(self) -> None:
        """Do what was left undone, and see that it can be."""
        with self.node() as node:
            for progress in node.resealer.run(BY):
                assert progress.refused == 0
            if node.records.keyring.minimum < node.records.keyring.primary:
                for _ in node.keyring_changes.retire(BY):
                    pass
            assert list(tallied(node.ledger))[-1].by_version.keys() == {node.records.keyring.primary}


def _close(nodes: list[Node]) -> None:
    for node in nodes:
        node.close()


def _rekey_until_killed(url: str, kek: int, life: int, report: multiprocessing.connection.Connection) -> None:
    def say(text: str) -> None:
        os.write(report.fileno(), f"{text}\n".encode())

    node = open_node(url, kek_of(kek))
    say("opened")
    if life % 3 == 0:
        say(f"changing {life}")
        node.keyring_changes.change_kek(lambda: kek_of(life), BY)
        say(f"changed {life}")
        node.close()
        node = open_node(url, kek_of(life))
    # Each life begins elsewhere, so that all of it is cut into.
    for act in itertools.islice(itertools.cycle([_another_data_key, _retire]), life % 2, None):
        act(node, say)


def _another_data_key(node: Node, say: Say) -> None:
    if len(node.records.keyring.versions) < 200:
        say("adding")
        node.keyring_changes.add_data_key(BY)
    _reseal(node, say)


def _reseal(node: Node, say: Say) -> None:
    say("resealing")
    for _ in node.resealer.run(BY):
        pass


def _retire(node: Node, say: Say) -> None:
    keyring = node.records.keyring
    if keyring.minimum == keyring.primary:
        return
    _reseal(node, say)
    say("retiring")
    for _ in node.keyring_changes.retire(BY):
        pass
