"""Keeping guessers from the store, in bounded memory."""

from __future__ import annotations

import ipaddress

import pytest

from keyturn.verifier.throttle import (
    FAILURE_BURST,
    FAILURES_A_SECOND,
    MAX_SOURCES,
    RESERVED_A_SECOND,
    RESERVED_BURST,
    VAIN_A_SECOND,
    VAIN_BURST,
    Allowance,
    Throttle,
)

NOW = 1_000.0
SOURCE = "203.0.113.9"


def exhausted(*sources: str, throttle: Throttle | None = None, at: float = NOW) -> Throttle:
    """A throttle from which each of these has used up its failures."""
    created = throttle or Throttle()
    for source in sources:
        for _ in range(FAILURE_BURST):
            created.failed(source, at)
    return created


# Allowances


def test_an_allowance_gives_its_burst_at_once_and_then_its_rate() -> None:
    allowance, taken = Allowance(2.0, 5), []
    for hundredth in range(301):
        now = NOW + hundredth / 100
        while allowance.wait(now) == 0:
            allowance.take(now)
            taken.append(now)
    assert taken[:5] == [NOW] * 5
    assert [round(at - NOW, 2) for at in taken[5:]] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_the_wait_is_until_one_more_is_allowed() -> None:
    allowance = Allowance(2.0, 1)
    allowance.take(NOW)
    assert allowance.wait(NOW) == 0.5
    assert allowance.wait(NOW + 0.375) == 0.125
    assert allowance.wait(NOW + 0.5) == 0


def test_the_debt_never_exceeds_one_burst() -> None:
    """Whoever was cut off for an hour of failures is heard again after seconds."""
    allowance = Allowance(1.0, 30)
    for _ in range(10_000):
        allowance.take(NOW)
    assert allowance.wait(NOW) == 1.0
    assert not allowance.is_whole(NOW + 29.9)
    assert allowance.is_whole(NOW + 30)


# Sources


def test_a_source_may_fail_thirty_times_at_once_and_then_once_a_second() -> None:
    throttle = Throttle()
    for _ in range(FAILURE_BURST):
        assert throttle.wait(SOURCE, NOW) == 0
        throttle.failed(SOURCE, NOW)
    assert (FAILURE_BURST, FAILURES_A_SECOND) == (30, 1.0)
    assert throttle.wait(SOURCE, NOW) == 1.0
    assert throttle.wait(SOURCE, NOW + 1.0) == 0
    throttle.failed(SOURCE, NOW + 1.0)
    assert throttle.wait(SOURCE, NOW + 1.0) == 1.0


def test_the_failures_of_one_source_are_not_held_against_another() -> None:
    throttle = exhausted(SOURCE)
    assert throttle.wait("203.0.113.10", NOW) == 0
    assert throttle.wait(None, NOW) == 0


def test_who_comes_from_nowhere_known_is_held_to_the_common_budget_alone() -> None:
    throttle = Throttle()
    for _ in range(10 * FAILURE_BURST):
        throttle.failed(None, NOW)
    assert throttle.wait(None, NOW) == 0
    assert not throttle._connections


@pytest.mark.parametrize(
    ("failing", "asking", "together"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.9", SOURCE, True),
        (SOURCE, "::ffff:203.0.113.9", True),
        (SOURCE, "::FFFF:cb00:7109", True),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False),
        (SOURCE, "203.0.113.10", False),
        ("a client", "a client", True),
        ("not:an:address", "not:an:address", True),
        ("not:an:address", "another:one", False),
    ],
)
def test_an_ipv6_source_is_its_64_and_a_mapped_address_is_the_ipv4_one(
    failing: str, asking: str, together: bool
) -> None:
    """One customer of a provider has at least 2^64 addresses to come from."""
    assert (exhausted(failing).wait(asking, NOW) > 0) is together


# Addresses that callers name


def test_what_a_tenant_names_is_held_against_no_connection_and_no_other_tenant() -> None:
    throttle = Throttle()
    for _ in range(2 * FAILURE_BURST):
        throttle.failed(SOURCE, NOW, "evil")
    assert not throttle.admits(SOURCE, NOW, "evil")
    assert throttle.wait(SOURCE, NOW, "evil") > 0
    assert throttle.wait(SOURCE, NOW, "acme") == 0
    assert throttle.wait(SOURCE, NOW) == 0


def test_the_failures_of_connections_are_not_held_against_an_address_that_is_named() -> None:
    assert exhausted(SOURCE).wait(SOURCE, NOW, "acme") == 0


def test_no_number_of_named_addresses_makes_the_failures_of_a_connection_forgotten() -> None:
    throttle = exhausted(SOURCE)
    for source in addresses(0, MAX_SOURCES + 10):
        throttle.failed(source, NOW, "evil")
    assert throttle.wait(SOURCE, NOW) > 0
    assert len(throttle._named) <= MAX_SOURCES


# The reserve


def test_a_connection_that_must_wait_has_a_trickle_left() -> None:
    throttle = exhausted(SOURCE)
    admitted = [throttle.admits(SOURCE, NOW + tenth / 1_000) for tenth in range(1_000)]
    assert (RESERVED_BURST, RESERVED_A_SECOND) == (16, 8.0)
    assert all(admitted[:RESERVED_BURST])
    assert sum(admitted) == RESERVED_BURST + 7


def test_the_reserve_is_one_for_all_connections_and_has_nothing_for_named_addresses() -> None:
    throttle = exhausted(SOURCE, "203.0.113.10")
    for _ in range(2 * FAILURE_BURST):
        throttle.failed(SOURCE, NOW, "evil")
    assert not throttle.admits(SOURCE, NOW, "evil")
    assert sum(throttle.admits(SOURCE, NOW) for _ in range(RESERVED_BURST)) == RESERVED_BURST
    assert not throttle.admits("203.0.113.10", NOW)


def test_who_need_not_wait_does_not_use_the_reserve_up() -> None:
    throttle = exhausted(SOURCE)
    assert all(throttle.admits("192.0.2.1", NOW) for _ in range(10 * RESERVED_BURST))
    assert throttle.admits(SOURCE, NOW)


def test_the_guesses_of_others_leave_a_trickle_to_connections() -> None:
    throttle = Throttle()
    for _ in range(VAIN_BURST):
        throttle.looked_up_in_vain(NOW)
    assert not throttle.admits("192.0.2.1", NOW, "acme")
    assert throttle.admits("192.0.2.1", NOW)


# The budget of all


def test_look_ups_in_vain_of_all_sources_share_a_budget() -> None:
    throttle = Throttle()
    for number in range(VAIN_BURST):
        assert throttle.wait(f"10.{number >> 8}.{number & 255}.1", NOW) == 0
        throttle.looked_up_in_vain(NOW)
    assert (VAIN_BURST, VAIN_A_SECOND) == (5_000, 1_000.0)
    assert throttle.wait("192.0.2.1", NOW) == pytest.approx(0.001)
    assert throttle.wait(None, NOW) == pytest.approx(0.001)
    assert throttle.wait("192.0.2.1", NOW + 0.002) == 0


def test_a_source_waits_for_the_budget_or_for_its_own_allowance_whichever_is_longer() -> None:
    throttle = exhausted(SOURCE)
    for _ in range(VAIN_BURST):
        throttle.looked_up_in_vain(NOW)
    assert throttle.wait(SOURCE, NOW) == 1.0


# Memory


def addresses(first: int, count: int) -> list[str]:
    return [str(ipaddress.IPv4Address(0x0A000000 + number)) for number in range(first, first + count)]


def test_sources_are_bounded_whatever_comes() -> None:
    throttle = Throttle()
    for source in addresses(0, 2 * MAX_SOURCES + 10):
        throttle.failed(source, NOW)
    for number in range(1_000):
        throttle.failed(f"2001:db8:{number:x}::1", NOW)
    assert MAX_SOURCES == 50_000
    assert len(throttle._connections) <= MAX_SOURCES


def test_room_is_made_by_forgetting_sources_that_owe_nothing_any_more() -> None:
    throttle = Throttle()
    for source in addresses(0, MAX_SOURCES - 1):
        throttle.failed(source, NOW)
    exhausted(SOURCE, throttle=throttle, at=NOW + 1.5)
    throttle.failed("192.0.2.1", NOW + 1.5)
    assert set(throttle._connections) == {SOURCE, "192.0.2.1"}
    assert throttle.wait(SOURCE, NOW + 1.5) > 0


def test_when_all_owe_something_the_latest_half_is_remembered() -> None:
    throttle = Throttle()
    for source in addresses(0, MAX_SOURCES):
        throttle.failed(source, NOW)
    throttle.failed(SOURCE, NOW)
    assert len(throttle._connections) == MAX_SOURCES // 2 + 1
    assert list(throttle._connections)[:-1] == addresses(MAX_SOURCES // 2, MAX_SOURCES // 2)


def test_asking_for_the_wait_remembers_nobody() -> None:
    throttle = Throttle()
    for source in addresses(0, 100):
        throttle.wait(source, NOW)
    assert not throttle._connections


def test_what_is_left_of_the_budget_is_told_and_grows_back() -> None:
    throttle = Throttle()
    assert throttle.budget(0.0) == VAIN_BURST
    for _ in range(VAIN_BURST + 10):
        throttle.looked_up_in_vain(0.0)
    assert throttle.budget(0.0) == 0
    assert throttle.budget(1.0) == VAIN_A_SECOND
    assert throttle.budget(1_000.0) == VAIN_BURST


def test_sources_that_are_remembered_are_told_of() -> None:
    throttle = Throttle()
    for source in ("192.0.2.1", "192.0.2.1", "192.0.2.2", None):
        throttle.failed(source, 0.0)
    throttle.failed("192.0.2.1", 0.0, "acme")
    assert throttle.sources == 3
