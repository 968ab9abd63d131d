"""What programs hand a rotator by mistake: each is refused by name, and nothing of it is a defect of ours."""

from __future__ import annotations

from typing import Any, Final

import pytest

from keyturn.errors import InvalidInputError, KeyturnError, NotFoundError
from keyturn.key_rotator import KeySelection, RotationFrequency, RotationPolicy, RotationStrategy
from tests.fakes import Process
from tests.services.rotating import rotator_of, token_of

NO_TEXT: Final[tuple[Any, ...]] = (None, 5, b"x", ["a"], "\ud800")


@pytest.mark.parametrize("given", NO_TEXT, ids=repr)
@pytest.mark.parametrize(
    "method",
    [
        "redeem_pick_up",
        "offer_pick_up",
        "pick_up_secret",
        "get_rotation",
        "pause_rotation",
        "rotate_key",
        "preview_rotation",
        "pause_rotation_policy",
        "resume_rotation_policy",
        "delete_rotation_policy",
    ],
)
def test_what_is_no_text_is_refused(ours: Process, method: str, given: Any) -> None:
    with pytest.raises(KeyturnError) as refused:
        getattr(rotator_of(ours), method)(given)
    assert isinstance(refused.value, InvalidInputError | NotFoundError)


@pytest.mark.parametrize("stage", ["staged", 5])
def test_a_stage_is_none_by_its_text(ours: Process, stage: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        rotator_of(ours).get_rotation_history(stage=stage)
    assert refused.value.field == "stage"
    assert "staged" in refused.value.fix


@pytest.mark.parametrize("ip", [5, b"x", ["a"], "\ud800", "somewhere"], ids=repr)
def test_an_address_is_checked_before_a_code_is_used_up(ours: Process, ip: Any) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotation = rotator.rotate_key(key.key_id, keep_secret=True).rotation
    code = rotator.offer_pick_up(rotation.rotation_id).code
    with pytest.raises(InvalidInputError):
        rotator.redeem_pick_up(code, ip=ip)
    assert ours.ask(rotator.redeem_pick_up(code, ip="192.0.2.1").secret.reveal()).valid


def test_lists_are_taken_for_tuples_and_kept_as_such() -> None:
    policy = RotationPolicy(
        policy_id="p",
        frequency=RotationFrequency.NEVER,
        strategy=RotationStrategy.GRADUAL,
        shares=[50, 100],  # type: ignore[arg-type]
        keys=KeySelection(tags=["a"], owners=["b"]),  # type: ignore[arg-type]
    )
    assert policy.shares == (50, 100)
    assert policy.keys == KeySelection(tags=("a",), owners=("b",))
    assert hash(policy) is not None


def test_what_a_list_may_not_hold_is_said_with_what_helps() -> None:
    with pytest.raises(InvalidInputError) as refused:
        RotationPolicy(
            policy_id="p",
            frequency=RotationFrequency.NEVER,
            strategy=RotationStrategy.GRADUAL,
            shares="50",  # type: ignore[arg-type]
        )
    assert refused.value.field == "shares"
    assert refused.value.fix


@pytest.mark.parametrize("strategy", [RotationStrategy.OVERLAPPING, RotationStrategy.BLUE_GREEN])
def test_a_lead_means_nothing_for_a_token(ours: Process, strategy: RotationStrategy) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    for act in (rotator.rotate_key, rotator.preview_rotation):
        with pytest.raises(InvalidInputError) as refused:
            act(key.key_id, strategy=strategy, lead=3_600)
        assert refused.value.field == "lead"


def test_the_new_secret_of_a_leaked_key_is_never_kept_in_waiting(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    with pytest.raises(InvalidInputError) as refused:
        rotator.rotate_key(key.key_id, compromised=True, keep_secret=True)
    assert refused.value.field == "keep_secret"
    assert ours.ask(key).valid
    assert ours.ask(token_of(rotator.rotate_key(key.key_id, compromised=True))).valid
