"""Rotating because somebody asks: which terms hold, and what would happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyturn.crypto.generation import RsaKeys
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.preview import Foreseen, foreseen
from keyturn.domain.rotation.schedule import next_due
from keyturn.domain.rotation.stages import Cause
from keyturn.errors import InvalidInputError, NotFoundError, shown
from keyturn.issuing.conditions import Condition, always
from keyturn.issuing.keys import Keys
from keyturn.ports.clock import Clock
from keyturn.rotation.starting import Beside, Started, Starter
from keyturn.rotation.terms import MAY_BE_SAID, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rotation of a key would do.

    Attributes:
        stages: in order, each with the earliest time that it begins.
        next_due: when the key's policy rotates it by itself; None for never.
        problem: why the key cannot be rotated now; None where it can.
    """

    key: Key
    strategy: RotationStrategy
    policy_id: str | None
    stages: tuple[Foreseen, ...]
    next_due: datetime | None
    problem: str | None


class Requests:
    """Rotates keys for callers of one process."""

    def __init__(self, *, keys: Keys, starter: Starter, clock: Clock) -> None:
        self._keys = keys
        self._starter = starter
        self._clock = clock

    def rotate(
        self,
        key_id: str,
        by: Principal,
        *,
        strategy: RotationStrategy | None = None,
        is_compromised: bool = False,
        keeps_secret: bool = False,
        said: Mapping[str, Any] | None = None,
        only_if: Condition = always,
        beside: Beside = lambda _: (),
        rsa_keys: RsaKeys = make_rsa_key,
    ) -> Started:
        """Rotate a key now: as its policy says, or by `strategy` with the parameters that are said.

        With `is_compromised` there is no grace: the old version is marked as compromised and refused at once, and a
        rotation that is under way ends. Without a policy and a strategy both versions verify for seven days.

        `only_if` is asked about the key as it is, each time that it is tried. ConflictError where somebody else was
        first to rotate it as compromised: one more rotation would end the secret that they were given.
        """
        key = self._keys.get(by.tenant, key_id)
        return self._starter.start(
            key_id,
            by,
            self._terms(key, strategy, is_compromised, said or {}, keeps_secret=keeps_secret),
            # Found before its turn comes: who waits for another's rotation must see that it came in between.
            exposed=key.version if is_compromised else None,
            keeps_secret=keeps_secret,
            only_if=only_if,
            beside=beside,
            rsa_keys=rsa_keys,
        )

    @staticmethod
    def require_meaning(
        *,
        strategy: RotationStrategy | None,
        is_compromised: bool,
        keeps_secret: bool,
        said: Mapping[str, Any],
    ) -> None:
        """InvalidInputError for terms that suit no key."""
        unknown = sorted(set(said) - MAY_BE_SAID)
        if unknown:
            raise InvalidInputError(
                f"a rotation has no {shown(unknown[0])}",
                field=unknown[0],
                fix=f"It has: {', '.join(sorted(MAY_BE_SAID))}.",
            )
        if is_compromised and (strategy is not None or said):
            raise InvalidInputError(
                "a compromised key is rotated at once, without any grace",
                field="compromised",
                fix="Leave the strategy and its parameters out.",
            )
        if is_compromised and keeps_secret:
            raise InvalidInputError(
                "a compromised key's new secret is in the answer: nothing serves until it is picked up",
                field="keep_secret",
                fix="Leave keep_secret out, and hand the new secret over.",
            )
        if not is_compromised and (strategy is not None or said):
            Terms.asked(strategy or RotationStrategy.OVERLAPPING, dict(said))

    def preview(
        self,
        key_id: str,
        by: Principal,
        *,
        strategy: RotationStrategy | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> Preview:
        """What `rotate` would do now; nothing is changed."""
        found, now = self._keys.together(by.tenant, key_id), self._clock.now()
        key = found.key
        terms = self._terms(key, strategy, False, said or {})
        problem = self._starter.problem_of(found, terms, now)
        due = None
        if key.rotation_policy_id is not None:
            kept = self._keys.kept_policy(by.tenant, key.rotation_policy_id)
            due = None if kept is None or kept.is_deleted else next_due(kept.policy, key, now)
        return Preview(
            key=key,
            strategy=terms.strategy,
            policy_id=terms.policy_id,
            stages=tuple(
                foreseen(key, terms.strategy, terms.plan, terms.awaited(key, is_picked_up=False), now)
            ),
            next_due=due,
            problem=problem,
        )

    def _terms(
        self,
        key: Key,
        strategy: RotationStrategy | None,
        is_compromised: bool,
        said: Mapping[str, Any],
        *,
        keeps_secret: bool = False,
    ) -> Terms:
        self.require_meaning(
            strategy=strategy, is_compromised=is_compromised, keeps_secret=keeps_secret, said=said
        )
        if is_compromised:
            return Terms.after_compromise()
        if said.get("lead") and key.type.is_token:
            raise InvalidInputError(
                "a lead is for keys that sign: nobody else has to know a token before it is used",
                field="lead",
                fix="Leave it out.",
            )
        if strategy is None and not said and key.rotation_policy_id is not None:
            try:
                policy = self._keys.policy(key.tenant, key.rotation_policy_id).policy
            except NotFoundError:
                pass  # it was deleted since, so that the key follows none
            else:
                return Terms.of(policy, Cause.REQUESTED)
        return Terms.asked(strategy or RotationStrategy.OVERLAPPING, dict(said))
