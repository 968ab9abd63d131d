"""Changing the keyring while other processes run: each goes on with what it has, and seals nothing by an older one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.crypto.keyring import KEYRING_ROW, sealed_under
from keyturn.custody.changing import KeyringChanges
from keyturn.custody.tallying import data_key_of, tallied
from keyturn.domain.key import KeyType
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import (
    ConflictError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    KeysUnavailableError,
    OutcomeUnknownError,
    StorageFullError,
    WrongKekError,
)
from tests.fakes import BY, KEK, Process, Site, wrapper
from tests.services.samples import events, on_both, types

NEW: bytes = KEK[::-1]


def change_kek(process: Process, kek: bytes = NEW) -> None:
    process.node.keyring_changes.change_kek(lambda: wrapper(kek), BY)


def add_data_key(process: Process) -> int:
    return process.node.keyring_changes.add_data_key(BY)


def reseal(process: Process) -> int:
    """Seal every row anew; how many there were."""
    return [progress.resealed for progress in process.node.resealer.run(BY)][-1]


def retire(process: Process) -> None:
    for _ in process.node.keyring_changes.retire(BY):
        pass


def data_keys(process: Process) -> Mapping[int, int]:
    """How many rows are under each data key."""
    return list(tallied(process.ledger.inner))[-1].by_version


def under(process: Process, row_id: str) -> int:
    row = process.ledger.inner.read((row_id,))[0]
    assert row is not None
    return data_key_of(row)


def secret_of(process: Process, key: GeneratedKey) -> str:
    return process.node.reader.material(key.key_id, BY).secret.reveal()


# Another key-encryption key


@on_both
def test_a_running_process_goes_on_after_its_key_encryption_key_was_changed(
    ours: Process, theirs: Process, site: Site
) -> None:
    known, signing = theirs.issue(), theirs.issue(key_type=KeyType.HMAC)
    change_kek(ours)
    site.clock.pass_time(60)
    assert theirs.ask(known).code == "valid"
    assert theirs.ask(theirs.issue(owner="acme")).code == "valid"
    assert secret_of(theirs, signing) == signing.secret.reveal()
    theirs.revoke(known)
    assert ours.ask(known).code == "revoked"
    assert "integrity_failed" not in types(ours)


@on_both
def test_a_new_process_needs_the_new_one(ours: Process, site: Site) -> None:
    key, recoverable = ours.issue(), ours.issue(recoverable=True)
    change_kek(ours)
    new = site.process(kek=NEW)
    assert new.ask(key).code == "valid"
    assert secret_of(new, recoverable) == recoverable.secret.reveal()
    with pytest.raises(WrongKekError) as caught:
        site.process()
    assert "keyturn rekey" in caught.value.fix


def test_owners_keep_their_pseudonyms(ours: Process, site: Site) -> None:
    key = ours.issue(owner="acme")
    change_kek(ours)
    new = site.process(kek=NEW)
    assert new.revoke_owner("acme") == 1
    assert new.ask(key).code == "revoked"


def test_it_can_be_changed_again_and_back(ours: Process, site: Site) -> None:
    key = ours.issue()
    for kek in (NEW, bytes(32), KEK):
        change_kek(ours if kek == NEW else site.process(kek=NEW if kek == bytes(32) else bytes(32)), kek)
        assert site.process(kek=kek).ask(key).code == "valid"


def test_the_present_one_is_no_other(ours: Process) -> None:
    with pytest.raises(InvalidInputError, match="present"):
        change_kek(ours, KEK)
    assert types(ours) == ["keyring_created"]


def test_whoever_has_an_older_one_changes_nothing(ours: Process, theirs: Process) -> None:
    """They would wrap every key under it again."""
    change_kek(ours)
    for act in (add_data_key, retire, lambda process: change_kek(process, bytes(32))):
        with pytest.raises(WrongKekError):
            act(theirs)
    assert types(ours).count("keyring_rotated") == 1


@pytest.mark.parametrize("act", [change_kek, add_data_key])
@on_both
def test_of_two_at_once_one_wins(
    ours: Process, theirs: Process, site: Site, act: Callable[[Process], Any]
) -> None:
    theirs.ledger.before("commit", lambda: act(ours))
    with pytest.raises(ConflictError, match="somebody else"):
        change_kek(theirs, bytes(32))
    assert ours.ledger.inner.read((KEYRING_ROW,))[0].revision == 2  # type: ignore[union-attr]
    site.process(kek=NEW if act is change_kek else KEK).issue()


class ForgetfulWrapper(LocalKeyWrapper):
    """A KMS that takes keys, and gives others back."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return bytes(32)


class DeafWrapper(LocalKeyWrapper):
    """A KMS that does not answer."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        raise StorageFullError("the KMS does not answer")


@pytest.mark.parametrize(
    ("kind", "error"), [(ForgetfulWrapper, IntegrityError), (DeafWrapper, StorageFullError)]
)
def test_nothing_is_committed_unless_the_new_one_gives_back_what_it_wrapped(
    ours: Process, site: Site, kind: type[LocalKeyWrapper], error: type[Exception]
) -> None:
    made: list[LocalKeyWrapper] = []

    def make() -> LocalKeyWrapper:
        # The first one wraps; what proves it is another one.
        made.append(wrapper(NEW) if not made and kind is ForgetfulWrapper else kind(wrapper(NEW)._kek))
        return made[-1]

    with pytest.raises(error):
        ours.node.keyring_changes.change_kek(make, BY)
    assert types(ours) == ["keyring_created"]
    site.process().issue()


@pytest.mark.parametrize("has_happened", [True, False])
def test_an_outcome_that_is_unknown_says_how_to_find_out(
    ours: Process, site: Site, *, has_happened: bool
) -> None:
    def lose() -> None:
        raise OutcomeUnknownError("lost")

    (ours.ledger.after if has_happened else ours.ledger.before)("commit", lose)
    with pytest.raises(OutcomeUnknownError) as caught:
        change_kek(ours)
    assert "--status" in caught.value.fix
    site.process(kek=NEW if has_happened else KEK).issue()
    with pytest.raises(WrongKekError):
        site.process(kek=KEK if has_happened else NEW)


# Another data key


@on_both
def test_a_running_process_learns_a_new_data_key_from_the_log(ours: Process, theirs: Process) -> None:
    assert add_data_key(ours) == 2
    signing = ours.issue(key_type=KeyType.HMAC)
    assert secret_of(theirs, signing) == signing.secret.reveal()
    mine = theirs.issue(owner="acme", recoverable=True)
    for row_id in (signing.key_id, f"{signing.key_id}.1", mine.key_id, f"{mine.key_id}.1"):
        assert under(ours, row_id) == 2
    assert ours.ask(mine).code == "valid"


@on_both
def test_what_was_sealed_before_holds_until_it_is_sealed_anew(
    ours: Process, theirs: Process, site: Site
) -> None:
    key, signing = ours.issue(), ours.issue(key_type=KeyType.HMAC)
    add_data_key(ours)
    for process in (ours, theirs, site.process()):
        assert process.ask(key).code == "valid"
        assert secret_of(process, signing) == signing.secret.reveal()


@on_both
def test_a_row_under_a_data_key_that_this_process_has_not_heard_of_is_no_finding(
    ours: Process, theirs: Process
) -> None:
    """It was written between reading the log and reading the row."""
    key = ours.issue()
    for at, process in enumerate((ours, theirs)):
        other = (theirs, ours)[at]

        def rotate(other: Process = other) -> None:
            add_data_key(other)
            reseal(other)

        process.ledger.before("read_credential", rotate)
        assert process.ask(key).code == "valid"
        process.ledger.before("read", rotate)
        assert process.get(key).key_id == key.key_id
    assert "integrity_failed" not in types(ours)


@on_both
def test_a_change_that_was_sealed_under_the_old_data_key_is_sealed_again(
    ours: Process, theirs: Process
) -> None:
    ours.ledger.before("commit", lambda: add_data_key(theirs))
    key = ours.issue(key_type=KeyType.HMAC)
    assert under(ours, key.key_id) == under(ours, f"{key.key_id}.1") == 2
    assert secret_of(theirs, key) == key.secret.reveal()
    assert types(ours)[-3:] == ["keyring_rotated", "key_created", "key_retrieved"]


@on_both
def test_so_it_is_where_the_old_data_key_has_been_retired_meanwhile(ours: Process, theirs: Process) -> None:
    """Or a row, its secret or its entry would be refused from then on by everybody."""

    def rotate_and_retire() -> None:
        add_data_key(theirs)
        reseal(theirs)
        retire(theirs)

    ours.ledger.before("commit", rotate_and_retire)
    key = ours.issue(recoverable=True)
    assert theirs.ask(key).code == "valid"
    assert secret_of(theirs, key) == key.secret.reveal()
    ours.catch_up()
    assert ours.ask(key).code == "valid"


def test_a_change_gives_up_where_the_keyring_never_rests(ours: Process, theirs: Process) -> None:
    ours.ledger.before("commit", *[lambda: add_data_key(theirs)] * 3)
    key = ours.make()
    with pytest.raises(ConflictError):
        ours.node.issuer.issue(key, BY)
    ours.node.issuer.issue(key, BY)
    assert ours.ask(key).code == "valid"


def test_a_conflict_of_its_own_is_reported_as_ever(ours: Process, theirs: Process) -> None:
    def both() -> None:
        add_data_key(theirs)
        theirs.revoke_owner("acme")

    ours.ledger.before("commit", both)
    with pytest.raises(ConflictError, match="owner was revoked"):
        ours.issue(owner="acme")


def test_a_secret_that_was_sealed_before_the_process_learned_of_the_new_data_key_is_sealed_again(
    ours: Process, theirs: Process, site: Site
) -> None:
    """Without a conflict: another thread may read the log between sealing the secret and sealing its row."""

    def learn() -> None:
        add_data_key(theirs)
        ours.catch_up()

    key = ours.make(recoverable=True)
    site.clock.at_next("now", learn)
    ours.node.issuer.issue(key, BY)
    row = ours.ledger.inner.read((f"{key.key_id}.1",))[0]
    assert row is not None
    assert row.material is not None
    assert sealed_under(row.material) == sealed_under(row.seal) == 2
    assert secret_of(theirs, key) == key.secret.reveal()


# Both: a process that cannot unwrap what the store uses by now


@on_both
def test_a_process_that_cannot_unwrap_the_new_data_key_is_stale_and_finds_no_tampering(
    ours: Process, theirs: Process, site: Site
) -> None:
    key = theirs.issue()
    change_kek(ours)
    new = site.process(kek=NEW)
    add_data_key(new)
    site.clock.pass_time(2)
    assert theirs.ask(key).code == "valid", "nothing is under the new one yet"
    with pytest.raises(KeysUnavailableError) as caught:
        theirs.issue()
    assert "Restart" in caught.value.fix

    other = new.issue()
    site.clock.pass_time(2)
    assert theirs.ask(key).code == theirs.ask(other).code == "stale", "an entry that it cannot check"
    with pytest.raises(KeysUnavailableError):
        theirs.get(key)
    with pytest.raises(KeysUnavailableError):
        list(theirs.node.resealer.run(BY))
    assert theirs.node.records.incidents.drain() == []
    again = site.process(kek=NEW)
    assert again.ask(key).code == again.ask(other).code == "valid"
    assert "integrity_failed" not in types(again)


def test_a_process_that_slept_through_a_new_data_key_and_a_new_kek_is_stale(
    ours: Process, theirs: Process, site: Site
) -> None:
    """It would have to unwrap the one with the other. Whoever follows the log has done so long before."""
    key = ours.issue()
    add_data_key(ours)
    change_kek(ours)
    site.clock.pass_time(2)
    assert theirs.ask(key).code == "stale"
    assert theirs.node.records.incidents.drain() == []


def test_it_goes_on_once_it_can(ours: Process, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A KMS that did not answer for a while, or a key file that was replaced."""
    key = ours.issue()
    change_kek(ours)
    new = site.process(kek=NEW)
    add_data_key(new)
    other = new.issue()
    site.clock.pass_time(2)
    assert ours.ask(other).code == "stale"
    row = ours.node.records.log._row
    assert row is not None
    monkeypatch.setattr(row, "_wrapper", wrapper(NEW))
    assert ours.ask(other).code == ours.ask(key).code == "valid"
    assert new.ask(ours.issue()).code == "valid"


# Retiring data keys


@on_both
def test_nothing_is_retired_while_a_row_needs_it(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    with pytest.raises(IllegalTransitionError, match="none to retire"):
        retire(ours)
    add_data_key(ours)
    with pytest.raises(ConflictError, match="3 rows") as caught:
        retire(ours)
    assert "--reseal" in caught.value.fix
    reseal(ours)
    retire(ours)
    assert ours.node.records.keyring.minimum == 2
    assert theirs.ask(key).code == "valid"
    assert theirs.node.records.keyring.minimum == 2
    with pytest.raises(IllegalTransitionError):
        retire(theirs)


@on_both
def test_after_it_everything_is_as_it_was(ours: Process, theirs: Process, site: Site) -> None:
    keys = [ours.issue(owner="acme"), ours.issue(recoverable=True)]
    signing = ours.issue(key_type=KeyType.HMAC)
    ours.revoke_owner("bolt")
    ours.update(keys[0], name="changed")
    add_data_key(ours)
    theirs.catch_up()
    reseal(ours)
    retire(ours)
    change_kek(ours)
    for process in (ours, theirs, site.process(kek=NEW)):
        assert [process.ask(key).code for key in keys] == ["valid", "valid"]
        assert secret_of(process, signing) == signing.secret.reveal()
        assert process.get(keys[0]).name == "changed"
        assert len(events(process)) == process.ledger.inner.head()


def test_it_stops_where_another_data_key_came_meanwhile(ours: Process, theirs: Process) -> None:
    add_data_key(ours)
    reseal(ours)
    ours.ledger.after("list_rows", lambda: add_data_key(theirs))
    with pytest.raises(ConflictError, match="somebody else"):
        retire(ours)
    assert ours.node.records.keyring.minimum == 1


@on_both
def test_a_start_needs_no_retired_data_key_to_be_quick(ours: Process, site: Site) -> None:
    """The snapshot of the floor is made anew beforehand: one under a retired data key is no longer believed."""
    key = ours.issue()
    ours.update(key, name="changed")
    ours.node.records.log.save_snapshot()
    add_data_key(ours)
    reseal(ours)
    retire(ours)
    snapshot = ours.ledger.inner.snapshot()
    assert snapshot is not None
    assert sealed_under(snapshot.seal) == 2
    new = site.process()
    assert new.node.records.log._snapshot == snapshot.position
    assert new.get(key).name == "changed"


def test_each_change_is_an_entry_that_says_what(ours: Process) -> None:
    add_data_key(ours)
    reseal(ours)
    retire(ours)
    change_kek(ours)
    told = [
        (event.type, event.subjects, dict(event.details))
        for event in events(ours)
        if event.tenant == "system"
    ][1:]
    assert told == [
        ("keyring_rotated", ("keyring",), {"changed": "data_key", "primary": 2}),
        ("keyring_resealed", ("keyring",), {"primary": 2, "refused": 0, "resealed": 1}),
        ("keyring_rotated", ("keyring",), {"changed": "minimum", "minimum": 2}),
        ("keyring_rotated", ("keyring",), {"changed": "kek", "wrapper": "local"}),
    ]


def test_the_row_shows_no_key(ours: Process) -> None:
    add_data_key(ours)
    changes: KeyringChanges = ours.node.keyring_changes
    row = ours.ledger.inner.read((KEYRING_ROW,))[0]
    keyring = ours.node.records.keyring
    assert row is not None
    shown = f"{row} {changes} {keyring!r}"
    for dek in keyring._keys.deks.values():
        assert dek.hex() not in shown
        assert repr(dek) not in shown
