"""Turns of endpoints: nobody's receivers keep the notices of others waiting, and nothing is read that need not be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from keyturn.domain.notices.deliveries import MAX_DEAD, Dead, Deliveries
from keyturn.domain.notices.destination import Destination
from keyturn.domain.principal import Principal
from keyturn.errors import InvalidInputError, StorageError
from keyturn.notices.crew import THREADS
from keyturn.notices.endpoints import MAX_ENDPOINTS
from keyturn.notices.telling import HELD
from keyturn.ports.notifier import Message, Notifier, Outcome
from tests.fakes import BY, Method, Process
from tests.notices.conversing import Notifiers, endpoint, subjects, types, work
from tests.notices.receiver import Receiver
from tests.services.samples import on_both

SECONDS = 30.0
VICTIM = Principal(actor="library", tenant="victim")


class Hanging:
    """A notifier that goes on to a real one, but waits first, for hosts that hang, until it is let go."""

    def __init__(self, inner: Notifier) -> None:
        self.inner = inner
        self.goes_on = threading.Event()
        self.came = threading.Semaphore(0)
        self.waiting: set[str] = set()
        self.most = 0
        self._lock = threading.Lock()

    def takes(self, to: Destination) -> bool:
        return self.inner.takes(to)

    def deliver(self, message: Message) -> Outcome:
        if message.to.target.startswith("/hang"):
            with self._lock:
                assert message.to.target not in self.waiting, "one endpoint in two threads"
                self.waiting.add(message.to.target)
                self.most = max(self.most, len(self.waiting))
            self.came.release()
            assert self.goes_on.wait(SECONDS)
            with self._lock:
                self.waiting.discard(message.to.target)
            return Outcome(False, "the receiver did not answer in time")
        return self.inner.deliver(message)


@contextmanager
def at_work(process: Process, notifiers: Notifiers) -> Iterator[None]:
    """Deliveries are made meanwhile, in another thread."""
    thread = threading.Thread(target=work, args=(process, notifiers), daemon=True)
    thread.start()
    yield
    thread.join(SECONDS)
    assert not thread.is_alive()


def hangers(process: Process, receiver: Receiver, count: int, by: Principal = BY) -> list[str]:
    base = receiver.url.partition("/hook")[0]
    return [endpoint(process, f"{base}/hang/{by.tenant}/{n}", "key_created", by=by) for n in range(count)]


def comes(receiver: Receiver, count: int) -> bool:
    """Whether so many notices come, in a time that is no matter."""
    ended = threading.Event()
    for _ in range(int(SECONDS * 20)):
        if len(receiver.got) >= count:
            return True
        ended.wait(0.05)
    return False


def test_receivers_that_hang_keep_no_other_tenants_notices_waiting(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    hanging = Hanging(notifiers["http"])
    hangers(process, receiver, 3 * THREADS)
    process.issue()
    endpoint(process, receiver.url, "key_created", by=VICTIM)
    with at_work(process, {"http": hanging}):
        assert hanging.came.acquire(timeout=SECONDS)
        first = process.issue(by=VICTIM)  # comes to be due while others are at work
        assert comes(receiver, 1)
        second = process.issue(by=VICTIM)
        assert comes(receiver, 2)
        assert hanging.most == THREADS // 2
        hanging.goes_on.set()
    assert subjects(receiver) == [first.key_id, second.key_id]


def test_receivers_that_failed_of_any_number_of_tenants_leave_room_for_those_that_did_not(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    hanging = Hanging(notifiers["http"])
    tenants = [Principal(actor="library", tenant=f"t{number}") for number in range(THREADS)]
    for by in tenants:
        hangers(process, receiver, 1, by)
        process.issue(by=by)
    hanging.goes_on.set()
    work(process, {"http": hanging})
    process.clock.pass_time(100)
    hanging.goes_on.clear()
    while hanging.came.acquire(blocking=False):
        pass
    endpoint(process, receiver.url, "key_created", by=VICTIM)
    hanging.most = 0
    with at_work(process, {"http": hanging}):
        assert hanging.came.acquire(timeout=SECONDS)
        process.issue(by=VICTIM)
        assert comes(receiver, 1)
        hanging.goes_on.set()
    assert hanging.most == THREADS // 2


def test_one_endpoint_is_never_in_two_threads(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    hanging = Hanging(notifiers["http"])
    hangers(process, receiver, 1)
    for _ in range(3):
        process.issue()
    with at_work(process, {"http": hanging}):
        assert hanging.came.acquire(timeout=SECONDS)
        process.clock.pass_time(2 * HELD)  # as if it were no longer held
        assert work(process, {"http": hanging}) == []
        hanging.goes_on.set()


def test_a_tenant_has_so_many_endpoints_and_no_more(process: Process) -> None:
    made = [endpoint(process, "https://example.org/", "key_created") for _ in range(MAX_ENDPOINTS)]
    with pytest.raises(InvalidInputError, match="at most"):
        endpoint(process, "https://example.org/", "key_created")
    endpoint(process, "https://example.org/", "key_created", by=VICTIM)
    process.node.notices.endpoints.delete(made[0], BY)
    endpoint(process, "https://example.org/", "key_created")


# -- what is read ---------------------------------------------------------------------------------------------------


def test_a_run_with_nothing_due_reads_nothing_but_the_end_of_the_log(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    for _ in range(5):
        endpoint(process, receiver.url, "key_created")
    process.issue()
    work(process, notifiers)
    work(process, notifiers)
    process.ledger.calls.clear()
    work(process, notifiers)
    assert set(process.ledger.calls) <= {"read_log"}
    assert process.ledger.calls["read_log"] <= 2
    process.revoke(process.issue())
    process.ledger.calls.clear()
    assert len(work(process, notifiers)) == 5


def test_the_log_is_read_once_for_all_endpoints(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    for _ in range(10):
        endpoint(process, receiver.url, "policy_deleted")
    work(process, notifiers)
    for _ in range(50):
        process.issue()
    process.ledger.calls.clear()
    assert work(process, notifiers) == []
    assert process.ledger.calls["read_log"] <= 5
    assert process.ledger.calls["read_states"] == 0


def test_an_endpoint_that_takes_in_no_more_reads_no_further(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    services = process.node.notices
    states = services.deliverer._states
    found = services.endpoints.get(endpoint_id, BY)
    dead = tuple(Dead(1, "key_x", 12, 1, "") for _ in range(MAX_DEAD))
    states.keep(found, states.read(found), Deliveries(read_to=found.since, dead=dead))
    work(process, notifiers)
    key = process.issue()
    process.ledger.calls.clear()
    work(process, notifiers)
    assert process.ledger.calls["read_states"] == 0
    assert receiver.got == []
    assert "given up" in str(services.redelivery.deliveries(endpoint_id, BY).stalled)
    assert services.redelivery.dismiss(endpoint_id, BY, [1]).stalled is None
    work(process, notifiers)
    assert subjects(receiver) == [key.key_id]


# -- what is changed meanwhile, and stores that fail -----------------------------------------------------------------


@pytest.mark.parametrize("change", ["delete", "pause", "elsewhere"])
def test_what_is_changed_during_a_turn_holds_from_the_next_attempt_on(
    process: Process, receiver: Receiver, notifiers: Notifiers, change: str
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    endpoints = process.node.notices.endpoints

    class Changing:
        def takes(self, to: Destination) -> bool:
            return True

        def deliver(self, message: Message) -> Outcome:
            outcome = notifiers["http"].deliver(message)
            if message.to.target.startswith("/hook") and len(receiver.got) == 1:
                if change == "delete":
                    endpoints.delete(endpoint_id, BY)
                elif change == "pause":
                    endpoints.update(endpoint_id, BY, {"is_paused": True})
                else:
                    endpoints.update(endpoint_id, BY, {"url": receiver.url.replace("/hook", "/other")})
            return outcome

    for _ in range(3):
        process.issue()
    work(process, {"http": Changing()})
    paths = [got.path.partition("?")[0] for got in receiver.got]
    assert paths == (["/hook", "/other", "/other"] if change == "elsewhere" else ["/hook"])


def test_a_secret_that_leaked_signs_nothing_in_a_turn_that_had_begun(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    made = process.node.notices.endpoints.create(receiver.url, BY, events=["key_created"])
    signatures = []

    class Rotating:
        def takes(self, to: Destination) -> bool:
            return True

        def deliver(self, message: Message) -> Outcome:
            signatures.append(message.fields["webhook-signature"])
            if len(signatures) == 1:
                process.node.notices.endpoints.rotate_secret(made.endpoint.endpoint_id, BY, overlap=0)
            return notifiers["http"].deliver(message)

    process.issue()
    process.issue()
    assert len(work(process, {"http": Rotating()})) == 2
    generation = process.node.notices.endpoints.get(made.endpoint.endpoint_id, BY).generation
    assert generation == 2
    assert len(signatures[1].split(" ")) == 1
    assert process.node.notices.redelivery.deliveries(made.endpoint.endpoint_id, BY).failures == 0


@on_both
def test_a_store_that_fails_during_a_turn_has_nothing_sent_twice(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created", "key_revoked")
    keys = [process.issue() for _ in range(4)]

    class Failing:
        def __init__(self, *methods: Method) -> None:
            self.methods = methods

        def takes(self, to: Destination) -> bool:
            return True

        def deliver(self, message: Message) -> Outcome:
            outcome = notifiers["http"].deliver(message)
            if len(receiver.got) == 3:
                process.ledger.fail(StorageError("gone"), *self.methods)
            return outcome

    for failing in (Failing("read"), Failing("read", "keep_state")):
        receiver.got.clear()
        with pytest.raises(StorageError):
            work(process, {"http": failing})
        process.ledger.work_again()
        work(process, notifiers)
        assert len(set(subjects(receiver))) == 4
        assert subjects(receiver) == [key.key_id for key in keys]
        assert len(set(types(receiver))) == 1
        for key in keys:
            process.revoke(key)
