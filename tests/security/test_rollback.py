"""The whole store as it once was: rows, log and sealed head together, which nothing inside it can tell from that time.

What a running node has seen it goes by, whatever the store says afterwards. A node that is started then believes the
store: that is the escape which the threat model names, and a noted position gives it away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from keyturn.errors import IntegrityError
from tests.security.history import HISTORY, OWNER_REVISIONS, TOKENS, Narrator
from tests.security.scene import FEW, WHEN, Finding, Scene, When

EARLIER: Final = list(HISTORY)[:-1]
each_earlier_moment = pytest.mark.parametrize("moment", EARLIER)
some_moments = pytest.mark.parametrize(
    "moment", ["keys issued", "suspended", "owner revoked", "owner given a third key"]
)


@each_earlier_moment
def test_rolling_everything_back_under_a_running_node_gives_nothing_back(scene: Scene, moment: str) -> None:
    then, node = scene.chronicle.moments[moment], scene.open()
    has_answered_before = EARLIER.index(moment) % 2 == 1  # which is to make no difference
    if has_answered_before:
        assert scene.ask(node) == scene.honest
    scene.attacker.put_image(then)
    scene.clock.wait(2)
    expected = scene.answers_with(then.rows)
    assert scene.ask(node, probes=FEW).items() <= expected.items()
    node.recorder.flush()
    refused = [label for label in TOKENS if expected[label, "at all"] == "integrity_failed"]
    scene.assert_told(refused, after=len(then.log))
    assert Finding("system", (), "log") in scene.findings(after=len(then.log))


@some_moments
def test_what_a_running_node_saw_withdrawn_stays_withdrawn_while_the_store_goes_on(
    scene: Scene, moment: str
) -> None:
    node = scene.open()
    scene.attacker.put_image(scene.chronicle.moments[moment])
    scene.clock.wait(2)
    before = scene.ask(node)
    Narrator(scene.open(), scene.clock).issue("plain")
    scene.clock.wait(2)
    assert scene.ask(node) == before
    assert all(code != "valid" or scene.honest[asked] == "valid" for asked, code in before.items())


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("looks_in_between", [False, True])
def test_what_a_running_node_saw_revoked_stays_revoked_whatever_is_written_afterwards(
    scene: Scene, updates: int, *, looks_in_between: bool
) -> None:
    node = scene.open()
    assert scene.ask_one(node, "revoked").code == "revoked"
    scene.attacker.put_image(scene.chronicle.moments["another resumed"])
    if looks_in_between:
        scene.clock.wait(2)
        assert scene.ask_one(node, "revoked").code == "integrity_failed"
    retell(scene, updates)
    for _ in range(2):
        scene.clock.wait(2)
        assert set(scene.ask(node, ["revoked"]).values()) == {"integrity_failed"}
    assert scene.ask_one(node, "plain").valid


def retell(scene: Scene, updates: int) -> None:
    """A node that was started on the rolled-back store changes the key that had been revoked."""
    it = Narrator(scene.open(), scene.clock)
    it.keys = dict(scene.chronicle.keys)
    for number in range(updates):
        it.update("revoked", name=f"renamed {number}")


def test_a_rollback_while_no_node_runs_escapes_as_the_threat_model_says_and_a_noted_position_shows_it(
    scene: Scene,
) -> None:
    noted = scene.ask_one(scene.open(), "revoked")
    assert noted.code == "revoked"
    scene.close()
    scene.attacker.put_image(scene.chronicle.moments["another resumed"])
    again = scene.ask_one(scene.open(), "revoked")
    assert again.valid
    (log_id, position), (same_log_id, earlier) = noted.as_of.split(":"), again.as_of.split(":")
    assert log_id == same_log_id
    assert int(earlier) < int(position)


@each_earlier_moment
def test_nothing_that_was_acknowledged_before_a_crash_can_be_cut_off(scene: Scene, moment: str) -> None:
    """Each moment is the store as it was when a call had returned, and nothing has been closed since."""
    crashed = scene.chronicle.moments[moment]
    assert crashed.sealed_head is not None
    assert crashed.sealed_head.position == len(crashed.log)
    scene.attacker.put_image(replace(crashed, log=crashed.log[:-1]))
    scene.attacker.put_rows(scene.held["revoked", 1])
    with pytest.raises(IntegrityError, match="before its sealed head"):
        scene.open()


def test_with_a_sealed_head_that_was_kept_from_before_the_end_can_be_cut_off_as_the_threat_model_says(
    scene: Scene,
) -> None:
    crashed, earlier = scene.chronicle.moments["revoked"], scene.chronicle.moments["another resumed"]
    scene.attacker.put_image(replace(crashed, log=earlier.log, sealed_head=earlier.sealed_head))
    scene.attacker.put_rows(scene.held["revoked", 1])
    assert scene.ask_one(scene.open(), "revoked").valid


@pytest.mark.parametrize("when", WHEN)
@some_moments
def test_a_rollback_that_leaves_the_sealed_head_closes_every_node(
    scene: Scene, when: When, moment: str
) -> None:
    then = replace(scene.chronicle.moments[moment], sealed_head=scene.chronicle.end.sealed_head)
    if when == "stopped":
        scene.attacker.put_image(then)
        with pytest.raises(IntegrityError, match="before its sealed head"):
            scene.open()
        return
    node = scene.node(when, lambda: scene.attacker.put_image(then))
    assert set(scene.ask(node).values()) == {"integrity_failed"}


@pytest.mark.parametrize("when", WHEN)
@some_moments
def test_a_node_under_which_the_log_alone_is_rolled_back_refuses_the_rows_that_are_ahead_of_it(
    scene: Scene, when: When, moment: str
) -> None:
    node = scene.node(when, roll_log_back(scene, moment))
    ahead = [label for label in TOKENS if is_ahead(scene, moment, label)]
    assert ahead
    assert scene.ask(node) == scene.told(dict.fromkeys(ahead, "integrity_failed"))


def roll_log_back(scene: Scene, moment: str) -> Callable[[], None]:
    then = scene.chronicle.moments[moment]
    return lambda: scene.attacker.put_image(replace(then, rows=scene.chronicle.end.rows))


def is_ahead(scene: Scene, moment: str, label: str) -> bool:
    """Whether a row behind the token was changed after that moment, or is an owner's that was made after it."""
    then = scene.chronicle.moments[moment].rows
    owners = {f"owner {owner}" for owner in OWNER_REVISIONS}
    rows = {name: scene.chronicle.now(name) for name in scene.rows_behind(label)}
    return any(then.get(row.id) != row and (row.revision > 1 or name in owners) for name, row in rows.items())
