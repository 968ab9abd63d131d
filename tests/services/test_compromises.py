"""Two who rotate one key as compromised at the same moment: the secret that one was given is not ended by the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import pytest

from keyturn.domain.rotation.stages import Stage
from keyturn.errors import ConflictError, IllegalTransitionError
from keyturn.key_rotator import RotatedKey, RotationStrategy
from tests.fakes import BY, Process
from tests.services.rotating import HOUR, rotator_of, token_of
from tests.services.samples import on_both

LOST: Final = "rotated as compromised a moment ago"


@on_both
@pytest.mark.parametrize("is_under_way", [False, True])
def test_of_two_processes_that_rotate_a_compromised_key_at_once_one_is_told_so(
    ours: Process, theirs: Process, is_under_way: bool
) -> None:
    key = ours.issue()
    if is_under_way:
        rotator_of(ours).rotate_key(key.key_id, overlap=HOUR)
    theirs.catch_up()
    given: list[RotatedKey] = []
    ours.ledger.before(
        "commit", lambda: given.append(rotator_of(theirs).rotate_key(key.key_id, compromised=True))
    )
    with pytest.raises(ConflictError, match=LOST) as refused:
        rotator_of(ours).rotate_key(key.key_id, compromised=True)
    assert "for the new secret" in refused.value.fix
    assert (ours.ask(key).code, ours.ask(token_of(given[0])).code) == ("revoked", "valid")
    again = rotator_of(ours).rotate_key(key.key_id, compromised=True)  # by whoever has seen that
    assert (ours.ask(token_of(given[0])).code, ours.ask(token_of(again)).code) == ("revoked", "valid")


def test_of_two_callers_of_one_process_the_one_who_waits_for_the_other_is_told_so(ours: Process) -> None:
    key = ours.issue()
    found: list[object] = []
    has_read = threading.Event()

    def other() -> None:
        try:
            found.append(rotator_of(ours).rotate_key(key.key_id, compromised=True))
        except ConflictError as error:
            found.append(error)

    waiting = threading.Thread(target=other)

    def meanwhile() -> None:
        ours.ledger.after("read", has_read.set)  # before its turn
        waiting.start()
        assert has_read.wait(20)

    ours.ledger.before("commit", meanwhile)
    first = rotator_of(ours).rotate_key(key.key_id, compromised=True)
    waiting.join(20)
    assert [type(each) for each in found] == [ConflictError]
    assert ours.ask(token_of(first)).valid
    assert ours.get(key).newest_version == 2


ACTS: Final[dict[str, Callable[[Process, str, str], object]]] = {
    "change": lambda they, key_id, _: they.node.updater.update(key_id, BY, {"name": "other"}),
    "roll back": lambda they, _, rotation_id: they.node.rotation.mover.roll_back(rotation_id, BY),
    "complete": lambda they, _, rotation_id: they.node.rotation.mover.complete(rotation_id, BY),
}


@pytest.mark.parametrize("act", ACTS)
def test_nothing_else_that_comes_in_between_keeps_a_compromised_key_as_it_is(
    ours: Process, theirs: Process, act: str
) -> None:
    key = ours.issue()
    first = rotator_of(ours).rotate_key(key.key_id, overlap=HOUR)
    ours.ledger.before("commit", lambda: ACTS[act](theirs, key.key_id, first.rotation.rotation_id))
    second = rotator_of(ours).rotate_key(key.key_id, compromised=True)
    assert [ours.ask(each).code for each in (key, token_of(first), token_of(second))] == [
        "revoked",
        "revoked",
        "valid",
    ]


def test_who_finds_a_rotation_under_way_is_told_how_that_one_ends(ours: Process) -> None:
    rotator = rotator_of(ours)
    for strategy, fix in (
        (RotationStrategy.OVERLAPPING, "Complete that rotation, or roll it back."),
        (RotationStrategy.BLUE_GREEN, "what it awaits (proof)"),
    ):
        key = ours.issue()
        rotation = rotator.rotate_key(key.key_id, strategy=strategy).rotation
        with pytest.raises(IllegalTransitionError, match="being rotated already") as refused:
            rotator.rotate_key(key.key_id)
        assert fix in refused.value.fix
        assert rotator.rollback_rotation(rotation.rotation_id).stage is Stage.ROLLED_BACK
