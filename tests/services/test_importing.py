"""Tokens that were issued elsewhere: taken in as they are or as hashes, verified, and upgraded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore
from keyturn.crypto.foreign_tokens import handles_of
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.key import Hashed, Version
from keyturn.domain.principal import LIBRARY_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, InvalidInputError, StorageError
from tests.fakes import BY, Process, Site
from tests.imported import FORMS, SLOW, START, TOKEN, WRONG
from tests.services.samples import on_both

ABSENT: Final = "another-token-of-that-system"


def take_in(process: Process, *, by: Principal = BY, form: str = "token", **policy: Any) -> ImportedToken:
    imported = FORMS[form](SecureKeyGenerator(clock=process.clock), **policy)
    process.node.issuer.issue(imported, by)
    return imported


def version_of(process: Process, imported: ImportedToken) -> Version:
    _, version, _ = process.node.reader.parts(imported.key_id, BY)
    return version


def events_of(process: Process, imported: ImportedToken) -> list[str]:
    process.catch_up()
    return [event.type for event in process.node.trail.events((BY.tenant,), key_id=imported.key_id)]


# Every form


@on_both
@pytest.mark.parametrize("form", FORMS)
def test_an_imported_token_verifies_and_another_one_does_not(ours: Process, form: str) -> None:
    imported = take_in(ours, form=form, owner="user_42", permissions=("documents.read",))
    assert [ours.ask(wrong).code for wrong in (WRONG, TOKEN[:-1], ABSENT)] == ["not_found"] * 3
    answer = ours.ask(TOKEN, permissions="documents.read")
    assert (answer.code, answer.key_id, answer.owner) == ("valid", imported.key_id, "user_42")
    assert ours.decide(TOKEN) == "valid", "from memory"
    assert ours.decide(WRONG) == "COLD"
    assert ours.ask(WRONG).code == "not_found"


@pytest.mark.parametrize("form", FORMS)
def test_another_process_finds_it_too(ours: Process, theirs: Process, form: str) -> None:
    imported = take_in(ours, form=form)
    theirs.catch_up()
    assert theirs.ask(TOKEN).key_id == imported.key_id
    assert theirs.ask(WRONG).code == "not_found"
    assert ours.ask(TOKEN).key_id == imported.key_id


def test_it_keeps_its_policy_and_says_nothing_of_where_it_is_from(ours: Process) -> None:
    policy: dict[str, Any] = {
        "name": "old",
        "tags": ("moved",),
        "allowed_ips": ("203.0.113.0/24",),
        "metadata": {"plan": "pro"},
    }
    imported = take_in(ours, key_scope=KeyScope.READ_WRITE, expires_in=60, **policy)
    key = ours.node.reader.get(imported.key_id, BY)
    assert (key.name, key.tags, key.allowed_ips, key.metadata) == tuple(policy.values())
    assert (key.prefix, key.scope, key.version) == (None, KeyScope.READ_WRITE, 1)
    assert ours.ask(TOKEN, ip="198.51.100.1").code == "ip_denied"
    assert ours.ask(TOKEN, ip="203.0.113.9", scope=KeyScope.WRITE)
    assert ours.ask(TOKEN, ip="203.0.113.9", scope=KeyScope.ADMIN).code == "insufficient_scope"


# State


@pytest.mark.parametrize("form", FORMS)
def test_what_takes_a_key_out_of_use_holds_for_an_imported_one(ours: Process, form: str) -> None:
    imported = take_in(ours, form=form, owner="user_42")
    lifecycle = ours.node.lifecycle
    lifecycle.suspend(imported.key_id, BY)
    assert [ours.ask(TOKEN).code, ours.ask(WRONG).code] == ["suspended", "not_found"]
    lifecycle.resume(imported.key_id, BY)
    assert ours.ask(TOKEN)
    lifecycle.revoke(imported.key_id, BY)
    assert [ours.ask(TOKEN).code, ours.ask(WRONG).code] == ["revoked", "not_found"]


@pytest.mark.parametrize("form", SLOW)
@pytest.mark.parametrize("end", ["revoke", "suspend", "owner", "expire", "too early"])
def test_a_key_that_is_not_good_is_refused_and_never_upgraded(ours: Process, form: str, end: str) -> None:
    not_before = ours.clock.now() + timedelta(hours=1) if end == "too early" else None
    imported = take_in(ours, form=form, owner="user_42", expires_in=7_200, not_before=not_before)
    if end == "revoke":
        ours.node.lifecycle.revoke(imported.key_id, BY)
    elif end == "suspend":
        ours.node.lifecycle.suspend(imported.key_id, BY)
    elif end == "owner":
        ours.revoke_owner("user_42")
    elif end == "expire":
        ours.clock.pass_time(7_200)
    expected = {"suspend": "suspended", "expire": "expired", "too early": "not_yet_valid"}.get(end, "revoked")
    assert [ours.ask(TOKEN).code for _ in range(2)] == [expected] * 2
    assert version_of(ours, imported).hashed is Hashed.SEALED
    assert "token_upgraded" not in events_of(ours, imported)


@pytest.mark.parametrize("form", FORMS)
def test_another_tenant_does_not_find_it(ours: Process, form: str) -> None:
    take_in(ours, form=form)
    assert ours.ask(TOKEN, tenant="other").code == "not_found"
    assert ours.ask(TOKEN)
    assert ours.ask(TOKEN, tenant="other").code == "not_found"


@pytest.mark.parametrize("form", ["token", "scrypt"])
def test_a_destroyed_one_leaves_nothing_to_find_it_by_but_its_place(ours: Process, form: str) -> None:
    imported = take_in(ours, form=form)
    ours.node.lifecycle.destroy(imported.key_id, BY)
    assert ours.ask(TOKEN).code == ("revoked" if form == "token" else "not_found")
    assert version_of(ours, imported).material is None
    with pytest.raises(ConflictError):
        take_in(ours, form=form)


# Upgrading


@on_both
@pytest.mark.parametrize("form", SLOW)
def test_a_hash_is_computed_once_and_its_place_is_taken(ours: Process, form: str) -> None:
    imported = take_in(ours, form=form)
    sealed = version_of(ours, imported)
    assert (sealed.hashed, sealed.digest) == (Hashed.SEALED, None)
    assert ours.ask(WRONG).code == "not_found"
    assert version_of(ours, imported) == sealed, "a wrong one changes nothing"
    assert ours.ask(TOKEN)
    upgraded = version_of(ours, imported)
    assert (upgraded.hashed, upgraded.revision) == (Hashed.KEYED_SHA256, 2)
    assert (upgraded.material, upgraded.custody) == (None, None)
    assert upgraded.credential_id not in (None, sealed.credential_id)
    assert events_of(ours, imported) == ["key_created", "token_upgraded"]
    (event,) = [e for e in ours.node.trail.events((BY.tenant,)) if e.type == "token_upgraded"]
    assert event.actor == "system"


def test_after_the_upgrade_no_hash_is_computed(
    site: Site, ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(ours, form="scrypt")
    assert ours.ask(TOKEN)
    monkeypatch.delattr(hashlib, "scrypt")
    assert site.process().ask(TOKEN)


def test_an_upgrade_that_fails_changes_nothing_of_the_answer(ours: Process) -> None:
    imported = take_in(ours, form="scrypt")
    ours.ledger.fail(StorageError("read-only"), "commit")
    assert ours.ask(TOKEN)
    assert ours.decide(TOKEN) == "valid"
    ours.ledger.work_again()
    assert version_of(ours, imported).hashed is Hashed.SEALED
    assert ours.ask(WRONG).code == "not_found"


def test_a_revocation_that_comes_before_the_upgrade_wins(ours: Process, theirs: Process) -> None:
    imported = take_in(ours, form="scrypt")
    ours.ledger.before("commit", partial(theirs.node.lifecycle.revoke, imported.key_id, BY))
    assert ours.ask(TOKEN).code == "revoked"
    assert version_of(ours, imported).hashed is Hashed.SEALED
    assert "token_upgraded" not in events_of(ours, imported)


def test_an_owner_who_is_revoked_before_the_upgrade_wins(ours: Process, theirs: Process) -> None:
    imported = take_in(ours, form="scrypt", owner="user_42")
    ours.ledger.before("commit", partial(theirs.revoke_owner, "user_42"))
    assert ours.ask(TOKEN).code == "revoked"
    assert "token_upgraded" not in events_of(ours, imported)


def test_two_processes_that_upgrade_at_once_do_it_once(ours: Process, theirs: Process) -> None:
    imported = take_in(ours, form="scrypt")
    ours.ledger.before("commit", lambda: theirs.ask(TOKEN))
    assert ours.ask(TOKEN)
    assert version_of(ours, imported).revision == 2
    assert events_of(ours, imported).count("token_upgraded") == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_data_key_may_change_before_the_upgrade_and_after_it(
    site: Site, ours: Process, when: str
) -> None:
    imported = take_in(ours, form="argon2id")
    if when == "after":
        assert ours.ask(TOKEN)
    ours.node.keyring_changes.add_data_key(BY)
    for _ in ours.node.resealer.run(BY):
        pass
    for _ in ours.node.keyring_changes.retire(BY):
        pass
    other = site.process()
    assert other.ask(WRONG).code == "not_found"
    assert other.ask(TOKEN).key_id == imported.key_id
    assert version_of(other, imported).hashed is Hashed.KEYED_SHA256


# What it costs those who have imported nothing


def test_garbage_provokes_no_look_up_where_nothing_was_imported(ours: Process) -> None:
    glances = ours.ledger.calls["has_credential_from"]
    ours.issue()
    asked = [ours.ask(f"no-token-of-this-store-{number}").code for number in range(20)]
    assert asked == ["malformed"] * 20
    assert ours.ledger.calls["read_credential"] == ours.ledger.calls["read_credentials"] == 0
    assert ours.ledger.calls["has_credential_from"] == glances + 1, "one glance, until a version comes"
    assert ours.node.verifier.loads.read() == {}
    ours.issue()
    assert ours.ask("no-token-of-this-store").code == "malformed"
    assert ours.ledger.calls["has_credential_from"] == glances + 2


def test_what_no_token_can_be_is_malformed_also_where_some_were_imported(ours: Process) -> None:
    take_in(ours)
    before = ours.ledger.calls["read_credentials"]
    for text in ("", "short", "x" * 15, "x" * 1_025, "with a space in it", "with-a-letter-like-é", "\n" * 20):
        assert ours.ask(text).code == "malformed"
    assert ours.ledger.calls["read_credentials"] == before


def test_an_import_of_this_process_is_known_at_once_and_one_of_another_with_the_log(
    ours: Process, theirs: Process
) -> None:
    assert [ours.ask(TOKEN).code, theirs.ask(TOKEN).code] == ["malformed"] * 2
    take_in(ours)
    assert ours.ask(TOKEN)
    assert theirs.ask(TOKEN).code == "malformed", "it has not read the log"
    theirs.clock.pass_time(2)
    assert theirs.ask(TOKEN)


def test_a_look_up_of_a_token_is_one_query(ours: Process) -> None:
    take_in(ours)
    assert ours.ask(ABSENT).code == "not_found"
    before = ours.ledger.calls["read_credentials"]
    assert ours.ask(ABSENT).code == "not_found"
    assert ours.ledger.calls["read_credentials"] == before + 1
    assert ours.node.verifier.loads.read() == {("absent",): 2}


def test_guessers_of_imported_tokens_are_throttled(ours: Process) -> None:
    take_in(ours)
    codes = [ours.ask(f"{START}-guess-{number:04}", ip="203.0.113.9").code for number in range(40)]
    assert codes == ["not_found"] * 30 + ["throttled"] * 10
    assert ours.ask(TOKEN, ip="198.51.100.1")


def test_a_native_key_is_found_by_one_look_up_as_before(ours: Process) -> None:
    key = ours.issue()
    take_in(ours)
    assert ours.ask(key)
    assert (ours.ledger.calls["read_credential"], ours.ledger.calls["read_credentials"]) == (1, 0)


# Tokens of Keyturn's own form


def test_a_token_of_another_keyturn_can_be_imported(ours: Process) -> None:
    foreign = ours.make()
    ours.ask(ours.issue())
    imported = SecureKeyGenerator(clock=ours.clock).import_token(foreign.secret)
    ours.node.issuer.issue(imported, BY)
    assert ours.ask(foreign).key_id == imported.key_id
    assert ours.ask(ours.make()).code == "not_found"


def test_a_token_of_this_store_is_not_imported_and_stays_revoked(ours: Process) -> None:
    key = ours.issue()
    ours.revoke(key)
    generator = SecureKeyGenerator(clock=ours.clock)
    with pytest.raises(ConflictError, match="issued in this store"):
        ours.node.issuer.issue(generator.import_token(key.secret), BY)
    digest = hashlib.sha256(key.secret.reveal_bytes()).hexdigest()
    ours.node.issuer.issue(generator.import_token_hash(digest), BY)
    assert ours.ask(key).code == "revoked", "what was issued here is looked at first"


# Conflicts


@pytest.mark.parametrize("form", FORMS)
def test_a_token_is_imported_once_over_all_tenants(ours: Process, form: str) -> None:
    take_in(ours, form=form)
    for by in (BY, Principal(actor=LIBRARY_ACTOR, tenant="other")):
        with pytest.raises(ConflictError, match="same start" if form in SLOW else "imported already"):
            take_in(ours, form=form, by=by)


def test_a_batch_says_which_of_its_tokens_is_there_and_stores_none(ours: Process) -> None:
    take_in(ours)
    generator = SecureKeyGenerator(clock=ours.clock)
    batch = [generator.import_token(f"token-number-{n:03}-of-some") for n in range(3)]
    with pytest.raises(ConflictError, match="item 3 has been imported"):
        ours.node.issuer.issue_all([*batch, generator.import_token(TOKEN)], BY)
    with pytest.raises(ConflictError, match="item 3 is there twice"):
        ours.node.issuer.issue_all([*batch, generator.import_token(batch[0].secret or "")], BY)
    assert ours.ask("token-number-000-of-some").code == "not_found"
    ours.node.issuer.issue_all(batch, BY)
    assert ours.ask("token-number-000-of-some")


# The public store


def test_the_public_store_takes_both(shop: SecureKeyStore) -> None:
    generator = SecureKeyGenerator()
    key = shop.store_key(generator.import_token(Secret(TOKEN), name="moved", recoverable=True))
    assert shop.authenticate(TOKEN).key_id == key.key_id
    assert shop.verify_key(key.key_id)
    retrieved = shop.retrieve_key(key.key_id)
    assert retrieved.secret is not None
    assert retrieved.secret.reveal() == TOKEN
    raw = hashlib.sha512(ABSENT.encode()).digest()
    for digest in (raw, Secret(raw), Secret(raw.hex()), base64.b64encode(raw).decode()):
        imported = generator.import_token_hash(digest, algorithm="sha512")
        assert imported.secret is None
    shop.store_key(imported)
    assert shop.authenticate(ABSENT)
    assert shop.retrieve_key(imported.key_id).secret is None


@pytest.mark.parametrize("form", SLOW)
def test_a_hash_is_never_handed_out(shop: SecureKeyStore, form: str) -> None:
    imported = FORMS[form](SecureKeyGenerator())
    shop.store_key(imported)
    assert shop.retrieve_key(imported.key_id).secret is None
    assert START not in repr(imported)


@pytest.mark.parametrize(
    ("import_it", "field"),
    [
        (lambda g: g.import_token("x" * 15), "token"),
        (lambda g: g.import_token("x" * 1_025), "token"),
        (lambda g: g.import_token("a token with spaces"), "token"),
        (lambda g: g.import_token(TOKEN, tags="a"), "tags"),
        (lambda g: g.import_token_hash("ab" * 31), "hash"),
        (lambda g: g.import_token_hash("ab" * 32, algorithm="md5"), "algorithm"),
        (lambda g: g.import_token_hash("ab" * 32, start=START), "start"),
        (lambda g: g.import_token_hash("ab" * 32, salt=b"salt"), "start"),
        (lambda g: g.import_token_hash("ab" * 32, salt=b"salt", start="short"), "start"),
        (lambda g: g.import_token_hash("ab" * 32, salt=b"", start=START), "salt"),
        (
            lambda g: g.import_token_hash("ab" * 32, salt=b"s", salt_position="in", start=START),
            "salt_position",
        ),
        (lambda g: g.import_token_hash("ab" * 32, algorithm="pbkdf2", start=START), "hash"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(
    import_it: Callable[[SecureKeyGenerator], object], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        import_it(SecureKeyGenerator())
    assert refused.value.field == field
    assert TOKEN not in str(refused.value)


def test_more_handles_than_one_query_takes_are_never_asked_for(ours: Process) -> None:
    assert len(handles_of(ours.node.records.keyring, "x" * 1_024)) == 29
    assert len(handles_of(ours.node.records.keyring, "x" * 16)) == 13
