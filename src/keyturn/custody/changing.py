"""Changing the keyring's row: in one commit, proved beforehand, or not at all.

changes = KeyringChanges(ledger=ledger, records=records, wrapper=wrapper, clock=clock)
changes.change_kek(lambda: LocalKeyWrapper.from_setting(setting), by)
changes.add_data_key(by)
for tally in changes.retire(by): ...            # reads every row first
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from keyturn.crypto.keyring import KEYRING_ROW, Keyring, sealed_under
from keyturn.crypto.keyring_body import keyring_put, open_keyring
from keyturn.custody.tallying import Tally, tallied
from keyturn.domain import canonical
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.domain.principal import Principal
from keyturn.errors import (
    ConflictError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    OutcomeUnknownError,
    WrongKekError,
)
from keyturn.ports.clock import Clock
from keyturn.ports.key_wrapper import KeyWrapper
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records

MakeWrapper = Callable[[], KeyWrapper]
"""Makes a wrapper over one KEK, another object each time: what one wrapped, the next must be able to unwrap."""


class KeyringChanges:
    """Changes the keyring.

    Each call raises ConflictError where somebody else changes it meanwhile, and WrongKekError where the KEK that this
    process was started with is no longer the store's: nothing is ever wrapped under an earlier one again.
    """

    def __init__(self, *, ledger: Ledger, records: Records, wrapper: KeyWrapper, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._wrapper = wrapper
        self._clock = clock

    def change_kek(self, make_wrapper: MakeWrapper, by: Principal) -> None:
        """Wrap every key under another KEK. Processes that are running go on; new ones need the new KEK.

        InvalidInputError where it is the present one. After OutcomeUnknownError either may be.
        """
        present, wrapper = self._present(), make_wrapper()
        if self._is_under(wrapper):
            raise InvalidInputError(
                "that is the store's present key-encryption key already",
                fix="Nothing need be done; to change it, give another one.",
            )
        changed = present.rewrapped()
        put = self._proved(changed, keyring_put(changed, wrapper), make_wrapper())
        try:
            self._commit(put, by, {"changed": "kek", "wrapper": wrapper.uri})
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(
                str(error),
                fix="Run 'keyturn rekey --status' with the old key-encryption key, then the new one: one opens it.",
            ) from error

    def add_data_key(self, by: Principal) -> int:
        """Add a data key that seals whatever is written from now on; its version."""
        changed = self._present().with_new_data_key()
        put = self._proved(changed, keyring_put(changed, self._wrapper), self._wrapper)
        self._commit(put, by, {"changed": "data_key", "primary": changed.primary})
        return changed.primary

    def retire(self, by: Principal) -> Iterator[Tally]:
        """Accept rows and material under the primary data key alone, once no row is under an older one.

        Yields while it reads every row to see. ConflictError where there are such rows, IllegalTransitionError where
        older data keys are retired already.
        """
        primary = self._present().primary
        if primary == self._records.keyring.minimum:
            raise IllegalTransitionError(
                f"no data key but {primary} is good for rows: there is none to retire",
                fix="Add a data key first: 'keyturn rekey --data-key'.",
            )
        tally = Tally()
        for tally in tallied(self._ledger):
            yield tally
        left = tally.before(primary)
        if left:
            raise ConflictError(
                f"{left:,} rows are still sealed under older data keys",
                fix="Run 'keyturn rekey --reseal'. What that refuses, restore from a backup, or delete as the owner.",
            )
        self._retire_before(primary, by)

    def _retire_before(self, primary: int, by: Principal) -> None:
        present = self._present()
        if present.primary != primary:
            raise _changed_meanwhile()
        snapshot = self._ledger.snapshot()
        if snapshot is not None and (sealed_under(snapshot.seal) or 0) < primary:
            self._records.log.save_snapshot()  # or each start would read the whole log until the next one is due
        # Everything after what this process has read is sealed under the primary: it was the primary by then.
        changed = present.retired_before_primary(self._records.log.position)
        put = self._proved(changed, keyring_put(changed, self._wrapper), self._wrapper)
        self._commit(put, by, {"changed": "minimum", "minimum": primary})

    def _present(self) -> Keyring:
        """The keyring as the store has it now, opened with the KEK of this process."""
        return open_keyring(self._body(), self._wrapper, self._ledger.log_id)

    def _is_under(self, wrapper: KeyWrapper) -> bool:
        try:
            open_keyring(self._body(), wrapper, self._ledger.log_id)
        except WrongKekError:
            return False
        return True

    def _body(self) -> Mapping[str, object]:
        row = self._records.get(KEYRING_ROW)
        assert row is not None  # the log names it, or it would have been refused
        return row.body

    def _proved(self, changed: Keyring, put: Put, wrapper: KeyWrapper) -> Put:
        """The put, once what will be stored of it opens again and is the keyring that it should be."""
        stored = canonical.decode(canonical.encode(put.body))
        assert isinstance(stored, dict)
        if not open_keyring(stored, wrapper, self._ledger.log_id).has_the_keys_of(changed):
            raise IntegrityError(
                "the key-encryption key did not give back what it wrapped; nothing was changed",
                fix="Use another key-encryption key, or look into the KMS that holds this one.",
            )
        return put

    def _commit(self, put: Put, by: Principal, details: Mapping[str, object]) -> None:
        event = Event(
            type=EventType.KEYRING_ROTATED,
            time=self._clock.now(),
            tenant=SYSTEM_TENANT,
            actor=by.actor,
            subjects=(KEYRING_ROW,),
            rows=(put.id,),
            details=details,
        )
        try:
            self._records.commit(ChangeSet(puts=(put,), events=(event,)))
        except ConflictError:
            raise _changed_meanwhile() from None


def _changed_meanwhile() -> ConflictError:
    return ConflictError(
        "somebody else changed the keyring meanwhile; this change was not made",
        fix="Look at 'keyturn rekey --status', and run the command again if it is still needed.",
    )
