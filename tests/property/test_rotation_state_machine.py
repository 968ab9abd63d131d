"""Rotations in the hands of two processes, through schedules of steps, crashes and jumps of the clock.

One token and one signing key are rotated by one strategy, in whatever order. What holds all the time: their holder has
a token that is good while the key is in service; exactly one version serves, and only versions that the stage names
verify or sign; what has ended stays ended; what was acknowledged is there; and no expiry grows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyturn.domain.key import Key, KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.scope import KeyScope
from keyturn.errors import (
    ConflictError,
    IllegalTransitionError,
    OutcomeUnknownError,
    StorageError,
)
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_rotator import KeyRotator, RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.key_store import SecureKeyStore
from tests.fakes import BY, Site

HOUR: Final = 3_600
OVERLAP, LONGEST, WINDOW, DWELL = HOUR, 6 * HOUR, HOUR, HOUR
PARAMETERS: Final[dict[RotationStrategy, dict[str, Any]]] = {
    RotationStrategy.IMMEDIATE: {},
    RotationStrategy.OVERLAPPING: {"overlap": OVERLAP, "max_overlap": LONGEST, "lead": HOUR // 4},
    RotationStrategy.GRADUAL: {
        "overlap": OVERLAP, "max_overlap": LONGEST, "shares": (30, 70, 100), "dwell": DWELL,
    },
    RotationStrategy.BLUE_GREEN: {"rollback_window": WINDOW},
}  # fmt: skip
either = st.sampled_from((0, 1))
which_key = st.sampled_from(("token", "token", "signing"))
ENDED: Final = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)

# By stage: which version serves, and which verify; the page on rotation promises it.
SERVES: Final = {"staged": "old", "shifting": "old", "overlap": "new", "window": "new"}
TOKENS: Final[dict[str, set[str]]] = {"staged": {"old"}, "overlap": {"old", "new"}, "window": {"new"}}
SIGNERS: Final[dict[str, set[str]]] = {
    "staged": {"old"}, "shifting": {"old", "new"}, "overlap": {"new"}, "window": {"new"},
}  # fmt: skip


class Rotations(RuleBasedStateMachine):
    """Two processes on one store, and what the holder of the keys has in hand."""

    strategy: RotationStrategy

    @initialize()
    def begin(self) -> None:
        # The order of ids is the order in which things that are due at once are done, and a replay must do the same.
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("os.urandom", random.Random(7).randbytes)
        self.site = Site.in_memory()
        self.processes = [self.site.process(), self.site.process()]
        self.clock = self.site.clock
        first = self.processes[0]
        KeyRotator(SecureKeyGenerator(), first.store()).create_rotation_policy(
            RotationPolicy(
                policy_id="daily",
                frequency=RotationFrequency.DAILY,
                strategy=self.strategy,
                **PARAMETERS[self.strategy],
            )
        )
        token = first.issue(rotation_policy_id="daily", expires_in=5 * 24 * HOUR)
        signing = first.issue(
            key_type=KeyType.HMAC, key_scope=KeyScope.FULL, rotation_policy_id="daily",
        )  # fmt: skip
        self.ids = {"token": token.key_id, "signing": signing.key_id}
        self.expiry = token.expires_at
        self.tokens: dict[int, str] = {1: token.secret.reveal()}  # by version; what the holder has
        self.lost: set[int] = set()  # versions whose answer a crash took with it
        self.acknowledged: set[str] = set()
        self.dead: set[tuple[str, int]] = set()
        self.newest = {"token": 1, "signing": 1}
        self.has_expired = False  # and its rotation failed, perhaps; a clock that is set back brings it back

    def teardown(self) -> None:
        if hasattr(self, "site"):
            self.site.close()
            self.patch.undo()

    def rotator(self, which: int) -> KeyRotator:
        return KeyRotator(SecureKeyGenerator(clock=self.clock), self.store(which))

    def store(self, which: int) -> SecureKeyStore:
        return self.processes[which].store()

    def key(self, name: str) -> Key:
        return self.processes[0].node.reader.get(self.ids[name], BY)

    def running(self, name: str) -> Rotation | None:
        rotation = self.key(name).rotation
        return None if rotation is None else self.rotator(0).get_rotation(rotation)

    # -- what is done

    def attempt(self, which: int, crash: str, act: Callable[[], Any]) -> Any:
        """What `act` returns; None where it was refused, or the process died before or after its commit."""
        ledger = self.processes[which].ledger

        def die() -> None:
            raise OutcomeUnknownError("the process was killed here")

        if crash == "before":
            ledger.before("commit", die)
        elif crash == "after":
            ledger.after("commit", die)
        try:
            return act()
        except (IllegalTransitionError, ConflictError):
            return None
        except StorageError:
            self.processes[which].ledger.work_again()
            self.processes[which].node.close()
            self.processes[which] = self.site.process()
            return None
        finally:
            self.processes[which].ledger.work_again()

    crashes = st.sampled_from(("no", "no", "no", "before", "after"))

    @rule(which=either, name=which_key, crash=crashes, is_compromised=st.sampled_from((False,) * 7 + (True,)))
    def rotate(self, which: int, name: str, crash: str, is_compromised: bool) -> None:
        said = {} if is_compromised else {"strategy": self.strategy, **PARAMETERS[self.strategy]}
        if name == "token":
            said.pop("lead", None)  # it has none
        done = self.attempt(
            which,
            crash,
            lambda: self.rotator(which).rotate_key(
                self.ids[name], compromised=is_compromised, keep_secret=False, **said
            ),
        )
        if done is not None:
            self.acknowledged.add(done.rotation.rotation_id)
            if name == "token":
                self.tokens[done.rotation.new] = done.secret.reveal()
        elif crash == "after" and name == "token":
            # The new token was made and nobody has it: whoever lets it take over has no promise to rely on.
            self.lost.add(self.key("token").newest_version)

    @rule(which=either, crash=crashes)
    def whoever_schedules_does_what_is_due(self, which: int, crash: str) -> None:
        self.attempt(which, crash, lambda: self.rotator(which).check_rotation_schedules())

    @rule(crash=crashes)
    def two_schedulers_meet(self, crash: str) -> None:
        ours = self.processes[0]
        ours.ledger.before("commit", lambda: self.rotator(1).check_rotation_schedules())
        self.attempt(0, "no", lambda: self.rotator(0).check_rotation_schedules())

    @precondition(lambda self: self.running("token") is not None)
    @rule(which=either, crash=crashes)
    def the_holder_fetches_the_new_token(self, which: int, crash: str) -> None:
        rotation = self.running("token")
        assert rotation is not None
        done = self.attempt(which, crash, lambda: self.rotator(which).pick_up_secret(rotation.rotation_id))
        if done is not None:
            self.tokens[rotation.new] = done.secret.reveal()
        elif crash == "after" and "pick_up" in {each.value for each in rotation.awaited}:
            self.lost.add(rotation.new)

    @precondition(lambda self: self.running("token") is not None)
    @rule(which=either, crash=crashes)
    def the_holder_shows_the_new_token(self, which: int, crash: str) -> None:
        rotation = self.running("token")
        assert rotation is not None
        if rotation.new in self.tokens:
            token = self.tokens[rotation.new]
            self.attempt(
                which, crash, lambda: self.rotator(which).prove_rotation(rotation.rotation_id, token)
            )

    @precondition(lambda self: self.running("token") or self.running("signing"))
    @rule(
        which=either,
        name=which_key,
        crash=crashes,
        act=st.sampled_from(
            ("pause_rotation", "resume_rotation") * 3 + ("rollback_rotation", "complete_rotation")
        ),
    )
    def somebody_acts(self, which: int, name: str, crash: str, act: str) -> None:
        rotation = self.running(name)
        if rotation is None or (
            act == "complete_rotation" and name == "token" and rotation.new not in self.tokens
        ):
            return  # whoever ends the old token although nobody has the new one gets what they asked for
        done = self.attempt(which, crash, lambda: getattr(self.rotator(which), act)(rotation.rotation_id))
        if act == "rollback_rotation" and done is not None:
            assert rotation.ends_at is None or self.clock.now() < rotation.ends_at, "back after the end"
        if act == "resume_rotation" and done is not None and done.ends_at is not None:
            assert done.ends_at - self.clock.now() <= timedelta(seconds=OVERLAP), "a pause lengthened it"
        if act == "complete_rotation" and done is not None and rotation.stage is Stage.STAGED:
            known_for = self.clock.now() - rotation.started_at
            assert known_for >= timedelta(seconds=rotation.plan.lead), "it signs before its lead is over"

    @rule(which=either, act=st.sampled_from(("suspend_key", "resume_key")), name=which_key)
    def somebody_suspends_or_resumes_the_key(self, which: int, act: str, name: str) -> None:
        self.attempt(which, "no", lambda: getattr(self.store(which), act)(self.ids[name]))

    @rule(seconds=st.sampled_from((60, HOUR // 2, HOUR, 3 * HOUR, 25 * HOUR)))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_time(seconds)

    @rule(by=st.sampled_from((-HOUR, -60, 60, 2 * HOUR)))
    def the_clock_is_set(self, by: int) -> None:
        self.clock.step_wall(timedelta(seconds=by))

    # -- what always holds

    @invariant()
    def all_of_it(self) -> None:
        if not hasattr(self, "site"):
            return
        for process in self.processes:
            process.catch_up()
        self.check_token()
        self.check_signing()
        rotator = self.rotator(1)
        assert all(rotator.get_rotation(each) for each in self.acknowledged), (
            "an acknowledged rotation is lost"
        )

    def check_token(self) -> None:
        key, rotation, now = self.key("token"), self.running("token"), self.clock.now()
        versions = self.versions("token")
        assert key.expires_at == self.expiry, "a rotation moved the key's expiry"
        self.has_expired |= key.is_expired(now)
        good = self.good(key, rotation, TOKENS)
        good |= {number for number in self.left_as_they_were() if versions[number].state is KeyState.ACTIVE}
        in_service = key.state is KeyState.ACTIVE and not key.is_expired(now)
        valid = set()
        for number, token in self.tokens.items():
            answers = [process.ask(token) for process in self.processes]
            assert len({answer.code for answer in answers}) == 1
            if answers[0].valid:
                assert answers[0].key_id == self.ids["token"]
                valid.add(number)
        assert valid <= good, f"{valid - good} verify, and the stage names {good}"
        assert all(("token", number) not in self.dead for number in valid), "what had ended verifies"
        if in_service:
            due = {
                number
                for number in good & self.tokens.keys()
                if versions[number].expires_at is None or now < versions[number].expires_at
            }
            assert valid == due
            assert valid or key.version in self.lost, "the holder has no token that is good"
        else:
            assert not valid
        for number, version in versions.items():
            assert version.expires_at is None or version.expires_at <= self.expiry, "it outlives its key"
            if rotation is not None and rotation.stage is Stage.OVERLAP and number == rotation.old:
                assert rotation.ceiling is not None
                assert version.expires_at is not None
                assert version.expires_at <= rotation.ceiling

    def check_signing(self) -> None:
        key, rotation = self.key("signing"), self.running("signing")
        self.versions("signing")
        if key.state is not KeyState.ACTIVE:
            return
        store = self.store(1)
        signature = store.sign(self.ids["signing"], b"data")
        assert signature.version in self.good(key, rotation, SIGNERS), "a version signs that must not"
        assert store.verify_signature(self.ids["signing"], b"data", signature.value)
        named = store.verify_signature(
            self.ids["signing"], b"data", signature.value, version=signature.version
        )
        assert named

    def versions(self, name: str) -> dict[int, Any]:
        """The versions of a key, after checking that they only ever come to an end."""
        key = self.key(name)
        found = {
            each.version.number: each.version
            for each in self.processes[0].node.versions.list(self.ids[name], BY, limit=1_000).items
        }
        assert sorted(found) == list(range(1, key.newest_version + 1))
        assert key.newest_version >= self.newest[name], "a version is lost"
        self.newest[name] = key.newest_version
        assert found[key.version].state is KeyState.ACTIVE, "the version that serves is not active"
        for number, version in found.items():
            if version.state in ENDED:
                self.dead.add((name, number))
            assert (name, number) not in self.dead or version.state in ENDED, "what had ended is back"
        running = self.running(name)
        alive = {number for number, version in found.items() if version.state not in ENDED}
        named = {running.old, running.new} if running else set()
        assert alive <= {key.version} | named | (self.left_as_they_were() if name == "token" else set())
        return found

    def left_as_they_were(self) -> set[int]:
        """The token's versions whose rotation failed as the key expired: from then on only that refuses them."""
        if not self.has_expired:
            return set()
        latest = self.rotator(0).get_rotation_history(key_id=self.ids["token"], limit=1).items
        return {number for each in latest if each.stage is Stage.FAILED for number in (each.old, each.new)}

    def good(self, key: Key, rotation: Rotation | None, named: dict[str, set[str]]) -> set[int]:
        """The versions that the page on rotation names for the stage."""
        if rotation is None:
            return {key.version}
        numbers = {"old": rotation.old, "new": rotation.new}
        assert key.version == numbers[SERVES[rotation.stage.value]]
        return {numbers[which] for which in named[rotation.stage.value]}


def machine(strategy: RotationStrategy, steps: int) -> Any:
    """Fifty schedules of one strategy, of up to so many steps."""
    made: Any = type(f"Rotations_{strategy.value}_{steps}", (Rotations,), {"strategy": strategy})
    case = made.TestCase
    case.settings = settings(
        max_examples=50,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    return case


# A thousand schedules, in pieces that end in time on a busy machine.
for each in RotationStrategy:
    for length in (10, 15, 20, 25, 30):
        globals()[f"Test_{each.value}_{length}"] = machine(each, length)
