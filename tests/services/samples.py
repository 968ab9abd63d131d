"""What tests of the services say often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from keyturn.audit.trail import KeyUsageEvent
from keyturn.key_store import SecureKeyStore
from tests.fakes import Process

on_both: Final = pytest.mark.parametrize("adapter", ["sqlite", "postgres"], indirect=True)

Act = Callable[[SecureKeyStore, str], Any]
MANAGING: Final[dict[str, Act]] = {
    "retrieve": lambda store, key_id: store.retrieve_key(key_id),
    "revoke": lambda store, key_id: store.revoke_key(key_id),
    "suspend": lambda store, key_id: store.suspend_key(key_id),
    "resume": lambda store, key_id: store.resume_key(key_id),
    "destroy": lambda store, key_id: store.destroy_key(key_id),
    "update": lambda store, key_id: store.update_key(key_id, name="other"),
    "usage": lambda store, key_id: store.get_usage_statistics(key_id),
}
"""Every call of the store that takes a key_id, but `verify_key`."""


def events(
    process: Process, *, after: int = 0, tenants: tuple[str, ...] = ("default", "system")
) -> list[KeyUsageEvent]:
    """All that the log says of these tenants, after a position."""
    return list(_events(process, after, tenants))


def _events(process: Process, after: int, tenants: tuple[str, ...]) -> Iterator[KeyUsageEvent]:
    while found := process.node.trail.events(set(tenants), after=after, limit=1_000):
        yield from found
        after = found[-1].position


def types(process: Process, *, after: int = 0) -> list[str]:
    """The types of the log's entries after a position, in order."""
    return [event.type for event in events(process, after=after)]


def head(process: Process) -> int:
    return process.ledger.inner.head()
