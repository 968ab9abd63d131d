"""Decisions on an event loop: who waits for what, for how long, and that the loop itself never waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any, Final, TypeVar

import pytest

from keyturn.domain import token as tokens
from keyturn.domain.key import KeyType
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification
from keyturn.errors import (
    ForbiddenError,
    IntegrityError,
    KeyturnError,
    StaleError,
    StorageError,
    ThrottledError,
    UnauthenticatedError,
)
from keyturn.server.deciding import Decider, bearer_of, principal_of
from keyturn.server.measured import Measured
from keyturn.server.verifying import MAX_BATCH, VerifyEndpoint, _demand, _questions
from keyturn.serving.deciding import CATCH_UP_SECONDS, LOAD_SECONDS, LOAD_THREADS, MAX_LOADS
from keyturn.verifier.decision import NO_DEMAND
from keyturn.verifier.throttle import FAILURE_BURST
from tests.contract.waiting import until
from tests.fakes import Method, Process, Site, token_of

IP: Final = "203.0.113.9"
PATIENCE: Final = 20.0  # seconds that nothing here takes

_T = TypeVar("_T")


def running(test: Callable[[], Awaitable[_T]]) -> _T:
    """The result of a coroutine on a loop of its own."""

    async def bounded() -> _T:
        async with asyncio.timeout(PATIENCE):
            return await test()

    return asyncio.run(bounded())


@asynccontextmanager
async def deciding(process: Process) -> AsyncIterator[Decider]:
    decider = Decider(verifier=process.node.verifier, log=process.node.records.log)
    try:
        yield decider
    finally:
        decider.close()


@contextmanager
def hanging(process: Process, *methods: Method) -> Iterator[threading.Event]:
    """A ledger of which these methods do not answer until the event is set, or the block ends."""
    may_go_on = threading.Event()
    for method in methods:
        process.ledger.always(method, lambda: may_go_on.wait(PATIENCE))
    try:
        yield may_go_on
    finally:
        may_go_on.set()
        process.ledger.work_again()


async def ask(decider: Decider, key: GeneratedKey | str, ip: str | None = None) -> str:
    return (await decider.decide(token_of(key), NO_DEMAND, ip)).code


async def ask_all(decider: Decider, keys: Sequence[GeneratedKey | str]) -> Counter[str]:
    return Counter(await asyncio.gather(*(ask(decider, key) for key in keys)))


async def in_time(condition: Callable[[], object]) -> None:
    """Let the loop go on until something holds that other threads bring about."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what happens in other threads sets no event
            await asyncio.sleep(0.002)


# Loads


def test_a_warm_credential_is_answered_without_a_thread(ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    ours.ledger.fail(AssertionError("the ledger was asked"))

    async def test() -> None:
        async with deciding(ours) as decider:
            assert await ask(decider, key) == "valid"
            assert not decider._threads._threads

    running(test)


def test_requests_for_one_credential_share_one_load(ours: Process) -> None:
    key = ours.issue()

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                asked = asyncio.gather(*(ask(decider, key) for _ in range(100)))
                await in_time(lambda: ours.ledger.calls["read_credential"])
                await asyncio.sleep(0.02)
                may_go_on.set()
                assert Counter(await asked) == {"valid": 100}
            assert ours.ledger.calls["read_credential"] == 1
            assert not decider._loads

    running(test)


def test_a_shared_load_answers_each_request_for_itself(ours: Process) -> None:
    """A wrong secret for an id that is being loaded must not ride along."""
    key, other = ours.issue(), ours.make()
    assert key.credential_id is not None
    wrong = tokens.build("kt", key.credential_id, "A" * 43)

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                asked = asyncio.gather(ask(decider, key), ask(decider, wrong), ask(decider, other))
                await in_time(lambda: ours.ledger.calls["read_credential"] == 2)
                may_go_on.set()
                assert list(await asked) == ["valid", "not_found", "not_found"]

    running(test)


def test_different_credentials_are_loaded_side_by_side_in_a_bounded_pool(ours: Process) -> None:
    keys = [ours.issue() for _ in range(3 * LOAD_THREADS)]

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                asked = asyncio.ensure_future(ask_all(decider, keys))
                await in_time(lambda: ours.ledger.calls["read_credential"] == LOAD_THREADS)
                await asyncio.sleep(0.05)
                assert ours.ledger.calls["read_credential"] == LOAD_THREADS == 8
                may_go_on.set()
                codes = await asked
                assert codes.total() == len(keys)
                assert set(codes) <= {"valid", "stale"}, "late, where this machine is slow"

    running(test)


def test_past_so_many_loads_a_cold_credential_is_throttled_and_one_under_way_is_not(ours: Process) -> None:
    first, cold = ours.issue(), ours.issue()
    unknown = [ours.make() for _ in range(MAX_LOADS - 1)]

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                asked = [asyncio.ensure_future(ask(decider, key)) for key in (first, *unknown)]
                await asyncio.sleep(0)
                assert len(decider._loads) == MAX_LOADS == 512
                assert await ask(decider, cold) == "throttled"
                shared = asyncio.ensure_future(ask(decider, first))
                await asyncio.sleep(0)
                assert not shared.done()
                may_go_on.set()
                assert Counter(await asyncio.gather(*asked, shared)) == {
                    "valid": 2,
                    "not_found": MAX_LOADS - 1,
                }
            assert await ask(decider, cold) == "valid", "there is room again"
            assert not decider._loads

    running(test)


def test_a_guessing_source_is_throttled_before_it_costs_a_load(ours: Process) -> None:
    async def test() -> None:
        async with deciding(ours) as decider:
            codes = Counter([await ask(decider, ours.make(), IP) for _ in range(2 * FAILURE_BURST)])
            assert codes == {"not_found": FAILURE_BURST, "throttled": FAILURE_BURST}
            assert ours.ledger.calls["read_credential"] == FAILURE_BURST

    running(test)


@pytest.mark.parametrize(
    ("error", "expected"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
def test_a_load_that_fails_refuses_all_who_wait_for_it(
    ours: Process, error: Exception, expected: str
) -> None:
    key = ours.issue()

    async def test() -> None:
        async with deciding(ours) as decider:
            ours.ledger.fail(error, "read_credential")
            assert await ask_all(decider, [key] * 10) == {expected: 10}
            ours.ledger.work_again()
            assert await ask(decider, key) == "valid", "the next request loads anew"

    running(test)


def test_a_load_that_takes_too_long_is_given_up_and_its_result_is_kept(ours: Process) -> None:
    key = ours.issue()

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                began = time.monotonic()
                assert await ask(decider, key) == "stale"
                assert LOAD_SECONDS <= time.monotonic() - began < 3 * LOAD_SECONDS
                may_go_on.set()
                await in_time(lambda: not decider._loads)
            assert await ask(decider, key) == "valid"
            assert ours.ledger.calls["read_credential"] == 1

    running(test)


def test_a_client_that_goes_away_does_not_end_the_load_of_the_others(ours: Process) -> None:
    key = ours.issue()

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                gone, stays = (asyncio.ensure_future(ask(decider, key)) for _ in range(2))
                await in_time(lambda: ours.ledger.calls["read_credential"])
                gone.cancel()
                await asyncio.sleep(0)
                may_go_on.set()
                assert await stays == "valid"
                assert gone.cancelled()

    running(test)


@pytest.mark.parametrize("by", ["this process", "another, and the log was read since"])
def test_a_key_that_is_revoked_while_it_is_loaded_is_not_let_in(
    ours: Process, theirs: Process, by: str
) -> None:
    key = ours.issue()

    def revoke() -> None:
        (ours if by == "this process" else theirs).revoke(key)
        ours.catch_up()

    async def test() -> None:
        async with deciding(ours) as decider:
            ours.ledger.after("read_credential", revoke)
            assert await ask_all(decider, [key] * 10) == {"revoked": 10}

    running(test)


async def held_up(meanwhile: Callable[[], object]) -> None:
    """A handler that keeps the loop busy."""
    meanwhile()


def test_a_loaded_entry_that_was_pushed_out_of_memory_before_it_was_used_is_not_let_in_after_a_revocation(
    site: Site,
) -> None:
    ours = site.process(capacity=2)
    key, others = ours.issue(), [ours.issue() for _ in range(3)]
    verifier = ours.node.verifier

    def meanwhile() -> None:
        # The load has ended in its thread; the request that waits for it has not had its turn.
        until(lambda: verifier._cache.by_id(str(key.credential_id)))
        for other in others:
            verifier.load(str(other.credential_id))
        ours.revoke(key)

    async def test() -> None:
        async with deciding(ours) as decider:
            asked = asyncio.ensure_future(ask(decider, key))
            await asyncio.sleep(0)
            await held_up(meanwhile)
            assert await asked == "revoked"

    running(test)


def test_a_valid_key_whose_load_ends_while_another_request_is_decided_is_found(
    site: Site, ours: Process
) -> None:
    key = ours.issue()

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "read_credential") as may_go_on:
                first = asyncio.ensure_future(ask(decider, key))
                await in_time(lambda: ours.ledger.calls["read_credential"])

                def load_ends() -> None:
                    may_go_on.set()
                    until(lambda: ours.node.verifier._cache.by_id(str(key.credential_id)))

                site.clock.at_next("steady", load_ends)
                assert [await ask(decider, key), await first] == ["valid", "valid"]

    running(test)


# Staleness


def stale(site: Site) -> None:
    """Let the bound pass."""
    site.clock.pass_time(60.0)


def test_requests_that_find_the_node_stale_share_one_read_of_the_log(site: Site, ours: Process) -> None:
    keys = [ours.issue() for _ in range(20)]
    assert all(ours.ask(key) for key in keys)

    async def test() -> None:
        async with deciding(ours) as decider:
            stale(site)
            reads = ours.ledger.calls["read_log"]
            with hanging(ours, "read_log") as may_go_on:
                asked = asyncio.ensure_future(ask_all(decider, keys * 10))
                await in_time(lambda: ours.ledger.calls["read_log"] > reads)
                may_go_on.set()
                assert await asked == {"valid": 200}
            assert ours.ledger.calls["read_log"] == reads + 1
            stale(site)
            assert await ask_all(decider, keys) == {"valid": 20}
            assert ours.ledger.calls["read_log"] == reads + 2, "and the next time there is another"

    running(test)


def test_a_batch_of_stale_items_waits_once_for_a_ledger_that_hangs(site: Site, ours: Process) -> None:
    keys = [ours.issue() for _ in range(100)]
    assert all(ours.ask(key) for key in keys)

    async def test() -> float:
        async with deciding(ours) as decider:
            log = ours.node.records.log
            endpoint = VerifyEndpoint(
                verifier=ours.node.verifier, decider=decider, log=log, measured=Measured()
            )
            stale(site)
            with hanging(ours, "read_log"):
                began = time.monotonic()
                answers = await endpoint._decide_all([(token_of(key), NO_DEMAND, None) for key in keys])
                seconds = time.monotonic() - began
                assert Counter(answer.code for answer in answers) == {"stale": 100}
            return seconds

    assert CATCH_UP_SECONDS == 0.25
    assert 0.9 * CATCH_UP_SECONDS < running(test) < 4 * CATCH_UP_SECONDS


def test_others_have_their_turn_while_the_queries_of_a_batch_are_parsed() -> None:
    """A thousand long ones take a fifth of a second in all."""
    caller, parsed = Principal(actor="library"), list[int]()
    asked = [{"key": "x", "permissions": f"documents.read.d{number}"} for number in range(MAX_BATCH)]

    async def test() -> None:
        batch = asyncio.ensure_future(_questions(asked, caller))
        while not batch.done():
            parsed.append(_demand.cache_info().misses)
            await asyncio.sleep(0)
        assert len(await batch) == MAX_BATCH

    running(test)
    assert parsed[-1] - parsed[0] == MAX_BATCH
    assert max(after - before for before, after in pairwise(parsed)) <= 16


def test_who_comes_later_waits_no_longer_than_those_before(site: Site, ours: Process) -> None:
    """The deadline is the read's, from its start, and not each request's own."""
    key = ours.issue()
    assert ours.ask(key)

    async def test() -> None:
        async with deciding(ours) as decider:
            stale(site)
            with hanging(ours, "read_log"):
                assert await ask(decider, key) == "stale"
                began = time.monotonic()
                for _ in range(20):
                    assert await ask(decider, key) == "stale"
                assert time.monotonic() - began < 4 * CATCH_UP_SECONDS, (
                    "twenty times the deadline would be 5 s"
                )
            await in_time(lambda: decider._catching_up is None)
            assert await ask(decider, key) == "valid", "once the ledger answers, so does the node"

    running(test)


@pytest.mark.parametrize(
    ("error", "expected"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
def test_a_read_that_fails_refuses_all_who_wait_for_it(
    site: Site, ours: Process, error: Exception, expected: str
) -> None:
    key = ours.issue()
    assert ours.ask(key)

    async def test() -> None:
        async with deciding(ours) as decider:
            stale(site)
            ours.ledger.fail(error, "read_log")
            assert await ask_all(decider, [key] * 10) == {expected: 10}

    running(test)


def test_a_revocation_elsewhere_is_known_after_the_read_that_a_stale_node_makes(
    site: Site, ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    assert ours.ask(key)
    theirs.revoke(key)

    async def test() -> None:
        async with deciding(ours) as decider:
            assert await ask(decider, key) == "valid", "within the bound"
            stale(site)
            assert await ask_all(decider, [key] * 10) == {"revoked": 10}

    running(test)


def test_a_process_that_is_paused_at_each_attempt_answers_stale(site: Site, ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)

    async def test() -> None:
        async with deciding(ours) as decider:
            for _ in range(20):
                site.clock.at_next("nanos", lambda: stale(site))
            assert await ask(decider, key) == "stale"

    running(test)


# The loop


@pytest.mark.parametrize("methods", [("read_credential",), ("read_log",), ("read_credential", "read_log")])
def test_a_ledger_that_hangs_delays_nobody_who_does_not_need_it(
    site: Site, ours: Process, methods: tuple[Method, ...]
) -> None:
    warm, cold = ours.issue(), [ours.issue() for _ in range(2 * LOAD_THREADS)]
    assert ours.ask(warm)

    async def test() -> None:
        async with deciding(ours) as decider:
            waiting: list[asyncio.Future[Any]] = []
            with hanging(ours, *methods):
                if "read_log" in methods:
                    stale(site)
                waiting += [asyncio.ensure_future(ask(decider, key)) for key in cold]
                longest = 0.0
                for _ in range(50):
                    began = time.monotonic()
                    await asyncio.sleep(0.002)
                    if "read_log" not in methods:
                        assert await ask(decider, warm) == "valid"
                    longest = max(longest, time.monotonic() - began)
                assert not all(each.done() for each in waiting), "they still wait"
                assert longest < CATCH_UP_SECONDS, "one turn of the loop takes milliseconds"
            await asyncio.gather(*waiting)

    running(test)


# Who calls


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer  abc "])
def test_the_token_of_a_bearer_header_is_found(header: str) -> None:
    assert bearer_of(header) == "abc"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"])
def test_a_header_without_a_bearer_token_is_no_authentication(header: str) -> None:
    with pytest.raises(UnauthenticatedError):
        bearer_of(header)


def provisioned(process: Process, **spec: Any) -> GeneratedKey:
    given = {"permissions": ("keys.verify",), "key_scope": KeyScope.FULL, **spec}
    return process.issue(key_type=KeyType.PROVISIONING, **given)


def test_a_provisioning_key_with_the_permission_is_a_principal(ours: Process) -> None:
    key = provisioned(ours, permissions=("keys.*",), key_scope=KeyScope.READ_WRITE)

    async def test() -> None:
        async with deciding(ours) as decider:
            principal = await decider.principal(f"Bearer {token_of(key)}", "keys.verify", IP)
            assert (principal.actor, principal.tenant) == (f"key:{key.key_id}", "default")
            assert (principal.permissions, principal.scope) == (("keys.*",), KeyScope.READ_WRITE)

    running(test)


def of_another_type(process: Process) -> Verification:
    return process.ask(process.issue(permissions=("*",)))


def without_the_permission(process: Process) -> Verification:
    return process.ask(provisioned(process, permissions=("keys.read",)))


def revoked(process: Process) -> Verification:
    key = provisioned(process)
    process.revoke(key)
    return process.ask(key)


def unknown(process: Process) -> Verification:
    return process.ask(process.make())


def from_elsewhere(process: Process) -> Verification:
    return process.ask(provisioned(process, allowed_ips=("10.0.0.0/8",)), ip=IP)


def throttled(process: Process) -> Verification:
    return [process.ask(process.make(), ip=IP) for _ in range(FAILURE_BURST + 1)][-1]


def too_old(process: Process) -> Verification:
    process.clock.pass_time(60.0)
    process.ledger.fail(StorageError("gone"))
    return process.ask(process.make())


def tampered(process: Process) -> Verification:
    key = provisioned(process)
    process.ledger.fail(IntegrityError("altered"), "read_credential")
    return process.ask(key)


@pytest.mark.parametrize(
    ("verification", "error"),
    [
        (of_another_type, UnauthenticatedError),
        (revoked, UnauthenticatedError),
        (unknown, UnauthenticatedError),
        (without_the_permission, ForbiddenError),
        (from_elsewhere, ForbiddenError),
        (throttled, ThrottledError),
        (too_old, StaleError),
        (tampered, IntegrityError),
    ],
)
def test_whoever_is_no_principal_is_told_no_more_than_helps(
    ours: Process, verification: Callable[[Process], Verification], error: type[KeyturnError]
) -> None:
    with pytest.raises(error) as caught:
        principal_of(verification(ours), "keys.verify")
    assert type(caught.value) is error
    if error is UnauthenticatedError:
        assert "revoked" not in str(caught.value), "why, is for the log"
