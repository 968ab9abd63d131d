"""Rotating keys without downtime.

rotator = KeyRotator(generator, store)
rotator.create_rotation_policy(RotationPolicy(
    policy_id="monthly_rotation", frequency=RotationFrequency.MONTHLY, strategy=RotationStrategy.OVERLAPPING))
rotator.assign_policy(api_key.key_id, "monthly_rotation")
rotator.check_rotation_schedules()                          # does what is due, and says what it did

rotated = rotator.rotate_key(api_key.key_id)                # now, whatever the schedule says
hand_over(rotated.secret.reveal())                          # the one time that it is known
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from keyturn.domain.key import Key as KeyMetadata
from keyturn.domain.key import KeyType
from keyturn.domain.network import check_address
from keyturn.domain.notices.announcements import DEFAULT_TERMS, Terms
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError, KeyturnError
from keyturn.issuing.cursors import DEFAULT_LIMIT
from keyturn.issuing.reading import KeyFilter
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from keyturn.rotation.bulk import BulkOutcome
from keyturn.rotation.checking import Check
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.history import RotationPage
from keyturn.rotation.moving import PickedUp
from keyturn.rotation.pick_ups import DEFAULT_LIFETIME, Offered
from keyturn.rotation.policies import PolicyPage
from keyturn.rotation.requesting import Preview as RotationPreview
from keyturn.rotation.starting import Started as RotatedKey
from keyturn.rotation.statistics import RotationStatistics

__all__ = [
    "BlackoutWindow",
    "KeyRotator",
    "KeySelection",
    "PickedUp",
    "PolicyPage",
    "RotatedKey",
    "Rotation",
    "RotationEvent",
    "RotationFrequency",
    "RotationPage",
    "RotationPolicy",
    "RotationPreview",
    "RotationStatistics",
    "RotationStrategy",
]

_log = logging.getLogger("keyturn.rotation")


class KeyRotator:
    """Rotates the keys of a store, by policies and on request.

    Safe to use from several threads, and in several processes on one store: whatever is due is done once.

    Args:
        generator: makes the new versions' RSA keys; all other material is made as it makes it.
        store: the store whose keys are rotated, in its tenant.
        check: asked by `check_rotation_schedules` for each rotation that awaits an approval. True lets the new version
            take over; False, or an exception, pauses the rotation.
        announced: how long before their expiry, and after how long without a use, keys are announced.
    """

    def __init__(
        self,
        generator: SecureKeyGenerator,
        store: SecureKeyStore,
        *,
        check: Check | None = None,
        announced: Terms = DEFAULT_TERMS,
    ) -> None:
        self._generator = generator
        self._store = store
        self._check = check
        self._announced = announced

    def create_rotation_policy(
        self, policy: RotationPolicy, *, may_select_none: bool = False
    ) -> RotationPolicy:
        """Keep a policy. Rotations begin by it from the next `check_rotation_schedules` on.

        Raises:
            ConflictError: there is one of that name.
            InvalidInputError: it selects no key that there is, and `may_select_none` was not said.
        """
        services, by = self._store.rotation()
        return services.policies.create(policy, by, may_select_none=may_select_none).policy

    def update_rotation_policy(
        self, policy_id: str, *, may_select_none: bool = False, **changes: Any
    ) -> RotationPolicy:
        """Change fields of a policy; rotations that have begun go on as they were planned.

        >>> rotator.update_rotation_policy("monthly_rotation", overlap=14 * 86_400)        # doctest: +SKIP
        """
        services, by = self._store.rotation()
        return services.policies.update(policy_id, by, changes, may_select_none=may_select_none).policy

    def delete_rotation_policy(self, policy_id: str) -> None:
        """Let a policy be none: keys that follow it are not rotated any more, until there is one of that name again."""
        services, by = self._store.rotation()
        services.policies.delete(policy_id, by)

    def list_rotation_policies(self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> PolicyPage:
        """Policies, newest first, up to `limit` (1 to 1,000), each with why it is paused where it is."""
        services, by = self._store.rotation()
        return services.policies.list(by, limit=limit, cursor=cursor)

    def pause_rotation_policy(self, policy_id: str) -> None:
        """Let no rotation begin by a policy for now."""
        services, by = self._store.rotation()
        services.policies.pause(policy_id, by)

    def resume_rotation_policy(self, policy_id: str) -> None:
        """Let rotations begin by a policy again, also by one that has stopped by itself."""
        services, by = self._store.rotation()
        services.policies.resume(policy_id, by)

    def assign_policy(self, key_id: str, policy_id: str | None) -> KeyMetadata:
        """Let a key follow a policy, whatever others select; with None it follows none but those."""
        services, by = self._store.rotation()
        return services.policies.assign(key_id, policy_id, by)

    def check_rotation_schedules(self, *, limit: int | None = None) -> list[RotationEvent]:
        """Do what is due in every tenant, at most `limit` things, and say what was done.

        Steps of rotations that are under way and rotations that are due take turns. A token's new secret waits,
        sealed, to be fetched with `pick_up_secret`, and its old version goes on until then. What could not begin is
        told once, and does not count. Call it from time to time, such as every minute; a server does so by itself.
        Once an hour it also writes into the log what is announced: rotations to come, keys that expire soon or that
        nobody uses, and old versions that are still in use.
        """
        services, by = self._store.rotation()
        done = list(services.scheduler.work(limit))
        if self._check is not None:
            done += services.checks.ask(self._check, by)
        self._announce()
        return done

    def preview_rotation(
        self, key_id: str, *, strategy: RotationStrategy | None = None, **said: Any
    ) -> RotationPreview:
        """What `rotate_key` would do now, stage by stage; nothing is changed."""
        services, by = self._store.rotation()
        return services.requests.preview(key_id, by, strategy=strategy, said=said)

    def rotate_key(
        self,
        key_id: str,
        *,
        strategy: RotationStrategy | None = None,
        compromised: bool = False,
        keep_secret: bool = False,
        **said: Any,
    ) -> RotatedKey:
        """Rotate a key now: by its policy, or by `strategy` and the parameters that are said, as a policy has them.

        Args:
            key_id: the key. It keeps its id, prefix, limits and history.
            strategy: when absent that of the key's policy, and without one OVERLAPPING.
            compromised: the old version is in wrong hands: it is refused at once, on this node when this returns.
            keep_secret: let a token's new secret wait to be picked up, instead of having it in the answer.
            said: such as ``overlap=3600``.

        Returns:
            The rotation, the key, and the new secret, this once.

        Raises:
            IllegalTransitionError: the key is not active, or is being rotated already.
        """
        services, by = self._store.rotation()
        return services.requests.rotate(
            key_id,
            by,
            strategy=strategy,
            is_compromised=compromised,
            keeps_secret=keep_secret,
            said=said,
            rsa_keys=self._generator.rsa_keys,
        )

    def rotate_keys(
        self,
        *,
        owner: str | None = None,
        key_type: KeyType | None = None,
        since: datetime,
        strategy: RotationStrategy | None = None,
        compromised: bool = False,
        keep_secret: bool = False,
        **said: Any,
    ) -> Iterator[BulkOutcome]:
        """Rotate all keys of an owner or a type, and give each as soon as it is done, with its new secret or a problem.

        Whoever is interrupted gives the same `since` again, the time at which they began: what was rotated since then
        is left alone, and each such key is given with `skipped`, so that none whose secret was lost is overlooked.

        Raises:
            InvalidInputError: at once, for terms that suit no key, or a `since` that has not come.
        """
        if owner is None and key_type is None:
            raise InvalidInputError(
                "all keys of whom, or of which type", field="owner", fix="Name an owner or a key_type."
            )
        services, by = self._store.rotation()
        return services.bulk.rotate(
            by,
            KeyFilter(owner=owner, type=key_type),
            since=since,
            strategy=strategy,
            is_compromised=compromised,
            keeps_secret=keep_secret,
            said=said,
            rsa_keys=self._generator.rsa_keys,
        )

    def pick_up_secret(self, rotation_id: str) -> PickedUp:
        """The new secret of a rotation that awaits its pick-up, this once; then the new version takes over."""
        services, by = self._store.rotation()
        return services.mover.pick_up(rotation_id, by)

    def offer_pick_up(self, rotation_id: str, *, lifetime: int = DEFAULT_LIFETIME) -> Offered:
        """A code that is good for one `redeem_pick_up`, for `lifetime` seconds (60 to 604,800; an hour).

        Hand it to the key's holder in place of the secret: who finds the secret fetched has learnt that somebody else
        was first, and so has the log (`pick_up_repeated`).
        """
        services, by = self._store.rotation()
        return services.pick_ups.offer(rotation_id, by, lifetime=lifetime)

    def redeem_pick_up(self, code: str | Secret, *, ip: str | None = None) -> PickedUp:
        """The new secret for a code, this once; then the new version takes over. `ip` is for the log."""
        if ip is not None:
            check_address(ip)
        services, _ = self._store.rotation()
        return services.pick_ups.redeem(code, ip=ip)

    def prove_rotation(self, rotation_id: str, token: str | Secret) -> Rotation:
        """Show that the new token has arrived where it will be used: what BLUE_GREEN waits for."""
        services, by = self._store.rotation()
        return services.mover.prove(rotation_id, token, by)

    def approve_rotation(self, rotation_id: str, *, note: str | None = None) -> Rotation:
        """Let a staged version take over: for policies with `requires_check`."""
        services, by = self._store.rotation()
        return services.mover.approve(rotation_id, by, note=note)

    def pause_rotation(self, rotation_id: str, *, note: str | None = None) -> Rotation:
        """Let a rotation stand still; the old version goes on meanwhile, at most up to `max_overlap`."""
        services, by = self._store.rotation()
        return services.mover.pause(rotation_id, by, note=note)

    def resume_rotation(self, rotation_id: str, *, note: str | None = None) -> Rotation:
        """Let a rotation go on, with as much of its times as was left."""
        services, by = self._store.rotation()
        return services.mover.resume(rotation_id, by, note=note)

    def rollback_rotation(self, rotation_id: str, *, note: str | None = None) -> Rotation:
        """Put the old version back, and end the new one: possible until the old one has come to its end."""
        services, by = self._store.rotation()
        return services.mover.roll_back(rotation_id, by, note=note)

    def complete_rotation(self, rotation_id: str, *, note: str | None = None) -> Rotation:
        """End the old version now, ahead of its time."""
        services, by = self._store.rotation()
        return services.mover.complete(rotation_id, by, note=note)

    def get_rotation(self, rotation_id: str) -> Rotation:
        """A rotation, running or past."""
        services, by = self._store.rotation()
        return services.mover.get(rotation_id, by)

    def get_rotation_history(
        self,
        *,
        key_id: str | None = None,
        policy_id: str | None = None,
        stage: Stage | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> RotationPage:
        """Rotations, newest first, up to `limit` (1 to 1,000), of one key, policy or stage if named."""
        services, by = self._store.rotation()
        return services.history.list(
            by, key_id=key_id, policy_id=policy_id, stage=stage, limit=limit, cursor=cursor
        )

    def get_rotation_statistics(self, *, since: datetime | None = None) -> RotationStatistics:
        """How rotations since a time, 30 days ago when absent, have gone, how old keys are, and who lags behind."""
        services, by = self._store.rotation()
        return services.statistics.of(by, since)

    def _announce(self) -> None:
        try:
            for _ in self._store.announcer().sweep(self._announced):
                pass
        except KeyturnError as error:  # what was done by then is to be told all the same
            _log.warning("what is due could not all be announced yet: %s", error)
