"""A rotation's stages, and what may happen in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any, Final

import pytest

from keyturn.domain.key import KeyType, Version
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.rotation.plan import Plan
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.preview import foreseen
from keyturn.domain.rotation.reasons import PAUSED_BY_SOMEBODY, Outcome, PauseCode, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Cause, Stage
from keyturn.domain.rotation.steps import begin, brought
from keyturn.errors import IllegalTransitionError
from tests.unit.domain.rotation.samples import key_of

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
PLANS: Final = {
    RotationStrategy.IMMEDIATE: Plan(),
    RotationStrategy.OVERLAPPING: Plan(overlap=3_600, max_overlap=7_200),
    RotationStrategy.GRADUAL: Plan(overlap=3_600, max_overlap=7_200, shares=(10, 50, 100), dwell=3_600),
    RotationStrategy.BLUE_GREEN: Plan(rollback_window=3_600),
}
STAGES: Final = {
    (RotationStrategy.IMMEDIATE, True): ["completed"],
    (RotationStrategy.OVERLAPPING, True): ["overlap", "completed"],
    (RotationStrategy.GRADUAL, True): ["overlap", "completed"],
    (RotationStrategy.BLUE_GREEN, True): ["staged", "window", "completed"],
    (RotationStrategy.IMMEDIATE, False): ["completed"],
    (RotationStrategy.OVERLAPPING, False): ["overlap", "completed"],
    (RotationStrategy.GRADUAL, False): ["shifting", "shifting", "overlap", "completed"],
    (RotationStrategy.BLUE_GREEN, False): ["staged", "window", "completed"],
}


def begun(strategy: RotationStrategy, key_type: KeyType = KeyType.API_TOKEN, **more: Any) -> Rotation:
    key = key_of(NOON, type=key_type)
    given = {"plan": PLANS[strategy], "cause": Cause.REQUESTED, "now": NOON, **more}
    return begin(rotation_id="rot_x", key=key, strategy=strategy, **given)


@pytest.mark.parametrize(("strategy", "key_type"), list(product(RotationStrategy, KeyType)))
def test_each_strategy_has_its_stages_for_every_type_of_key(
    strategy: RotationStrategy, key_type: KeyType
) -> None:
    key = key_of(NOON, type=key_type)
    stages = list(foreseen(key, strategy, PLANS[strategy], frozenset(), NOON))
    assert [each.stage.value for each in stages] == STAGES[strategy, key_type.is_token]
    assert [each.share for each in stages if each.stage is Stage.SHIFTING] in ([], [10, 50])
    assert all(early.at <= late.at for early, late in pairwise(stages))
    assert stages[-1].serving == 2


ALL_MOVES: Final[dict[str, Callable[[Rotation], Rotation]]] = {
    "advance": lambda r: r.advanced(NOON + 100 * HOUR, None),
    "pause": lambda r: r.paused_at(NOON, PAUSED_BY_SOMEBODY),
    "resume": lambda r: replace(r, paused=None).paused_at(NOON, PAUSED_BY_SOMEBODY).resumed(NOON),
    "roll_back": lambda r: r.rolled_back(NOON),
    "complete": lambda r: r.completed(NOON),
    "fail": lambda r: r.failed(NOON, Reason(Outcome.KEY_ENDED, "why")),
}


@pytest.mark.parametrize(("stage", "move"), list(product(Stage, ALL_MOVES)))
def test_every_move_is_possible_until_the_end_and_none_after_it(stage: Stage, move: str) -> None:
    running = replace(
        begun(RotationStrategy.GRADUAL, KeyType.HMAC),
        stage=stage,
        share=10 if stage is Stage.SHIFTING else None,
    )
    if stage is Stage.WINDOW:
        running = replace(running, strategy=RotationStrategy.BLUE_GREEN)
    if not stage.is_end:
        assert ALL_MOVES[move](running).revision > running.revision
    else:
        with pytest.raises(IllegalTransitionError, match="nothing more happens"):
            ALL_MOVES[move](running)


def test_an_end_is_never_left_and_has_nothing_left_to_do() -> None:
    for stage in (Stage.COMPLETED, Stage.ROLLED_BACK, Stage.FAILED):
        assert stage.is_end
    done = begun(RotationStrategy.OVERLAPPING).completed(NOON)
    assert (done.next_at, done.ends_at, done.ceiling, done.is_running) == (None, None, None, False)


def test_an_overlap_ends_with_the_key_at_the_latest() -> None:
    expires_at = NOON + HOUR / 2
    key = key_of(NOON, expires_at=expires_at)
    rotation = begin(
        rotation_id="rot_x", key=key, strategy=RotationStrategy.OVERLAPPING,
        plan=PLANS[RotationStrategy.OVERLAPPING], cause=Cause.REQUESTED, now=NOON,
    )  # fmt: skip
    assert (rotation.ends_at, rotation.ceiling) == (expires_at, expires_at)
    assert rotation.paused_at(NOON, PAUSED_BY_SOMEBODY).ends_at == expires_at


def test_a_window_ends_when_it_was_to_end_or_with_the_key() -> None:
    ready = begun(RotationStrategy.BLUE_GREEN)
    window = ready.advanced(NOON, None)
    ends_at = NOON + HOUR
    assert (window.stage, window.next_at, window.ends_at, window.ceiling) == (
        Stage.WINDOW, ends_at, ends_at, ends_at,
    )  # fmt: skip
    assert window.rolled_back(ends_at - HOUR / 60).stage is Stage.ROLLED_BACK
    held = window.paused_at(NOON + HOUR / 2, PAUSED_BY_SOMEBODY)
    for late in (window, held, held.resumed(ends_at), held.resumed(ends_at + HOUR)):
        with pytest.raises(IllegalTransitionError, match="the window is over"):
            late.rolled_back(ends_at)
    assert held.resumed(ends_at + HOUR).is_due(ends_at + HOUR)
    assert ready.advanced(NOON, NOON + HOUR / 2).ends_at == NOON + HOUR / 2


def test_a_roll_back_says_what_the_new_version_was_found_wanting_in() -> None:
    rotation = begun(RotationStrategy.GRADUAL, KeyType.HMAC)
    wanting = Reason(PauseCode.NOT_VERIFYING, "it does not verify")
    ended = rotation.paused_at(NOON, wanting).rolled_back(NOON)
    assert ended.outcome == Reason(Outcome.NOT_VERIFYING, "it does not verify")
    newer: Reason[PauseCode] = Reason("a newer code", "text")
    for other in (PAUSED_BY_SOMEBODY, newer):
        by_somebody = rotation.paused_at(NOON, other).rolled_back(NOON).outcome
        assert by_somebody is not None
        assert by_somebody.code is Outcome.ROLLED_BACK


def test_a_version_that_signs_wrongly_signs_nothing_while_the_rotation_stands_still_for_that() -> None:
    rotation = begun(RotationStrategy.GRADUAL, KeyType.HMAC)
    assert rotation.signing == ((2, 10), (1, 90))
    wanting = rotation.paused_at(NOON, Reason(PauseCode.NOT_VERIFYING, "it does not verify"))
    assert wanting.signing == ((1, 100),)
    assert rotation.paused_at(NOON, PAUSED_BY_SOMEBODY).signing == ((2, 10), (1, 90))


def test_a_pause_keeps_what_was_left_and_never_passes_the_ceiling() -> None:
    rotation = begun(RotationStrategy.OVERLAPPING)
    paused = rotation.paused_at(NOON + HOUR / 4, PAUSED_BY_SOMEBODY)
    assert (paused.next_at, paused.ends_at) == (None, NOON + 2 * HOUR)
    resumed = paused.resumed(NOON + HOUR)
    assert (resumed.ends_at, resumed.next_at) == (NOON + HOUR * 1.75, NOON + HOUR * 1.75)
    late = paused.resumed(NOON + HOUR * 1.5)
    assert (late.ends_at, late.next_at) == (NOON + 2 * HOUR, NOON + 2 * HOUR)
    with pytest.raises(IllegalTransitionError, match="paused already"):
        paused.paused_at(NOON, PAUSED_BY_SOMEBODY)
    with pytest.raises(IllegalTransitionError, match="the overlap is over"):
        paused.rolled_back(NOON + 2 * HOUR)


@pytest.mark.parametrize(
    ("strategy", "stage"),
    [
        (RotationStrategy.OVERLAPPING, Stage.STAGED),
        (RotationStrategy.GRADUAL, Stage.SHIFTING),
        (RotationStrategy.OVERLAPPING, Stage.OVERLAP),
        (RotationStrategy.BLUE_GREEN, Stage.WINDOW),
    ],
)
def test_a_pause_by_a_clock_that_was_set_back_leaves_no_more_than_there_was(
    strategy: RotationStrategy, stage: Stage
) -> None:
    plan = replace(PLANS[strategy], lead=3_600, max_overlap=90 * 86_400)
    rotation = begun(strategy, KeyType.HMAC, plan=plan)
    while rotation.stage is not stage:
        assert rotation.next_at is not None
        rotation = rotation.advanced(rotation.next_at, None)
    at = rotation.stage_at + HOUR / 2
    paused = rotation.paused_at(at - 240 * HOUR, PAUSED_BY_SOMEBODY)
    resumed = paused.resumed(at)
    assert resumed.next_at is not None
    assert resumed.next_at - at == (HOUR / 2 if stage is Stage.WINDOW else HOUR)
    assert resumed.ends_at == (resumed.next_at if stage in (Stage.OVERLAP, Stage.WINDOW) else None)


def test_what_is_met_during_a_pause_by_a_clock_that_was_set_back_adds_nothing_to_the_lead() -> None:
    plan = replace(PLANS[RotationStrategy.BLUE_GREEN], lead=3_600)
    waiting = begun(RotationStrategy.BLUE_GREEN, KeyType.HMAC, plan=plan, awaited=frozenset((Awaited.CHECK,)))
    met = waiting.paused_at(NOON, PAUSED_BY_SOMEBODY).met(Awaited.CHECK, NOON - 240 * HOUR)
    assert met.resumed(NOON + HOUR).next_at == NOON + 2 * HOUR


def test_nothing_takes_over_by_hand_before_its_lead_is_over() -> None:
    plan = replace(PLANS[RotationStrategy.OVERLAPPING], lead=3_600)
    staged = begun(RotationStrategy.OVERLAPPING, KeyType.JWT, plan=plan)
    for early in (NOON - HOUR, NOON, NOON + HOUR * 0.999):
        with pytest.raises(IllegalTransitionError, match="signs nothing before 2026-01-31T13:00:00"):
            staged.completed(early)
    held = staged.paused_at(NOON, PAUSED_BY_SOMEBODY)
    for ready in (staged, held):
        assert ready.completed(NOON + HOUR).stage is Stage.COMPLETED
    without = begun(RotationStrategy.BLUE_GREEN, KeyType.JWT)
    assert without.completed(NOON - HOUR).stage is Stage.COMPLETED, "with no lead no clock matters"


def test_each_refusal_says_how_it_is_mended() -> None:
    rotation = begun(RotationStrategy.OVERLAPPING)
    paused = rotation.paused_at(NOON, PAUSED_BY_SOMEBODY)
    acts: list[tuple[Callable[[], object], str]] = [
        (lambda: rotation.met(Awaited.CHECK, NOON), "happened already"),
        (lambda: rotation.resumed(NOON), "nothing to resume"),
        (lambda: paused.paused_at(NOON, PAUSED_BY_SOMEBODY), "resume it first"),
        (lambda: paused.advanced(NOON, None), "wait until"),
    ]
    for act, fix in acts:
        with pytest.raises(IllegalTransitionError) as refused:
            act()
        assert fix in refused.value.fix


def test_nothing_takes_over_while_something_is_awaited() -> None:
    waiting = begun(RotationStrategy.OVERLAPPING, awaited=frozenset((Awaited.PICK_UP, Awaited.CHECK)))
    assert (waiting.stage, waiting.serving, waiting.verifying) == (Stage.STAGED, 1, (1,))
    reminded = waiting.advanced(NOON + 24 * HOUR, None)
    assert (reminded.stage, reminded.next_at) == (Stage.STAGED, NOON + 48 * HOUR)
    with pytest.raises(IllegalTransitionError, match="awaited: check, pick_up"):
        waiting.completed(NOON)
    half = waiting.met(Awaited.PICK_UP, NOON + HOUR)
    with pytest.raises(IllegalTransitionError, match="does not await pick_up"):
        half.met(Awaited.PICK_UP, NOON)
    met = half.met(Awaited.CHECK, NOON + 2 * HOUR)
    assert met.is_due(NOON + 2 * HOUR)
    held = half.paused_at(NOON + HOUR, PAUSED_BY_SOMEBODY).met(Awaited.CHECK, NOON + 2 * HOUR)
    assert held.next_at is None
    assert held.resumed(NOON + 5 * HOUR).is_due(NOON + 5 * HOUR)


def test_only_what_signs_is_announced_before_it_serves() -> None:
    plan = replace(PLANS[RotationStrategy.OVERLAPPING], lead=7_200)
    assert begun(RotationStrategy.OVERLAPPING, plan=plan).stage is Stage.OVERLAP
    signing = begun(RotationStrategy.OVERLAPPING, KeyType.JWT, plan=plan)
    assert (signing.stage, signing.signing, signing.next_at) == (Stage.STAGED, ((1, 100),), NOON + 2 * HOUR)
    with pytest.raises(IllegalTransitionError, match="not due"):
        signing.advanced(NOON + HOUR, None)


def test_every_signature_has_one_maker() -> None:
    rotation = begun(RotationStrategy.GRADUAL, KeyType.ECDSA)
    while rotation.is_running:
        assert sum(share for _, share in rotation.signing) == 100
        assert {number for number, _ in rotation.signing} <= set(rotation.verifying)
        assert rotation.serving in rotation.verifying
        assert rotation.next_at is not None
        rotation = rotation.advanced(rotation.next_at, None)
    assert rotation.signing == ((2, 100),)


@pytest.mark.parametrize("state", [KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED])
def test_a_version_that_has_ended_is_never_brought_back(state: KeyState) -> None:
    key = key_of(NOON)
    rotation = begun(RotationStrategy.OVERLAPPING)
    old, new = (
        Version(
            key_id=key.key_id, tenant="default", number=number, type=key.type, state=found,
            state_changed_at=NOON, created_at=NOON,
        )
        for number, found in ((1, state), (2, KeyState.ACTIVE))
    )  # fmt: skip
    with pytest.raises((KeyError, IllegalTransitionError)):
        brought(rotation, key, old, new, NOON)
