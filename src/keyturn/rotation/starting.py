"""Starting a rotation: a fresh version of a key, and the plan by which it takes over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from keyturn.crypto.generation import RsaKeys
from keyturn.crypto.key_pairs import make_rsa_key, public_pem
from keyturn.crypto.randomness import random_base62
from keyturn.domain.bodies import version_put
from keyturn.domain.change import ChangeSet, EventType, Put, Require
from keyturn.domain.ids import ID_CHARACTERS, MAX_VERSION, ROTATION, build
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import Act, KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.bodies import rotation_put
from keyturn.domain.rotation.reasons import Outcome, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Cause, Stage
from keyturn.domain.rotation.steps import begin, brought
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IllegalTransitionError, InvalidInputError
from keyturn.issuing.conditions import Condition, always
from keyturn.issuing.keys import Keys, Together
from keyturn.issuing.publishing import PublishedRoom
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.rotation.commits import Step, described, event_of
from keyturn.rotation.material import Fresh, fresh_for, version_of
from keyturn.rotation.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A rotation that has begun.

    Attributes:
        key: the key as it is now.
        secret: the new token, or the new secret of an HMAC key, this once; None for a key pair, and for a token whose
            secret waits to be picked up.
        public_key: of a key pair, as PEM.
    """

    rotation: Rotation
    key: Key
    secret: Secret | None = None
    public_key: str | None = None


Beside = Callable[[Started], tuple[Put, ...]]
"""Given the rotation that is about to begin, the rows that are to be stored in the same commit."""


class Starter:
    """Begins rotations of keys, one at a time for each."""

    def __init__(self, *, records: Records, keys: Keys, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def start(
        self,
        key_id: str,
        by: Principal,
        terms: Terms,
        *,
        keeps_secret: bool = False,
        due_from: datetime | None = None,
        exposed: int | None = None,
        only_at: int | None = None,
        only_if: Condition = always,
        requires: tuple[Require, ...] = (),
        beside: Beside = lambda _: (),
        rsa_keys: RsaKeys = make_rsa_key,
    ) -> Started:
        """Begin, with what `beside` gives in the same commit.

        Args:
            key_id: the key.
            by: who asks; ForbiddenError for a key that holds more than they do.
            terms: how.
            keeps_secret: whether a token's new secret is kept, sealed, until somebody picks it up, and the old version
                serves so long; otherwise it is in the answer and nowhere else.
            due_from: what a schedule counts from afterwards; now, when absent.
            exposed: number of the version that served when a compromise was reported.
            only_at: the key's revision for which this was decided; ConflictError for another.
            only_if: asked about the key as it is, each time that it is tried.
            requires: other rows that it was decided from, as they were; ConflictError where one has moved.
            beside: rows for the same commit.
            rsa_keys: where RSA keys come from.

        Raises:
            ConflictError: `exposed` was replaced by somebody else after a compromise: what this would end is their new
                secret.
            IllegalTransitionError: the key is not active, or is being rotated already.
            InvalidInputError: the key is published, and its tenant's key set has no room for one more version.
        """
        made: list[Fresh] = []

        def attempt() -> Started | None:
            found = self._keys.together(by.tenant, key_id)
            by.require_grantable(found.key.permissions, found.key.scope)
            only_if(found.key)
            if exposed is not None and self._has_been_replaced(found, exposed):
                return None  # and not an error that would have it tried again
            if only_at is not None and found.key.revision != only_at:
                raise ConflictError("the key has changed since its rotation was decided on")
            now = self._clock.now()
            self._require_rotatable(found, terms, now)
            if not made:  # once: an RSA key takes its time
                made.append(fresh_for(found.key, rsa_keys))
            return self._begun(
                found,
                made[0],
                terms=terms,
                by=by,
                now=now,
                is_kept=keeps_secret and found.key.type.is_token,
                due_from=due_from or now,
                requires=requires,
                beside=beside,
            )

        if only_at is not None:
            started = attempt()  # whoever was first has done it
        else:
            again = self._retrying.end if terms.cause is Cause.COMPROMISED else self._retrying.change
            started = again(key_id, attempt)
        if started is None:
            raise ConflictError(
                "the key was rotated as compromised a moment ago",
                fix="Ask whoever did for the new secret; rotate again if that one is in wrong hands too.",
            )
        return started

    def _has_been_replaced(self, found: Together, number: int) -> bool:
        """Whether this version, which served, has been replaced after a compromise."""
        if found.key.version == number:
            return False
        return self._keys.version(found.key, number).state is KeyState.COMPROMISED

    def problem_of(self, found: Together, terms: Terms, now: datetime) -> str | None:
        """Why the key cannot be rotated now; None where it can."""
        try:
            self._require_rotatable(found, terms, now)
        except (IllegalTransitionError, InvalidInputError) as error:
            return str(error)
        return None

    def _require_rotatable(self, found: Together, terms: Terms, now: datetime) -> None:
        _require_rotatable(found, terms, now)
        # A version in wrong hands leaves the set as the new one comes, and that must never have to wait.
        if found.key.published_for is None or terms.cause is Cause.COMPROMISED:
            return
        problem = PublishedRoom(self._records, now).problem_of_rotation(found.key)
        if problem is not None:
            raise InvalidInputError(
                f"there is no room for another version of a published key: {problem}",
                field="key_id",
                fix="Wait until what old versions have signed is over, or rotate less often.",
            )

    def _begun(
        self,
        found: Together,
        fresh: Fresh,
        *,
        terms: Terms,
        by: Principal,
        now: datetime,
        is_kept: bool,
        due_from: datetime,
        requires: tuple[Require, ...],
        beside: Beside,
    ) -> Started:
        key = found.key
        rotation = begin(
            rotation_id=build(ROTATION, random_base62(ID_CHARACTERS)),
            key=key,
            strategy=terms.strategy,
            plan=terms.plan,
            cause=terms.cause,
            now=now,
            policy_id=terms.policy_id,
            awaited=terms.awaited(key, is_picked_up=is_kept),
        )
        state = KeyState.PRE_ACTIVE if rotation.stage is Stage.STAGED else KeyState.ACTIVE
        new = version_of(
            fresh,
            key,
            rotation.new,
            state=state,
            now=now,
            keyring=self._records.keyring,
            is_kept=is_kept,
        )
        moved = brought(rotation, key, found.versions[key.version], new, now, due_from=due_from)
        completed = () if rotation.is_running else (EventType.ROTATION_COMPLETED,)
        step = Step(
            types=(EventType.ROTATION_STARTED, *completed),
            before=found,
            rotation=rotation,
            moved=moved,
            added=new,
        )
        started = _told(rotation, moved.key, fresh, is_kept=is_kept)
        changes = self._with_exposed(step.changes(by.actor, now), found, rotation, by, now)
        changes = replace(changes, requires=(*changes.requires, *requires))
        self._records.commit(changes.with_rows(beside(started)))
        return started

    def _with_exposed(
        self, changes: ChangeSet, found: Together, rotation: Rotation, by: Principal, now: datetime
    ) -> ChangeSet:
        """After a compromise, also the end of a rotation that was under way, and of its other version."""
        if rotation.cause is not Cause.COMPROMISED or found.rotation is None:
            return changes
        why = Reason(Outcome.SUPERSEDED, "the key was compromised: another rotation took over")
        failed = found.rotation.failed(now, why)
        number = found.rotation.old if found.key.version == found.rotation.new else found.rotation.new
        other = self._keys.version(found.key, number)
        ended = replace(other.after(Act.COMPROMISE, now), custody=None, material=None)
        is_known = found.key.type.is_token and not found.key.recoverable
        puts = rotation_put(failed), version_put(ended if is_known else other.after(Act.COMPROMISE, now))
        details = {**described(failed), "superseded_by": rotation.rotation_id}
        rows = tuple(put.id for put in puts)
        event = event_of(
            EventType.ROTATION_FAILED, failed, rows=rows, actor=by.actor, now=now, details=details
        )
        return replace(changes, puts=(*changes.puts, *puts), events=(event, *changes.events))


def _told(rotation: Rotation, key: Key, fresh: Fresh, *, is_kept: bool) -> Started:
    """What whoever asked for a rotation is told, with the new secret unless that waits to be picked up."""
    public = fresh.material.public_key
    return Started(
        rotation=rotation,
        key=key,
        secret=None if is_kept or public is not None else fresh.material.secret,
        public_key=None if public is None else public_pem(public),
    )


def _require_rotatable(found: Together, terms: Terms, now: datetime) -> None:
    key = found.key
    # A suspended key may be resumed, and then its old secret must not be what comes back.
    states = (KeyState.ACTIVE, KeyState.SUSPENDED) if terms.cause is Cause.COMPROMISED else (KeyState.ACTIVE,)
    if key.is_expired(now) or key.state not in states or found.is_owner_revoked:
        state = "expired" if key.is_expired(now) else key.state.value
        raise IllegalTransitionError(
            f"a key that is {state}, or whose owner was revoked, is not rotated",
            fix="Resume it first if it is suspended; issue a new key in place of one that has ended.",
        )
    if key.rotation is not None and terms.cause is not Cause.COMPROMISED:
        raise IllegalTransitionError(
            f"the key is being rotated already: {key.rotation}", fix=_ending(found.rotation)
        )
    if key.newest_version >= MAX_VERSION:
        raise IllegalTransitionError("the key has had all the versions that there can be")


def _ending(rotation: Rotation | None) -> str:
    """How somebody ends a rotation that is under way."""
    if rotation is not None and rotation.awaited:
        awaited = ", ".join(sorted(each.value for each in rotation.awaited))
        return f"Roll that rotation back, or let happen what it awaits ({awaited}) and complete it."
    return "Complete that rotation, or roll it back."
