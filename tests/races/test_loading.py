"""A key that changes while a process loads it: whoever asks after the change was made and read is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyturn.domain.spec import GeneratedKey
from tests.fakes import BY, Process, Site

Change = Callable[[Process, GeneratedKey], object]

CHANGES: dict[str, tuple[Change, str]] = {
    "the key is revoked": (lambda p, k: p.revoke(k), "revoked"),
    "its owner is revoked": (lambda p, _: p.revoke_owner("acme"), "revoked"),
    "the key is suspended": (lambda p, k: p.node.lifecycle.suspend(k.key_id, BY), "suspended"),
    "the key is destroyed": (lambda p, k: p.node.lifecycle.destroy(k.key_id, BY), "revoked"),
    "a permission is taken away": (
        lambda p, k: p.update(k, permissions=("b.c",)),
        "insufficient_permissions",
    ),
    "its networks are narrowed": (lambda p, k: p.update(k, allowed_ips=("10.0.0.0/8",)), "ip_denied"),
}
each_change = pytest.mark.parametrize("what", CHANGES)


def ask(process: Process, key: GeneratedKey) -> str:
    return process.ask(key, permissions="a.b", ip="203.0.113.9").code


def decide(process: Process, key: GeneratedKey) -> str:
    return process.decide(key, permissions="a.b", ip="203.0.113.9")


@pytest.fixture
def key(ours: Process, theirs: Process) -> GeneratedKey:
    """A key that both processes could load now."""
    issued = ours.issue(owner="acme", permissions=("a.b",))
    theirs.catch_up()
    return issued


@each_change
def test_a_change_of_this_process_between_a_loads_read_and_its_fill_is_told_at_once(
    ours: Process, key: GeneratedKey, what: str
) -> None:
    change, expected = CHANGES[what]
    ours.ledger.after("read_credential", lambda: change(ours, key))
    assert ask(ours, key) == expected
    assert decide(ours, key) == expected


@each_change
def test_a_change_of_another_process_in_between_that_was_read_already_is_told_at_once(
    ours: Process, theirs: Process, key: GeneratedKey, what: str
) -> None:
    change, expected = CHANGES[what]

    def change_and_read() -> None:
        change(theirs, key)
        ours.catch_up()

    ours.ledger.after("read_credential", change_and_read)
    assert ask(ours, key) == expected
    assert decide(ours, key) == expected


@each_change
def test_a_change_of_another_process_in_between_is_told_once_the_log_is_read(
    site: Site, ours: Process, theirs: Process, key: GeneratedKey, what: str
) -> None:
    """The answer under way may still be the old one; what it leaves in memory may not outlive the read."""
    change, expected = CHANGES[what]
    ours.ledger.after("read_credential", lambda: change(theirs, key))
    assert ask(ours, key) in ("valid", expected)
    ours.catch_up()
    assert decide(ours, key) == "COLD"
    assert ask(ours, key) == expected
    site.clock.pass_time(2.0)
    assert ask(ours, key) == expected


@each_change
def test_a_change_that_the_rows_show_before_the_log_was_read_is_told(
    ours: Process, theirs: Process, key: GeneratedKey, what: str
) -> None:
    change, expected = CHANGES[what]
    ours.ledger.before("read_credential", lambda: change(theirs, key))
    assert ask(ours, key) == expected


@each_change
def test_a_change_while_the_log_is_read_is_told_by_the_next_read(
    site: Site, ours: Process, theirs: Process, key: GeneratedKey, what: str
) -> None:
    change, expected = CHANGES[what]
    assert ask(ours, key) == "valid"
    site.clock.pass_time(2.0)
    ours.ledger.after("read_log", lambda: change(theirs, key))
    assert ask(ours, key) in ("valid", expected)
    began = ours.node.records.log.read_at
    site.clock.set_steady(began + 1.1)
    assert ask(ours, key) == expected, "the bound counts from the start of the read that missed it"


def test_two_requests_load_one_key_while_it_is_revoked(
    ours: Process, theirs: Process, key: GeneratedKey
) -> None:
    def revoke() -> None:
        theirs.revoke(key)
        ours.catch_up()

    ours.ledger.after("read_credential", lambda: ask(ours, key), revoke)
    assert ask(ours, key) == "revoked"
    assert decide(ours, key) == "revoked"


def test_no_request_that_begins_after_a_revocation_returned_is_let_in(site: Site, ours: Process) -> None:
    """Real threads, as they come: askers all the time, and a revoker in the same process."""
    keys, returned = [ours.issue() for _ in range(30)], [float("inf")] * 30
    is_over = threading.Event()
    wrong: list[int] = []

    def keep_asking() -> int:
        asked = 0
        while not is_over.is_set():
            for number, key in enumerate(keys):
                began = time.perf_counter()
                if ours.ask(key) and began > returned[number]:
                    wrong.append(number)
                asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking) for _ in range(4)]
        for number, key in enumerate(keys):
            ours.revoke(key)
            returned[number] = time.perf_counter()
            site.clock.pass_time(0.3)
        is_over.set()
        assert all(asker.result(20) > 0 for asker in askers)
    assert wrong == []
    assert not any(ours.ask(key) for key in keys)
