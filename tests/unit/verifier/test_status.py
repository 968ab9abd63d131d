"""The status of a key that is named by its id: what a verification would say of its state and its time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keyturn.domain.lifecycle import KeyState
from keyturn.verifier.status import status
from tests.unit.verifier.samples import AT, NANOS, OWNER_ROW, key_of, owner_of, version_of

LATER = AT + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("of_key", "of_version", "valid", "message"),
    [
        ({}, {}, True, "the key is active"),
        ({"not_before": LATER}, {}, False, "the key is not valid yet"),
        ({"expires_at": AT}, {}, False, "the key has expired"),
        ({}, {"expires_at": AT}, False, "the key has expired"),
        ({"state": KeyState.SUSPENDED}, {}, False, "the key is suspended"),
        ({"state": KeyState.DEACTIVATED, "reason": None}, {}, False, "the key has expired"),
        ({"state": KeyState.DEACTIVATED}, {}, False, "the key has been revoked"),
        ({"state": KeyState.COMPROMISED}, {}, False, "the key has been revoked"),
        ({"state": KeyState.DESTROYED}, {"state": KeyState.DESTROYED}, False, "the key has been revoked"),
        ({}, {"state": KeyState.DEACTIVATED}, False, "the key has been revoked"),
        ({"allowed_ips": ("10.0.0.0/8",)}, {}, True, "the key is active"),
    ],
)
def test_a_status_says_state_and_time_for_people(
    of_key: dict[str, Any], of_version: dict[str, Any], valid: bool, message: str
) -> None:
    check = status(key_of(**of_key), version_of(**of_version), None, NANOS)
    assert tuple(check) == (valid, message)
    assert bool(check) is valid


def test_the_status_of_a_key_whose_owner_was_revoked_is_revoked() -> None:
    key = key_of(owner="acme", owner_row=OWNER_ROW, owner_epoch=0)
    assert status(key, version_of(), owner_of(1), NANOS) == (False, "the key has been revoked")
    assert status(key, version_of(), None, NANOS)


@pytest.mark.parametrize("of_key", KeyState, ids=lambda state: state.value)
@pytest.mark.parametrize("of_version", KeyState, ids=lambda state: state.value)
def test_every_state_has_a_status_and_only_active_ones_are_good(
    of_key: KeyState, of_version: KeyState
) -> None:
    check = status(key_of(state=of_key), version_of(state=of_version), None, NANOS)
    assert check.valid is (of_key is of_version is KeyState.ACTIVE)
    assert check.message
