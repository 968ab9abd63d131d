"""Storing keys and getting them back: the metadata always, the secret only where it may come back."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn.domain.key import KeyLength, KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.scope import KeyScope
from keyturn.errors import (
    ConflictError,
    IllegalTransitionError,
    InvalidInputError,
    KeyturnError,
    NotFoundError,
    NotRecoverableError,
)
from keyturn.key_store import RevocationReason, SecureKeyStore
from tests.fakes import BEGINNING, BY, Process, Site, token_of
from tests.services.samples import MANAGING, events, head, on_both, types

EVERYTHING: dict[str, Any] = {
    "key_type": KeyType.API_TOKEN,
    "key_scope": KeyScope.READ_WRITE,
    "length": KeyLength.BITS_4096,
    "name": "Ann's key",
    "owner": "acme",
    "prefix": "acme_live",
    "permissions": ("documents.*", "billing.read"),
    "allowed_ips": ("10.0.0.0/8", "2001:db8::1"),
    "metadata": {"plan": "gold", "seats": 7, "nested": {"a": [1, None, True]}},
    "tags": ("red", "blue"),
    "not_before": BEGINNING + timedelta(hours=1),
    "expires_at": BEGINNING + timedelta(days=30, microseconds=1),
}


@on_both
def test_all_that_a_key_was_made_with_comes_back(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.make(**EVERYTHING)
    stored = shop.store_key(key)
    found = shop.retrieve_key(key.key_id)
    assert found.metadata == stored
    assert found.secret is None
    assert (stored.key_id, stored.tenant, stored.version, stored.revision) == (key.key_id, "default", 1, 1)
    assert (stored.type, stored.scope, stored.length) == (KeyType.API_TOKEN, KeyScope.READ_WRITE, 4_096)
    assert (stored.state, stored.reason, stored.recoverable) == (KeyState.ACTIVE, None, False)
    assert (stored.created_at, stored.updated_at, stored.state_changed_at) == (
        BEGINNING,
        BEGINNING,
        BEGINNING,
    )
    for name in (
        "name",
        "owner",
        "prefix",
        "permissions",
        "allowed_ips",
        "metadata",
        "tags",
        "not_before",
        "expires_at",
    ):
        assert getattr(stored, name) == EVERYTHING[name], name


def test_a_key_of_which_little_was_said_has_defaults(ours: Process, shop: SecureKeyStore) -> None:
    stored = shop.store_key(ours.make())
    assert (stored.type, stored.scope, stored.length, stored.prefix) == (
        KeyType.API_TOKEN, KeyScope.READ, KeyLength.BITS_256, "kt",
    )  # fmt: skip
    assert (stored.name, stored.owner, stored.not_before, stored.expires_at) == (None, None, None, None)
    assert (stored.permissions, stored.allowed_ips, stored.metadata, stored.tags) == ((), (), {}, ())


@on_both
def test_a_recoverable_token_comes_back_and_the_log_says_so(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.make(recoverable=True)
    shop.store_key(key)
    position = head(ours)
    found = shop.retrieve_key(key.key_id)
    assert found.secret == key.secret
    assert [(event.type, event.actor, event.subjects) for event in events(ours, after=position)] == [
        ("key_retrieved", "library", (key.key_id,))
    ]
    assert shop.authenticate(key.secret)


@on_both
@pytest.mark.parametrize("length", [128, 256, 4_096, 8_192])
def test_the_material_of_an_hmac_key_comes_back(ours: Process, shop: SecureKeyStore, length: int) -> None:
    key = ours.make(key_type=KeyType.HMAC, length=length)
    shop.store_key(key)
    found = shop.retrieve_key(key.key_id)
    assert found.secret is not None
    assert found.secret == key.secret
    assert len(base64.urlsafe_b64decode(found.secret.reveal() + "==")) == length // 8


def test_a_token_that_is_not_recoverable_is_nowhere(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.make()
    shop.store_key(key)
    position = head(ours)
    assert shop.retrieve_key(key.key_id).secret is None
    assert head(ours) == position, "no secret was handed out"
    with pytest.raises(NotRecoverableError, match="cannot come back"):
        ours.node.reader.material(key.key_id, BY)
    (version,) = ours.ledger.inner.read([f"{key.key_id}.1"])
    assert version is not None
    assert version.material is None


def test_no_secret_is_in_the_files_of_the_store(ours: Process, shop: SecureKeyStore, tmp_path: Path) -> None:
    keys = [ours.make(recoverable=recoverable) for recoverable in (True, False)]
    keys.append(ours.make(key_type=KeyType.HMAC))
    shop.store_keys(keys)
    for key in keys:
        shop.authenticate(token_of(key))
        shop.retrieve_key(key.key_id)
    ours.node.recorder.flush()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert keys[0].key_id.encode() in written, "the files that were looked into are the right ones"
    for key in keys:
        secret = token_of(key)[-49:-6] if key.type.is_token else token_of(key)
        raw = secret.encode() if key.type.is_token else base64.urlsafe_b64decode(secret + "==")
        for form in (secret.encode(), raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")):
            assert form not in written


@pytest.mark.parametrize("act", ["revoke", "suspend", "destroy"])
@pytest.mark.parametrize("spec", [{"recoverable": True}, {"key_type": KeyType.HMAC}], ids=["token", "hmac"])
def test_the_secret_of_a_key_that_is_not_active_does_not_come_back(
    ours: Process, shop: SecureKeyStore, act: str, spec: dict[str, Any]
) -> None:
    key = ours.issue(**spec)
    MANAGING[act](shop, key.key_id)
    position = head(ours)
    assert shop.retrieve_key(key.key_id).secret is None
    with pytest.raises(IllegalTransitionError):
        ours.node.reader.material(key.key_id, BY)
    assert head(ours) == position


def test_the_secret_of_a_resumed_key_comes_back(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(recoverable=True)
    shop.suspend_key(key.key_id)
    shop.resume_key(key.key_id)
    assert shop.retrieve_key(key.key_id).secret == key.secret


def test_the_secret_of_a_key_whose_owner_was_revoked_does_not_come_back(
    ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(recoverable=True, owner="acme")
    ours.ledger.fail(KeyturnError("the process ends here"), "list_owned")
    with pytest.raises(KeyturnError):
        shop.revoke_owner("acme")
    assert shop.verify_key(key.key_id) == (False, "the key has been revoked")
    assert shop.retrieve_key(key.key_id).secret is None


def test_the_secret_of_an_expired_key_does_not_come_back(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(recoverable=True, expires_in=60)
    site.clock.pass_time(60.0)
    assert shop.verify_key(key.key_id) == (False, "the key has expired")
    assert shop.retrieve_key(key.key_id).secret is None


# Once


@on_both
def test_a_key_is_stored_once(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.make()
    shop.store_key(key)
    position = head(ours)
    with pytest.raises(ConflictError) as caught:
        shop.store_key(key)
    assert caught.value.fix
    assert head(ours) == position


@on_both
def test_a_thousand_keys_are_stored_in_one_change(ours: Process, shop: SecureKeyStore) -> None:
    keys = [ours.make(owner=f"owner {number % 7}") for number in range(1_000)]
    commits = ours.ledger.calls["commit"]
    stored = shop.store_keys(keys)
    assert [each.key_id for each in stored] == [key.key_id for key in keys]
    assert ours.ledger.calls["commit"] == commits + 1
    assert types(ours).count("key_created") == 1_000
    assert all(shop.authenticate(key.secret) for key in keys[::100])


@on_both
def test_of_a_batch_with_one_bad_key_none_is_stored(ours: Process, shop: SecureKeyStore) -> None:
    known = ours.issue()
    keys = [ours.make() for _ in range(5)]
    position = head(ours)
    with pytest.raises(ConflictError):
        shop.store_keys([*keys, known])
    assert head(ours) == position
    assert [shop.authenticate(key.secret).code for key in keys] == ["not_found"] * 5


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_batch_has_one_to_a_thousand_keys(ours: Process, shop: SecureKeyStore, count: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 1000"):
        shop.store_keys([ours.make()] * count)


def test_a_key_that_stands_twice_in_a_batch_is_refused_as_what_it_is(
    ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.make()
    try:
        shop.store_keys([key, key])
    except KeyturnError:
        return


# Who is not there


def refusal(act: Any, store: SecureKeyStore, key_id: str) -> tuple[type[BaseException], str]:
    with pytest.raises(KeyturnError) as caught:
        act(store, key_id)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("act", MANAGING)
def test_another_tenants_key_and_an_unknown_one_are_refused_alike(ours: Process, act: str) -> None:
    key, unknown = ours.issue(recoverable=True), ours.make()
    position = head(ours)
    other = ours.store("other")
    refused = refusal(MANAGING[act], other, key.key_id)
    assert refused == refusal(MANAGING[act], other, unknown.key_id) == (NotFoundError, "there is no such key")
    assert head(ours) == position


@pytest.mark.parametrize("act", MANAGING)
@pytest.mark.parametrize(
    "key_id", ["", "key_", "kt_" + "A" * 65, "own_" + "A" * 22, "key_" + "A" * 21, "key_" + "-" * 22]
)
def test_what_is_no_key_id_is_refused_as_such(shop: SecureKeyStore, act: str, key_id: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MANAGING[act](shop, key_id)
    assert caught.value.field == "key_id"


def test_tenants_do_not_see_each_others_keys(ours: Process) -> None:
    mine, theirs = ours.store(), ours.store("other")
    key = ours.make(owner="acme")
    theirs.store_key(key)
    assert mine.authenticate(key.secret).code == "not_found"
    assert theirs.authenticate(key.secret)
    assert mine.list_keys().items == ()
    assert mine.revoke_owner("acme") == 0
    assert theirs.authenticate(key.secret), "the owner of the same name in another tenant is another owner"


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.UNSPECIFIED])
def test_destroying_removes_the_material_for_good(
    ours: Process, shop: SecureKeyStore, reason: RevocationReason
) -> None:
    key = ours.issue(key_type=KeyType.HMAC)
    (row,) = ours.ledger.inner.read([f"{key.key_id}.1"])
    assert row is not None
    assert row.material is not None
    shop.revoke_key(key.key_id, reason)
    destroyed = shop.destroy_key(key.key_id)
    assert destroyed.state is KeyState.DESTROYED
    (row,) = ours.ledger.inner.read([f"{key.key_id}.1"])
    assert row is not None
    assert row.material is None
    assert '"custody"' not in row.body
    assert shop.retrieve_key(key.key_id).secret is None
    assert shop.retrieve_key(key.key_id).metadata == destroyed, "the metadata stay"
    assert [event.type for event in shop.get_audit_log(key_id=key.key_id)] == [
        "key_created", "key_revoked", "key_destroyed",
    ]  # fmt: skip


def test_destroyed_material_leaves_the_files(ours: Process, shop: SecureKeyStore, tmp_path: Path) -> None:
    key = ours.issue(key_type=KeyType.HMAC, length=8_192)
    (row,) = ours.ledger.inner.read([f"{key.key_id}.1"])
    assert row is not None
    assert row.material is not None
    material = row.material[100:400]

    def is_there() -> bool:
        return any(material in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    assert is_there()
    shop.destroy_key(key.key_id)
    for _ in range(3):
        shop.store_key(ours.make())
    shop.close()
    assert not is_there()
