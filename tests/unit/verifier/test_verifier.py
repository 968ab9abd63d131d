"""Deciding from memory: what it never does, when it may not, and what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keyturn.domain import token as tokens
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification
from keyturn.errors import ConfigurationError, IntegrityError, StorageError
from keyturn.verifier.decision import Demand
from keyturn.verifier.entries import Entry
from keyturn.verifier.throttle import FAILURE_BURST, VAIN_BURST
from tests.fakes import TICK, Process, Site, token_of

Ask = dict[str, Any]
OTHERS = Principal(actor="library", tenant="other")
IP = "203.0.113.9"


ANY_TENANT = Demand(tenant=None)


def with_wrong_secret(key: GeneratedKey) -> str:
    """A well-formed token with this key's credential_id and another secret."""
    parsed = tokens.parse(token_of(key))
    assert parsed is not None
    return tokens.build(parsed.prefix, parsed.credential_id, "A" * 43)


def said(verification: Verification) -> tuple[object, ...]:
    """Everything that can be seen of an answer, but for how far the log was read."""
    names = (
        "code",
        "key_id",
        "version",
        "owner",
        "scope",
        "permissions",
        "metadata",
        "expires_at",
        "presented",
    )
    return (bool(verification), *(getattr(verification, name) for name in names))


# What is decided without the ledger


ASKED: dict[str, tuple[Ask, str]] = {
    "a valid key": ({}, "valid"),
    "scope": ({"scope": KeyScope.WRITE}, "insufficient_scope"),
    "permission": ({"permissions": "billing.read"}, "insufficient_permissions"),
    "network": ({"ip": "198.51.100.1"}, "ip_denied"),
    "another tenant": ({"tenant": "other"}, "not_found"),
}


@pytest.fixture
def warm(ours: Process) -> GeneratedKey:
    """A key that is in memory."""
    key = ours.issue(permissions=("documents.read",), allowed_ips=(IP,))
    assert ours.ask(key, ip=IP)
    return key


def without_a_ledger(process: Process) -> None:
    process.ledger.fail(AssertionError("the ledger was asked"))


@pytest.mark.parametrize("asked", ASKED)
def test_a_known_credential_is_decided_without_the_ledger(
    ours: Process, warm: GeneratedKey, asked: str
) -> None:
    demand, expected = ASKED[asked]
    without_a_ledger(ours)
    assert ours.decide(warm, **{"ip": IP, **demand}) == expected
    assert ours.ask(warm, **{"ip": IP, **demand}).code == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", "COLD"),
        ("kt_", "COLD"),
        ("x" * 100_000, "COLD"),
        ("kt_" + "A" * 65, "COLD"),
        ("\ud800", "malformed"),
        ("ключ", "COLD"),
    ],
)
def test_whatever_is_presented_deciding_asks_no_ledger(ours: Process, token: str, expected: str) -> None:
    without_a_ledger(ours)
    assert ours.decide(token) == expected
    assert ours.ask(token).code == "malformed"


def test_a_node_that_is_stale_says_so_without_asking_the_ledger(
    site: Site, ours: Process, warm: GeneratedKey
) -> None:
    without_a_ledger(ours)
    site.clock.pass_time(2.0)
    for token in (token_of(warm), with_wrong_secret(warm), "kt_"):
        assert ours.decide(token, ip=IP) == "STALE"


def test_a_wrong_secret_for_a_known_id_costs_no_read(ours: Process, warm: GeneratedKey) -> None:
    without_a_ledger(ours)
    for _ in range(3):
        assert ours.ask(with_wrong_secret(warm), ip="198.51.100.9").code == "not_found"


def test_a_malformed_token_costs_no_read_even_when_its_source_is_throttled(ours: Process) -> None:
    without_a_ledger(ours)
    codes = {ours.ask(f"kt_{number}", ip=IP).code for number in range(2 * FAILURE_BURST)}
    assert codes == {"malformed"}


def test_a_refused_credential_stays_known(ours: Process, warm: GeneratedKey) -> None:
    ours.revoke(warm)
    assert ours.ask(warm, ip=IP).code == "revoked"
    without_a_ledger(ours)
    assert ours.ask(warm, ip=IP).code == "revoked"


# Who is not found


def test_an_unknown_id_a_wrong_secret_and_another_tenants_key_are_answered_alike(
    site: Site, ours: Process
) -> None:
    """Nothing in the answer tells a guesser how close the guess was."""
    ours.issue()
    known, cold = ours.issue(owner="acme", metadata={"plan": "gold"}), ours.issue(owner="acme")
    foreign, cold_foreign = ours.issue(by=OTHERS, owner="acme"), ours.issue(by=OTHERS)
    assert ours.ask(known)
    assert ours.ask(foreign, tenant="other")
    presented = {
        "an unknown id": token_of(ours.make()),
        "a wrong secret": with_wrong_secret(known),
        "a wrong secret of a cold key": with_wrong_secret(cold),
        "another tenant's key": token_of(foreign),
        "another tenant's cold key": token_of(cold_foreign),
        "a wrong secret of another tenant's key": with_wrong_secret(foreign),
    }
    answers = {what: ours.ask(token) for what, token in presented.items()}
    expected: tuple[object, ...] = (False, "not_found", None, None, None, None, (), {}, None, None)
    assert {what: said(answer) for what, answer in answers.items()} == dict.fromkeys(presented, expected)
    assert len({repr(answer) for answer in answers.values()}) == 1


def test_who_asks_for_any_tenant_learns_whose_key_it_is(ours: Process) -> None:
    key = ours.issue(by=OTHERS)
    answer = ours.node.verifier.authenticate(token_of(key), Demand(tenant=None))
    assert answer
    assert isinstance(answer.presented, Entry)
    assert answer.presented.tenant == "other"


# How recent it must be


def stale_after(process: Process, key: GeneratedKey, seconds: float) -> bool:
    """Whether a node says that it is stale so many seconds after its last completed read began."""
    process.clock.set_steady(process.node.records.log.read_at + seconds)
    outcome = process.decide(key)
    assert outcome in ("valid", "STALE")
    return outcome == "STALE"


@pytest.mark.parametrize("bound", [0.125, 1.0, 60.0])
def test_a_node_is_stale_just_after_max_staleness_and_not_before(site: Site, bound: float) -> None:
    process = site.process(max_staleness=bound)
    key = process.issue()
    assert process.ask(key)
    process.catch_up()
    assert not stale_after(process, key, 0)
    assert not stale_after(process, key, bound)
    assert stale_after(process, key, bound + TICK)
    process.clock.set_steady(process.node.records.log.read_at + bound)
    assert process.node.verifier.is_fresh
    assert not process.node.verifier.is_fresh, "a tick later"


def test_staleness_counts_from_the_start_of_the_read_and_not_from_its_end(site: Site, ours: Process) -> None:
    """What was committed while the answer was on its way may not be in it."""
    key = ours.issue()
    assert ours.ask(key)
    began = site.clock.steady()
    ours.ledger.after("read_log", lambda: site.clock.pass_time(0.75))
    ours.catch_up()
    assert ours.node.records.log.read_at - began < 0.001
    assert not stale_after(ours, key, 1.0)
    assert stale_after(ours, key, 1.0 + TICK)


def test_a_read_that_failed_makes_nothing_fresher(site: Site, ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    read_at = ours.node.records.log.read_at
    site.clock.pass_time(0.75)
    ours.ledger.fail(StorageError("gone"), "read_log")
    with pytest.raises(StorageError):
        ours.catch_up()
    assert ours.node.records.log.read_at == read_at
    site.clock.pass_time(0.5)
    assert ours.decide(key) == "STALE"


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(seconds=-2), timedelta(hours=1)], ids=str)
def test_a_wall_clock_that_is_set_back_or_forward_neither_extends_nor_ends_freshness(
    site: Site, ours: Process, step: timedelta
) -> None:
    key = ours.issue()
    assert ours.ask(key)
    ours.catch_up()
    site.clock.step_wall(step)
    assert not stale_after(ours, key, 1.0)
    assert stale_after(ours, key, 1.0 + TICK)
    site.clock.step_wall(-2 * step)
    assert stale_after(ours, key, 1.0 + 2 * TICK)


@pytest.mark.parametrize("look", ["nanos", "steady"])
def test_a_process_that_was_stopped_between_look_up_and_answer_does_not_answer_from_before(
    site: Site, ours: Process, theirs: Process, look: Any
) -> None:
    """SIGSTOP, a suspended machine, a long pause of the collector: none of them may let a revoked key in."""
    key = ours.issue()
    assert ours.ask(key)
    theirs.revoke(key)
    site.clock.at_next(look, lambda: site.clock.pass_time(10.0))
    assert ours.decide(key) == "STALE"
    site.clock.at_next(look, lambda: site.clock.pass_time(10.0))
    assert ours.ask(key).code == "revoked"


@pytest.mark.parametrize("look", ["nanos", "steady"])
def test_a_process_that_was_stopped_and_cannot_reach_the_store_answers_stale(
    site: Site, ours: Process, look: Any
) -> None:
    key = ours.issue()
    assert ours.ask(key)
    ours.ledger.fail(StorageError("gone"))
    site.clock.at_next(look, lambda: site.clock.pass_time(10.0))
    assert ours.ask(key).code == "stale"


def test_a_process_that_was_stopped_does_not_answer_from_before_though_another_thread_has_read_the_log_since(
    site: Site, ours: Process, theirs: Process
) -> None:
    """What was found before the pause is as old as it was then, whatever the log reader knows by now."""
    key = ours.issue()
    assert ours.ask(key)
    theirs.revoke(key)

    def stopped() -> None:
        site.clock.pass_time(10.0)
        ours.catch_up()

    site.clock.at_next("nanos", stopped)
    assert ours.decide(key) == "STALE"
    assert ours.decide(key) == "COLD"
    assert ours.ask(key).code == "revoked"


@pytest.mark.parametrize("asked", ASKED)
def test_nothing_at_all_is_said_of_a_key_from_before_a_pause(
    site: Site, ours: Process, warm: GeneratedKey, asked: str
) -> None:
    demand, _ = ASKED[asked]
    site.clock.at_next("nanos", lambda: site.clock.pass_time(10.0))
    assert ours.decide(warm, **{"ip": IP, **demand}) == "STALE"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_that_was_stopped_while_it_loaded_does_not_answer_from_before(
    site: Site, ours: Process, theirs: Process, moment: str
) -> None:
    key = ours.issue()

    def stopped() -> None:
        theirs.revoke(key)
        site.clock.pass_time(10.0)

    if moment == "after":
        ours.ledger.after("read_credential", stopped)
        assert ours.ask(key).code == "revoked"
    else:
        ours.ledger.before("read_credential", stopped)
        assert ours.ask(key).code == "revoked"


def test_a_process_that_is_stopped_again_and_again_ends_with_stale(site: Site, ours: Process) -> None:
    key = ours.issue()
    stop: Callable[[], None] = lambda: site.clock.pass_time(10.0)  # noqa: E731 - as short as what it does
    ours.ledger.after("read_credential", *[stop] * 10)
    assert ours.ask(key).code == "stale"


# What it answers when it can't know


def test_a_stale_node_reads_the_log_once_and_decides(site: Site, ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    site.clock.pass_time(5.0)
    reads = ours.ledger.calls["read_log"]
    assert ours.ask(key)
    assert ours.ask(key)
    assert ours.ledger.calls["read_log"] == reads + 1
    assert ours.ledger.calls["read_credential"] == 1, "nothing changed, so nothing is loaded again"


@pytest.mark.parametrize(
    ("error", "expected"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
def test_a_log_that_cannot_be_read_refuses_everybody(
    site: Site, ours: Process, error: Exception, expected: str
) -> None:
    key = ours.issue()
    assert ours.ask(key)
    site.clock.pass_time(5.0)
    ours.ledger.fail(error, "read_log")
    answer = ours.ask(key)
    assert said(answer)[:3] == (False, expected, None)
    assert not ours.ask(ours.make())


@pytest.mark.parametrize(
    ("error", "expected"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
def test_a_credential_that_cannot_be_read_is_refused(ours: Process, error: Exception, expected: str) -> None:
    key = ours.issue()
    ours.ledger.fail(error, "read_credential")
    assert ours.ask(key).code == expected
    ours.ledger.work_again()
    assert ours.ask(key)


def test_with_the_store_gone_warm_keys_are_answered_within_the_bound_and_cold_ones_are_not(
    site: Site, ours: Process
) -> None:
    warm, cold = ours.issue(), ours.issue()
    assert ours.ask(warm)
    ours.ledger.fail(StorageError("gone"))
    site.clock.pass_time(0.5)
    assert (ours.ask(warm).code, ours.ask(cold).code) == ("valid", "stale")
    site.clock.pass_time(0.75)
    assert (ours.ask(warm).code, ours.ask(cold).code) == ("stale", "stale")
    ours.ledger.work_again()
    assert (ours.ask(warm).code, ours.ask(cold).code) == ("valid", "valid")


def test_an_answer_says_how_far_the_log_was_read(site: Site, ours: Process, theirs: Process) -> None:
    key = ours.issue()
    for number in range(3):
        assert ours.ask(key).as_of == f"{ours.ledger.log_id}:{2 + number}"
        theirs.issue()
        site.clock.pass_time(2.0)
    assert ours.ask("kt_").as_of == f"{ours.ledger.log_id}:5"
    theirs.issue()
    assert ours.ask(ours.make()).as_of == f"{ours.ledger.log_id}:5"


def test_an_answer_claims_no_more_than_was_known_when_its_key_was_looked_up(
    site: Site, ours: Process, theirs: Process
) -> None:
    """Whoever compares `as_of` with the position of a revocation must be able to rely on it."""
    key = ours.issue()
    before = ours.ask(key).as_of

    def another_thread_reads_on() -> None:
        theirs.revoke(key)
        ours.catch_up()

    site.clock.at_next("nanos", another_thread_reads_on)
    answer = ours.ask(key)
    assert (answer.code, answer.as_of) == ("valid", before)
    answer = ours.ask(key)
    assert (answer.code, answer.as_of) == ("revoked", ours.node.records.log.as_of)


# Guessers


def unknown(process: Process) -> str:
    return token_of(process.make())


def test_a_source_that_guesses_is_throttled_and_asks_the_store_no_more(site: Site, ours: Process) -> None:
    codes = [ours.ask(unknown(ours), ip=IP).code for _ in range(2 * FAILURE_BURST)]
    assert codes == ["not_found"] * FAILURE_BURST + ["throttled"] * FAILURE_BURST
    assert ours.ledger.calls["read_credential"] == FAILURE_BURST
    assert ours.ask(unknown(ours), ip="198.51.100.7").code == "not_found"
    site.clock.pass_time(1.0)
    assert [ours.ask(unknown(ours), ip=IP).code for _ in range(2)] == ["not_found", "throttled"]


def test_malformed_tokens_and_wrong_secrets_are_failures_too(ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    for _ in range(FAILURE_BURST // 2):
        ours.ask("garbage", ip=IP)
        ours.ask(with_wrong_secret(key), ip=IP)
    assert ours.ask(unknown(ours), ip=IP).code == "throttled"


def test_a_warm_valid_key_is_never_throttled(ours: Process) -> None:
    warm, cold = ours.issue(), ours.issue()
    assert ours.ask(warm, ip=IP)
    for _ in range(FAILURE_BURST):
        ours.ask(unknown(ours), ip=IP)
    assert ours.ask(cold, ip=IP).code == "throttled"
    assert all(ours.ask(warm, ip=IP) for _ in range(100))


def test_whoever_names_an_address_locks_out_neither_its_tenants_nor_its_connections(
    site: Site, ours: Process
) -> None:
    key = ours.issue()
    codes = [ours.ask(unknown(ours), ip=IP, tenant="evil").code for _ in range(2 * FAILURE_BURST)]
    assert codes[-1] == "throttled"
    assert ours.ask(key, ip=IP)
    cold = site.process()
    assert cold.node.verifier.authenticate(token_of(key), ANY_TENANT, IP)


def test_a_cold_caller_behind_an_address_that_guesses_is_heard(ours: Process) -> None:
    """Behind a proxy all callers have one address."""
    key = ours.issue()
    for _ in range(2 * FAILURE_BURST):
        ours.node.verifier.authenticate("kt_guess", ANY_TENANT, IP)
    assert ours.node.verifier.authenticate(token_of(key), ANY_TENANT, IP)


def test_a_valid_key_whose_demands_are_not_met_is_no_guess(ours: Process) -> None:
    key = ours.issue()
    for _ in range(2 * FAILURE_BURST):
        assert ours.ask(key, ip=IP, scope=KeyScope.WRITE).code == "insufficient_scope"
    assert ours.ask(ours.issue(), ip=IP)


def test_many_cold_keys_from_one_address_are_no_guesses(ours: Process) -> None:
    """After a restart all of a gateway's keys are cold."""
    keys = [ours.issue() for _ in range(3 * FAILURE_BURST)]
    assert all(ours.ask(key, ip=IP) for key in keys)


def test_guessers_from_many_addresses_share_a_budget_and_the_memory_they_take_is_bounded(
    site: Site, ours: Process
) -> None:
    warm = ours.issue()
    assert ours.ask(warm)
    ours.node.recorder.flush()
    asked = ours.ledger.calls["read_credential"]
    flood = VAIN_BURST + 1_000
    ours.catch_up()
    refused = {"not_found": 0, "throttled": 0, "malformed": 0}
    token = unknown(ours)
    parsed = tokens.parse(token)
    assert parsed is not None
    for number in range(flood):
        guess = tokens.build("kt", f"{number:016}", parsed.secret.reveal())
        refused[ours.ask(guess, ip=f"2001:db8:{number >> 8:x}:{number & 255:x}::1").code] += 1
        refused[ours.ask("kt_guess", ip=f"2001:db9:{number >> 8:x}:{number & 255:x}::1").code] += 1
    looked_up = ours.ledger.calls["read_credential"] - asked
    assert VAIN_BURST <= looked_up <= VAIN_BURST + 500, "the burst, and what a second gives"
    assert refused == {"not_found": looked_up, "throttled": flood - looked_up, "malformed": flood}
    assert len(ours.node.verifier._cache) == 1
    assert len(ours.node.verifier._throttle._named) <= flood + looked_up
    assert len(ours.node.verifier._uses._refusals) == 3, "one count for each code"
    assert ours.ask(warm)


@pytest.mark.parametrize("bound", [math.nan, math.inf, 0.0, -1.0, 60.1])
def test_a_bound_that_bounds_nothing_is_refused(site: Site, bound: float) -> None:
    with pytest.raises(ConfigurationError, match="staleness"):
        site.process(max_staleness=bound)


# Uses


def test_valid_answers_are_uses_and_refusals_are_counted_by_code(site: Site, ours: Process) -> None:
    key = ours.issue()
    for _ in range(3):
        ours.ask(key, ip=IP)
    ours.ask(key, scope=KeyScope.WRITE)
    ours.ask(key, tenant="other")
    ours.ask(unknown(ours))
    ours.ask("garbage")
    ours.node.recorder.flush()
    minute = site.clock.nanos() // 60_000_000_000
    counted = {(use.code, use.count) for use in ours.ledger.read_uses(key.key_id, minute, minute)}
    assert counted == {("valid", 3), ("insufficient_scope", 1)}
    of_nobody = {(use.code, use.count) for use in ours.ledger.read_uses("", minute, minute)}
    assert of_nobody == {("not_found", 2), ("malformed", 1)}
    (last,) = ours.ledger.last_uses([key.key_id])
    assert (last.at, last.ip) == (site.clock.nanos() // 1_000, IP)


def test_a_decision_that_was_not_made_is_not_counted(site: Site, ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    ours.node.recorder.flush()
    site.clock.at_next("nanos", lambda: site.clock.pass_time(10.0))
    assert ours.decide(key) == "STALE"
    ours.decide(ours.make())
    written = ours.ledger.calls["record_uses"]
    ours.node.recorder.flush()
    assert ours.ledger.calls["record_uses"] == written
