"""Sealing rows and material anew under the primary data key: beside running servers, stopped and resumed at will.

for progress in resealer.run(by):           # after each batch: a good moment to show it, to pause, or to stop
    ...

Body and revision stay, so no cached entry and no floor hears of it. A row is sealed anew only once its present seal
holds and the log names it: what was altered or put back is reported, and stays refused.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Final

from keyturn.crypto.keyring import KEYRING_ROW, Purpose
from keyturn.crypto.sealing import place_of, reseal_material
from keyturn.custody.tallying import batches, data_key_of
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.domain.principal import Principal
from keyturn.errors import IntegrityError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, Reseal, Row
from keyturn.records.records import Records
from keyturn.records.rows import OpenedRow

MAX_NAMED: Final = 20  # refused rows that are named one by one; the log has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        rows: how many were looked at.
        resealed: how many were sealed anew.
        refused: how many are not what was written, and were left as they are.
        named: ids of the first few refused ones.
    """

    rows: int = 0
    resealed: int = 0
    refused: int = 0
    named: tuple[str, ...] = ()


class Resealer:
    """Brings rows under the primary data key."""

    def __init__(self, *, ledger: Ledger, records: Records, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._clock = clock

    def run(self, by: Principal) -> Generator[Progress, None, None]:
        """Go through all rows once; the log gets one entry at the end, unless there was nothing to do.

        Whoever stops in between has done so much of it; the next run does the rest. KeysUnavailableError where this
        process lacks the primary data key.
        """
        self._records.log.catch_up()
        at = Progress()
        yield at
        for rows in batches(self._ledger):
            at = self._further(at, rows)
            yield at
        if at.resealed or at.refused:
            self._tell(at, by)

    def _further(self, at: Progress, rows: list[Row]) -> Progress:
        old = [row for row in rows if data_key_of(row) < self._records.keyring.primary]
        reseals, refused = self._sealed_anew(old)
        resealed = self._ledger.reseal(reseals)
        return replace(
            at,
            rows=at.rows + len(rows),
            # Those that somebody else changed or resealed meanwhile are under the primary by that.
            resealed=at.resealed + resealed,
            refused=at.refused + len(refused),
            named=(*at.named, *refused)[:MAX_NAMED],
        )

    def _sealed_anew(self, rows: list[Row]) -> tuple[list[Reseal], list[str]]:
        """New seals and material, and the ids of rows that are refused."""
        try:
            return [self._anew(opened) for opened in self._records.open_all(rows)], []
        except IntegrityError:
            self._records.log.require_whole()
        reseals, refused = [], []
        for row in rows:  # one by one, to know which
            try:
                reseals += [self._anew(opened) for opened in self._records.open_all([row])]
            except IntegrityError:
                self._records.log.require_whole()
                refused.append(row.id)
        return reseals, refused

    def _anew(self, opened: OpenedRow) -> Reseal:
        """A row that was checked, under the primary data key; IntegrityError for material that is not its own."""
        row, keyring, material = opened.row, self._records.keyring, opened.row.material
        place = place_of(opened.body)
        if material is not None and place is not None:
            try:
                material = reseal_material(keyring, material, place)
            except IntegrityError as error:
                raise self._records.refuse(row.id, row.tenant, str(error)) from None
        return Reseal(row, keyring.seal(Purpose.ROW, row.body.encode()), material)

    def _tell(self, at: Progress, by: Principal) -> None:
        event = Event(
            type=EventType.KEYRING_RESEALED,
            time=self._clock.now(),
            tenant=SYSTEM_TENANT,
            actor=by.actor,
            subjects=(KEYRING_ROW,),
            details={
                "primary": self._records.keyring.primary,
                "resealed": at.resealed,
                "refused": at.refused,
            },
        )
        self._records.commit(ChangeSet(events=(event,)))
