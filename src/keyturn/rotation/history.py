"""Listing rotations, running and past."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.domain.fields import check_key_id, check_policy_id
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.checks import require_kind
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Stage
from keyturn.issuing.cursors import DEFAULT_LIMIT, Cursors, check_limit
from keyturn.ports.ledger import Ledger, RotationFilter
from keyturn.records.intact import Intact
from keyturn.records.records import Records

_PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPage:
    """Some rotations, newest first, and the cursor for those after them; None when there are no more."""

    items: tuple[Rotation, ...]
    next_cursor: str | None


class History:
    """Reads rotations for callers of one process.

    One whose row does not hold is left out, and the program's log says so.
    """

    def __init__(self, *, ledger: Ledger, records: Records) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = Intact(records)

    def list(
        self,
        by: Principal,
        *,
        key_id: str | None = None,
        policy_id: str | None = None,
        stage: Stage | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> RotationPage:
        """Rotations of the caller's tenant, newest first; of one key, policy or stage if named. `limit`: 1 to 1,000."""
        check_limit(limit)
        if policy_id is not None:
            check_policy_id(policy_id)
        if key_id is not None:
            check_key_id(key_id)
        if stage is not None:
            require_kind("stage", stage, Stage)
        cursors = Cursors(
            self._records, by.tenant, f"rotations {key_id!r} {policy_id!r} {stage and stage.value!r}"
        )
        matching = RotationFilter(
            tenant=by.tenant,
            before=cursors.read(cursor),
            key_id=key_id,
            policy_id=policy_id,
            stage=None if stage is None else stage.value,
        )
        found = self._ledger.list_rotations(matching, limit + 1)
        # Index columns found these rows; the sealed bodies have the last word.
        items = tuple(
            rotation
            for rotation in self._intact.read(found[:limit], rotation_from)
            if rotation.tenant == by.tenant
            and key_id in (None, rotation.key_id)
            and policy_id in (None, rotation.policy_id)
            and stage in (None, rotation.stage)
        )
        return RotationPage(items=items, next_cursor=cursors.after(found, limit))

    def newest_first(self, tenant: str) -> Iterator[Rotation]:
        """All rotations of a tenant, newest first, a page at a time."""
        before = None
        while rows := self._ledger.list_rotations(RotationFilter(tenant=tenant, before=before), _PAGE):
            before = rows[-1].created
            yield from self._intact.read(rows, rotation_from)
