"""Policies and keys for the tests of rotation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from keyturn.domain.key import Key, KeyLength, KeyType
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.scope import KeyScope

ZONES: Final = (
    "UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo",
    "Africa/Casablanca", "Pacific/Apia",
)  # fmt: skip
"""Half-hour changes, none, quarter hours, changes twice around Ramadan, and one that left out a day in 2011."""

instants: Final = st.datetimes(
    min_value=datetime(2005, 1, 1), max_value=datetime(2050, 12, 31), timezones=st.just(UTC)
)


def policy(**members: Any) -> RotationPolicy:
    """A monthly policy with an overlap, unless `members` say otherwise."""
    given: dict[str, Any] = {
        "policy_id": "p",
        "frequency": RotationFrequency.MONTHLY,
        "strategy": RotationStrategy.OVERLAPPING,
        **members,
    }
    return RotationPolicy(**given)


def key_of(created_at: datetime, **members: Any) -> Key:
    """A token's key that was made at a time."""
    made = Key(
        key_id="key_0123456789ABCDEFGHIJKL",
        tenant="default",
        type=KeyType.API_TOKEN,
        scope=KeyScope.READ,
        length=KeyLength.BITS_256,
        state_changed_at=created_at,
        prefix="kt",
        created_at=created_at,
        updated_at=created_at,
    )
    return replace(made, **members)


DAY: Final = timedelta(days=1)
