"""What endpoints' lists and the states of their deliveries promise, on every adapter."""

from __future__ import annotations

import pytest

from keyturn.errors import ConflictError
from keyturn.ports.bounds import MAX_IDS, MAX_LISTED
from keyturn.ports.ledger import KeptState, Ledger, NewRow
from tests.contract.ledger_samples import SEAL, change_of, ids_of


def endpoint(name: str, tenant: str = "default") -> NewRow:
    return NewRow(name, "endpoint", tenant, 1, "{}", SEAL, None)


def test_endpoints_come_newest_first_of_one_tenant_or_of_all(ledger: Ledger) -> None:
    for row in (endpoint("whe_a"), endpoint("whe_b", "other"), endpoint("whe_c")):
        ledger.commit(change_of(row))
    assert ids_of(ledger.list_endpoints("default", None, 10)) == ["whe_c", "whe_a"]
    assert ids_of(ledger.list_endpoints(None, None, 10)) == ["whe_c", "whe_b", "whe_a"]
    assert ids_of(ledger.list_endpoints(None, 3, 1)) == ["whe_b"]


def test_a_state_takes_the_place_of_the_one_before_it(ledger: Ledger) -> None:
    assert ledger.read_states(["whe_a"]) == [None]
    ledger.keep_state(KeptState("whe_a", 1, b"one"))
    ledger.keep_state(KeptState("whe_a", 2, b"\x00two"))
    ledger.keep_state(KeptState("whe_b", 1, b"other"))
    assert ledger.read_states(["whe_b", "whe_none", "whe_a"]) == [
        KeptState("whe_b", 1, b"other"),
        None,
        KeptState("whe_a", 2, b"\x00two"),
    ]


def test_of_two_who_go_on_from_the_same_state_one_loses(ledger: Ledger) -> None:
    ledger.keep_state(KeptState("whe_a", 1, b"one"))
    for turn in (1, 3):
        with pytest.raises(ConflictError):
            ledger.keep_state(KeptState("whe_a", turn, b"lost"))
    with pytest.raises(ConflictError):
        ledger.keep_state(KeptState("whe_b", 2, b"of none before"))
    assert ledger.read_states(["whe_a"]) == [KeptState("whe_a", 1, b"one")]


def test_a_state_is_bounded(ledger: Ledger) -> None:
    ledger.keep_state(KeptState("whe_a", 1, bytes(1 << 20)))
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        ledger.keep_state(KeptState("whe_a", 2, bytes((1 << 20) + 1)))
    assert ledger.read_states(["whe_a"]) == [KeptState("whe_a", 1, bytes(1 << 20))]


def test_states_are_read_a_thousand_at_a_time(ledger: Ledger) -> None:
    assert ledger.read_states(["whe_a"] * MAX_IDS) == [None] * MAX_IDS
    with pytest.raises(ValueError, match="at most 1000"):
        ledger.read_states(["whe_a"] * (MAX_IDS + 1))


@pytest.mark.parametrize("limit", [-1, 0, MAX_LISTED + 1])
def test_a_list_of_endpoints_is_bounded(ledger: Ledger, limit: int) -> None:
    assert ledger.list_endpoints(None, None, MAX_LISTED) == []
    with pytest.raises(ValueError, match="1 to 1001 rows"):
        ledger.list_endpoints(None, None, limit)
