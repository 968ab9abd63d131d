"""The policies that announce rotations, by tenant, as a sweep comes across them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from keyturn.domain.key import Key
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.schedule import due_at
from keyturn.errors import KeyturnError
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.rotation.listing import policies_of

MAX_KEPT: Final = 10_000  # policies in memory
_log = logging.getLogger("keyturn.announcing")


class _OfTenant(NamedTuple):
    by_id: dict[str, RotationPolicy]
    selecting: list[RotationPolicy]


class AnnouncingPolicies:
    """Those of one sweep. What is not to be rotated by, or says no notice, is none of them."""

    def __init__(self, *, ledger: Ledger, intact: Intact) -> None:
        self._ledger = ledger
        self._intact = intact
        self._kept: dict[str, _OfTenant] = {}
        self._left = MAX_KEPT

    def of(self, key: Key) -> list[RotationPolicy]:
        """The policies that are for a key, and that this process can read a date from."""
        ours = self._of_tenant(key.tenant)
        if key.rotation_policy_id is not None:
            named = ours.by_id.get(key.rotation_policy_id)
            found = [] if named is None else [named]
        else:
            found = [each for each in ours.selecting if each.keys is not None and each.keys.admits(key)]
        return [policy for policy in found if self._has_date(policy, key)]

    def _has_date(self, policy: RotationPolicy, key: Key) -> bool:
        """Whether the policy can be used here; one that cannot is left out for the rest of the sweep."""
        try:
            due_at(policy, key)
        except KeyturnError as error:
            _log.warning(
                "rotations by the policy %s of %s cannot be announced: %s",
                policy.policy_id,
                key.tenant,
                error,
            )
            ours = self._kept[key.tenant]
            ours.by_id.pop(policy.policy_id, None)
            if policy in ours.selecting:
                ours.selecting.remove(policy)
            return False
        return True

    def _of_tenant(self, tenant: str) -> _OfTenant:
        if tenant not in self._kept:
            found = list(self._read(tenant))
            if len(found) > self._left:
                self._kept.clear()
                self._left = MAX_KEPT
            self._left -= len(found)
            self._kept[tenant] = _OfTenant(
                {each.policy_id: each for each in found}, [each for each in found if each.keys is not None]
            )
        return self._kept[tenant]

    def _read(self, tenant: str) -> Iterator[RotationPolicy]:
        kept = policies_of(self._ledger, self._intact, tenant)
        announcing = (each.policy for each in kept if each.paused is None and each.policy.notices)
        for count, policy in enumerate(announcing):
            if count == MAX_KEPT:
                _log.warning("the tenant %s has more policies than can be announced", tenant)
                return
            yield policy
