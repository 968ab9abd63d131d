"""What a policy refuses, by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.policy import RotationFrequency, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError
from tests.unit.domain.rotation.samples import key_of, policy

DAY: Final = 86_400
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
GRADUAL, BLUE_GREEN, IMMEDIATE = (
    RotationStrategy.GRADUAL,
    RotationStrategy.BLUE_GREEN,
    RotationStrategy.IMMEDIATE,
)
CUSTOM, NEVER, DAILY = RotationFrequency.CUSTOM, RotationFrequency.NEVER, RotationFrequency.DAILY


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"policy_id": ""}, "policy_id"),
        ({"policy_id": "a b"}, "policy_id"),
        ({"policy_id": "-a"}, "policy_id"),
        ({"policy_id": "a" * 65}, "policy_id"),
        ({"frequency": "monthly"}, "frequency"),
        ({"strategy": "overlapping"}, "strategy"),
        ({"cron": "0 0 1 * *"}, "cron"),
        ({"frequency": CUSTOM}, "cron"),
        ({"frequency": CUSTOM, "cron": ["0 0 1 * *"]}, "cron"),
        ({"frequency": CUSTOM, "cron": "0 0 1 * *".ljust(300)}, "cron"),
        ({"frequency": CUSTOM, "cron": "0 0 30 2 *"}, "cron"),
        ({"time_zone": "Mars/Olympus_Mons"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"overlap": 29 * DAY}, "overlap"),
        ({"overlap": 0}, "overlap"),
        ({"overlap": 1.5}, "overlap"),
        ({"overlap": True}, "overlap"),
        ({"frequency": DAILY, "overlap": DAY + 1}, "overlap"),
        ({"frequency": CUSTOM, "cron": "0 0 1,3 * *", "overlap": 3 * DAY}, "overlap"),
        ({"frequency": CUSTOM, "cron": "0 0 1 1,12 *", "notices": (40 * DAY,)}, "notices"),
        ({"max_age": DAY, "overlap": 2 * DAY, "notices": ()}, "overlap"),
        ({"overlap": 2 * DAY, "max_overlap": DAY}, "max_overlap"),
        ({"strategy": IMMEDIATE, "overlap": 60}, "overlap"),
        ({"strategy": IMMEDIATE, "lead": 60}, "lead"),
        ({"strategy": IMMEDIATE, "retire_unused_after": 60}, "retire_unused_after"),
        ({"shares": (10, 100)}, "shares"),
        ({"strategy": GRADUAL, "shares": (10, 50)}, "shares"),
        ({"strategy": GRADUAL, "shares": (50, 10, 100)}, "shares"),
        ({"strategy": GRADUAL, "shares": (10, 10, 100)}, "shares"),
        ({"strategy": GRADUAL, "shares": (10.0, 100)}, "shares"),
        ({"strategy": GRADUAL, "shares": b"\x0ad"}, "shares"),
        ({"strategy": GRADUAL, "shares": {10, 100}}, "shares"),
        ({"strategy": GRADUAL, "shares": range(1 << 40)}, "shares"),
        ({"strategy": GRADUAL, "dwell": 10 * DAY}, "overlap"),
        ({"strategy": GRADUAL, "pause_above": 101}, "pause_above"),
        ({"dwell": 60}, "dwell"),
        ({"requires_check": True}, "requires_check"),
        ({"strategy": BLUE_GREEN, "requires_check": 1}, "requires_check"),
        ({"strategy": BLUE_GREEN, "rollback_window": 30 * DAY}, "rollback_window"),
        ({"rollback_window": 60}, "rollback_window"),
        ({"max_age": 0}, "max_age"),
        ({"notices": (28 * DAY,)}, "notices"),
        ({"notices": (DAY, DAY)}, "notices"),
        ({"frequency": NEVER, "notices": (DAY,)}, "notices"),
        ({"keys": ("key_x",)}, "keys"),
        ({"blackouts": (BlackoutWindow(cron="0 0 * * *", duration=DAY),)}, "blackouts"),
        (
            {"blackouts": tuple(BlackoutWindow(cron=f"0 {h} * * *", duration=12 * 3_600) for h in (0, 12))},
            "blackouts",
        ),
    ],
)
def test_what_is_impossible_is_refused_by_name(members: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        policy(**members)
    assert refused.value.field == field
    assert refused.value.fix


@pytest.mark.parametrize("frequency", [each for each in RotationFrequency if each is not CUSTOM])
@pytest.mark.parametrize("strategy", RotationStrategy)
def test_what_is_not_said_suits_the_period(frequency: RotationFrequency, strategy: RotationStrategy) -> None:
    made = policy(frequency=frequency, strategy=strategy)
    assert made.period is None or made.length <= made.period
    assert all(made.period is not None and notice < made.period for notice in made.notices)
    assert (made.overlap > 0) is (strategy in (GRADUAL, RotationStrategy.OVERLAPPING))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"every_key": True, "tags": ("a",)},
        {"types": ("api_token",)},
        {"tags": "ab"},
        {"tags": ("",)},
        {"owners": ("a", "a")},
        {"key_ids": ("key_1",)},
    ],
)
def test_a_selection_says_something_or_every_key(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        KeySelection(**given)


def test_a_selection_admits_what_is_in_each_of_its_lists() -> None:
    key = key_of(NOON, owner="acme", tags=("a", "b"))
    assert KeySelection(every_key=True).admits(key)
    assert KeySelection(tags=("b", "c"), owners=("acme",), scopes=(KeyScope.READ,)).admits(key)
    for other in (
        {"tags": ("c",)},
        {"owners": ("bolt",)},
        {"types": (KeyType.RSA,)},
        {"scopes": (KeyScope.FULL,)},
        {"key_ids": ("key_" + "0" * 22,)},
    ):
        assert not KeySelection(**{"tags": ("a",), **other}).admits(key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"starts_at": NOON},
        {"cron": "* * * * *"},
        {"starts_at": NOON, "ends_at": NOON},
        {"starts_at": NOON, "ends_at": NOON + timedelta(1), "cron": "* * * * *", "duration": 60},
        {"starts_at": NOON, "duration": 60},
        {"starts_at": NOON.replace(tzinfo=None), "ends_at": NOON},
        {"cron": "* * * * *", "duration": 0},
        {"cron": "nonsense", "duration": 60},
        {"cron": ["0 0 1 * *"], "duration": 60},
    ],
)
def test_a_window_is_once_or_recurs(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        BlackoutWindow(**given)


@pytest.mark.parametrize("shares", [[25, 50, 100], (25, 50, 100), range(25, 101, 25)])
def test_lists_are_any_sequences_and_are_kept_as_tuples(shares: Any) -> None:
    window = BlackoutWindow(starts_at=NOON, ends_at=NOON + timedelta(1))
    keys: dict[str, Any] = {"tags": ["a"], "types": [KeyType.RSA]}
    made = policy(
        strategy=GRADUAL, shares=shares, notices=[DAY], blackouts=[window], keys=KeySelection(**keys)
    )
    assert made.shares == tuple(shares)
    assert (made.notices, made.blackouts) == ((DAY,), (window,))
    assert made.keys == KeySelection(tags=("a",), types=(KeyType.RSA,))
    hash(made)


def test_none_is_what_there_is_without_it() -> None:
    unsaid: dict[str, Any] = {"time_zone": None, "blackouts": None, "requires_check": None, "lead": None}
    assert policy(**unsaid) == policy()


@pytest.mark.parametrize(
    "name",
    ["localtime", "posixrules", "Factory", "right/UTC", "posix/Europe/Zurich", "Localtime", "RIGHT/UTC"],
)
def test_a_zone_that_differs_by_machine_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="unknown time zone") as refused:
        policy(time_zone=name)
    assert refused.value.field == "time_zone"
    assert "Europe/Zurich" in refused.value.fix
