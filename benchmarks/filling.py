"""A store with many keys: as the library would write it, but sealed by a process for each core and stored by one.

Through the library a million keys take ten minutes, most of them for reading back what was written.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Final, NamedTuple

from keyturn import KeyScope, SecureKeyGenerator
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, open_node
from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Require
from keyturn.domain.entry import chain_next, decode_entry
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import Key
from keyturn.domain.principal import LOCAL_ACTOR
from keyturn.domain.secret import Secret
from keyturn.issuing.issuer import OwnerAtIssue, created_event, rows_of
from keyturn.issuing.keys import Keys
from keyturn.ports.ledger import Commit
from keyturn.records.entry_seals import Seen
from keyturn.records.rows import seal_changes
from keyturn.records.sealed_state import head_after, make_snapshot

PERMISSIONS: Final = ("documents.read", "documents.write", "reports.read")
BATCH: Final = 1_000
OWNERS: Final = 1_000
CHANGED: Final = (
    10  # of as many keys one was changed since, as in a store that is in use: a start has to know which
)


class _Sealed(NamedTuple):
    """A batch: the tokens of its keys, and what stores and then changes them."""

    tokens: list[str]
    commits: tuple[Commit, Commit]


def fill(url: str, kek: bytes, count: int) -> list[str]:
    """Store `count` keys in a new store; their tokens."""
    began = time.perf_counter()
    tokens: list[str] = []
    spawning = multiprocessing.get_context("spawn")
    with (
        closing(open_node(url, LocalKeyWrapper(Secret(kek)))) as node,
        ProcessPoolExecutor(os.cpu_count(), spawning, _begin, (url, kek)) as pool,
    ):
        seen, floor = node.records.log.seen, node.records.log.floor
        for batch in _in_order(pool, count // BATCH):
            for commit in batch.commits:
                seen = _stored(node, commit, seen)
            floor.raise_to(mark for new in batch.commits[1].entries for mark in decode_entry(new.entry).rows)
            tokens += batch.tokens
            if len(tokens) % 100_000 == 0:
                print(f"  stored {len(tokens):,} of {count:,} keys", flush=True)
        node.ledger.save_snapshot(make_snapshot(node.records.keyring, node.ledger.log_id, *seen, floor))
    print(f"  {count:,} keys made in {time.perf_counter() - began:.0f} s", flush=True)
    return tokens


def _stored(node: Node, commit: Commit, seen: Seen) -> Seen:
    """Commit, and vouch for it; where the log has come to."""
    sealed = head_after(node.records.keyring, node.ledger.log_id, seen, commit.entries)
    position = node.ledger.commit(replace(commit, sealed_head=sealed))
    chain = seen.hash
    for new in commit.entries:
        chain = chain_next(chain, new.entry)
    return Seen(position, chain)


def _in_order(pool: ProcessPoolExecutor, batches: int) -> Iterator[_Sealed]:
    """What the processes seal, a few batches ahead and no more: they wait in memory."""
    ahead: deque[Future[_Sealed]] = deque()
    for number in range(batches):
        ahead.append(pool.submit(_seal, number))
        if len(ahead) > 4:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


# -- in the processes that seal

_sealing: list[Node] = []


def _begin(url: str, kek: bytes) -> None:
    _sealing.append(open_node(url, LocalKeyWrapper(Secret(kek))))


def _seal(number: int) -> _Sealed:
    (node,) = _sealing
    owner = f"owner-{number % OWNERS}"
    row_id = Keys(node.records).owner_row_id(DEFAULT_TENANT, owner)
    made = SecureKeyGenerator().generate_batch(
        BATCH, key_scope=KeyScope.READ_WRITE, owner=owner, permissions=PERMISSIONS
    )
    at_issue, keyring = OwnerAtIssue(0, Require(row_id, 0)), node.records.keyring
    pairs = [rows_of(generated, DEFAULT_TENANT, keyring, at_issue) for generated in made]
    issued = ChangeSet(
        puts=tuple(put for key, version in pairs for put in (key_put(key), version_put(version))),
        events=tuple(created_event(key, version, LOCAL_ACTOR, key.created_at) for key, version in pairs),
    )
    changed = [replace(key, revision=2, name="changed") for key, _ in pairs[::CHANGED]]
    changes = ChangeSet(puts=tuple(map(key_put, changed)), events=tuple(_updated(key) for key in changed))
    seen = node.records.log.seen
    commits = seal_changes(keyring, issued, seen), seal_changes(keyring, changes, seen)
    return _Sealed([generated.secret.reveal() for generated in made], commits)


def _updated(key: Key) -> Event:
    return Event(
        type=EventType.KEY_UPDATED,
        time=key.updated_at,
        tenant=key.tenant,
        actor=LOCAL_ACTOR,
        subjects=(key.key_id,),
        rows=(key.row_id,),
    )
