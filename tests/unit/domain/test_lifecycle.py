from itertools import product

import pytest

from keyturn.domain.lifecycle import (
    Act,
    KeyState,
    RevocationReason,
    act_for,
    may_process,
    may_protect,
    next_state,
    parse_reason,
    stricter,
)
from keyturn.errors import IllegalTransitionError, InvalidInputError

S, A = KeyState, Act

# Written out once more, in full, so that a change of the table in the code is a change here.
LEGAL = {
    (S.PRE_ACTIVE, A.ACTIVATE): S.ACTIVE,
    (S.PRE_ACTIVE, A.DEACTIVATE): S.DEACTIVATED,
    (S.PRE_ACTIVE, A.COMPROMISE): S.COMPROMISED,
    (S.PRE_ACTIVE, A.DESTROY): S.DESTROYED,
    (S.ACTIVE, A.SUSPEND): S.SUSPENDED,
    (S.ACTIVE, A.DEACTIVATE): S.DEACTIVATED,
    (S.ACTIVE, A.COMPROMISE): S.COMPROMISED,
    (S.ACTIVE, A.DESTROY): S.DESTROYED,
    (S.SUSPENDED, A.RESUME): S.ACTIVE,
    (S.SUSPENDED, A.DEACTIVATE): S.DEACTIVATED,
    (S.SUSPENDED, A.COMPROMISE): S.COMPROMISED,
    (S.SUSPENDED, A.DESTROY): S.DESTROYED,
    (S.DEACTIVATED, A.COMPROMISE): S.COMPROMISED,
    (S.DEACTIVATED, A.DESTROY): S.DESTROYED,
    (S.COMPROMISED, A.DESTROY): S.DESTROYED,
}
ENDED = {S.DEACTIVATED, S.COMPROMISED, S.DESTROYED}


@pytest.mark.parametrize(("state", "act"), list(product(KeyState, Act)), ids=lambda member: member.value)
def test_each_act_on_each_state_does_what_the_table_says_or_is_refused(state: KeyState, act: Act) -> None:
    """SP 800-57 part 1, section 7."""
    if (state, act) in LEGAL:
        assert next_state(state, act) is LEGAL[state, act]
        return
    with pytest.raises(IllegalTransitionError):
        next_state(state, act)


def test_a_refused_act_names_the_possible_ones() -> None:
    with pytest.raises(
        IllegalTransitionError, match=r"deactivated cannot be suspended; possible: compromise, destroy$"
    ):
        next_state(S.DEACTIVATED, A.SUSPEND)
    with pytest.raises(IllegalTransitionError, match=r"destroyed cannot be resumed; possible: nothing$"):
        next_state(S.DESTROYED, A.RESUME)


def test_an_ended_key_never_becomes_usable_again() -> None:
    """Renewal must not un-revoke: from an ended state every path stays among the ended ones."""
    for (state, _), after in LEGAL.items():
        assert state not in ENDED or after in ENDED


@pytest.mark.parametrize(("first", "second"), list(product(KeyState, KeyState)))
def test_of_two_states_the_stricter_wins_whichever_comes_first(first: KeyState, second: KeyState) -> None:
    assert stricter(first, second) is stricter(second, first)
    assert stricter(first, second) in (first, second)
    assert (stricter(first, second) is S.ACTIVE) is (first is second is S.ACTIVE)


def test_the_more_final_state_is_the_stricter() -> None:
    order = [S.ACTIVE, S.PRE_ACTIVE, S.SUSPENDED, S.DEACTIVATED, S.COMPROMISED, S.DESTROYED]
    assert set(order) == set(KeyState)
    for first, second in product(range(len(order)), repeat=2):
        assert stricter(order[first], order[second]) is order[max(first, second)]


@pytest.mark.parametrize(("key", "version"), list(product(KeyState, KeyState)))
def test_what_a_key_may_do_needs_the_state_of_key_and_version(key: KeyState, version: KeyState) -> None:
    """SP 800-57 part 1, sections 7.1 to 7.6; deactivated processes what it protected before, and no more."""
    assert may_protect(key, version) is ({key, version} == {S.ACTIVE})
    assert may_process(key, version) is ({key, version} <= {S.ACTIVE, S.DEACTIVATED})


def test_a_suspended_key_processes_nothing_with_a_deactivated_version() -> None:
    assert stricter(S.SUSPENDED, S.DEACTIVATED) is S.DEACTIVATED
    assert not may_process(S.SUSPENDED, S.DEACTIVATED)


def test_no_state_at_all_admits_nothing() -> None:
    for may in (may_protect, may_process):
        with pytest.raises(ValueError, match="admit every key"):
            may()


@pytest.mark.parametrize("reason", RevocationReason)
def test_only_key_compromise_marks_a_key_as_compromised(reason: RevocationReason) -> None:
    expected = Act.COMPROMISE if reason.value == "keyCompromise" else Act.DEACTIVATE
    assert act_for(reason) is expected
    assert parse_reason(reason.value) is reason


def test_the_reasons_are_those_of_rfc_5280_that_revoke() -> None:
    """RFC 5280, section 5.3.1, without certificateHold and removeFromCRL."""
    assert [reason.value for reason in RevocationReason] == [
        "unspecified",
        "keyCompromise",
        "cACompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "privilegeWithdrawn",
        "aACompromise",
    ]


@pytest.mark.parametrize(
    "text", ["", "keycompromise", "key_compromise", "certificateHold", "removeFromCRL", "other"]
)
def test_an_unknown_reason_is_refused_and_the_known_ones_are_named(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_reason(text)
    assert refused.value.field == "reason"
    assert "keyCompromise" in refused.value.fix
