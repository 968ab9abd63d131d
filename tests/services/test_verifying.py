"""`verify_key`, the status of a key that one holds by id, and `authenticate`, for what a client presented."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError
from keyturn.key_store import SecureKeyStore
from tests.fakes import BEGINNING, Process, Site, token_of
from tests.services.samples import on_both


@on_both
def test_a_status_unpacks_into_validity_and_a_sentence(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    is_valid, message = shop.verify_key(key.key_id)
    assert (is_valid, message) == (True, "the key is active")
    shop.revoke_key(key.key_id)
    check = shop.verify_key(key.key_id)
    assert not check
    assert tuple(check) == (False, "the key has been revoked")


def test_a_status_follows_the_key_through_its_life(site: Site, ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(
        not_before=BEGINNING + timedelta(seconds=10), expires_at=BEGINNING + timedelta(seconds=20)
    )

    def told() -> str:
        return shop.verify_key(key.key_id).message

    assert told() == "the key is not valid yet"
    site.clock.pass_time(10.0)
    assert told() == "the key is active"
    shop.suspend_key(key.key_id)
    assert told() == "the key is suspended"
    shop.resume_key(key.key_id)
    site.clock.pass_time(10.0)
    assert told() == "the key has expired"
    shop.cleanup_expired_keys()
    assert told() == "the key has expired"
    shop.revoke_key(key.key_id, RevocationReason.KEY_COMPROMISE)
    assert told() == "the key has been revoked"
    shop.destroy_key(key.key_id)
    assert told() == "the key has been revoked"


def test_the_status_of_a_key_with_another_process_is_the_present_one(ours: Process, theirs: Process) -> None:
    """It reads the store: it has no bound within which it may be wrong."""
    store, key = ours.store(), ours.issue()
    assert store.verify_key(key.key_id)
    theirs.revoke(key)
    assert not store.verify_key(key.key_id)


def test_the_status_of_a_key_whose_owner_was_revoked_is_revoked(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(owner="acme")
    shop.revoke_owner("acme")
    assert shop.verify_key(key.key_id) == (False, "the key has been revoked")
    assert shop.verify_key(ours.issue(owner="acme").key_id)


def test_the_status_of_a_signing_key_is_known_too(ours: Process, shop: SecureKeyStore) -> None:
    assert shop.verify_key(ours.issue(key_type=KeyType.HMAC).key_id)


def test_unknown_and_foreign_keys_have_one_status(ours: Process, shop: SecureKeyStore) -> None:
    foreign = ours.make()
    ours.store("other").store_key(foreign)
    expected = (False, "there is no such key")
    assert shop.verify_key(ours.make().key_id) == shop.verify_key(foreign.key_id) == expected


@pytest.mark.parametrize("presented", ["token", "Bearer", "empty", "owner", "bytes", "none"])
def test_a_token_is_no_key_id_and_the_error_names_what_to_use(
    ours: Process, shop: SecureKeyStore, presented: str
) -> None:
    """Answering about possession by a mere name is the mistake that this refuses."""
    token = token_of(ours.issue())
    given = {
        "token": token, "Bearer": f"Bearer {token}", "empty": "", "owner": "own_" + "A" * 22,
        "bytes": b"key_" + b"A" * 22, "none": None,
    }[presented]  # fmt: skip
    with pytest.raises(ValueError, match="verify_key takes a key_id") as caught:
        shop.verify_key(given)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidInputError)
    assert "authenticate" in caught.value.fix
    assert token not in str(caught.value) + caught.value.fix


def test_a_key_id_is_no_token(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    assert shop.authenticate(key.key_id).code == "malformed"


def test_asking_for_a_status_is_no_use(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    shop.verify_key(key.key_id)
    statistics = shop.get_usage_statistics(key.key_id)
    assert (statistics.total, statistics.last_used_at) == (0, None)


# What a client presented


@on_both
def test_an_answer_tells_whose_key_it_is(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(
        key_scope=KeyScope.READ_WRITE, owner="acme", permissions=("documents.*",), metadata={"plan": "gold"},
        expires_at=BEGINNING + timedelta(days=1),
    )  # fmt: skip
    for presented in (key.secret, key.secret.reveal()):
        answer = shop.authenticate(
            presented, scope=KeyScope.READ, permissions="documents.read", ip="203.0.113.9"
        )
        assert (bool(answer), answer.valid, answer.code) == (True, True, "valid")
        assert (answer.key_id, answer.version, answer.owner) == (key.key_id, 1, "acme")
        assert (answer.scope, answer.permissions) == ("read_write", ("documents.*",))
        assert (answer.metadata, answer.expires_at) == ({"plan": "gold"}, BEGINNING + timedelta(days=1))
        assert answer.as_of == f"{ours.ledger.log_id}:2"


def test_metadata_of_an_answer_belong_to_the_caller(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(metadata={"list": [1]})
    metadata = dict(shop.authenticate(key.secret).metadata)
    metadata["list"].append(2)  # type: ignore[attr-defined]
    assert shop.authenticate(key.secret).metadata == {"list": [1]}


def test_provisioning_keys_authenticate_like_any_token(ours: Process, shop: SecureKeyStore) -> None:
    assert shop.authenticate(ours.issue(key_type=KeyType.PROVISIONING).secret)


@pytest.mark.parametrize(
    "damage", ["a space", "a line break", "one character more", "one less", "another case"]
)
def test_a_damaged_token_is_malformed(ours: Process, shop: SecureKeyStore, damage: str) -> None:
    token = token_of(ours.issue())
    damaged = {
        "a space": f"{token} ",
        "a line break": f"{token}\n",
        "one character more": f"{token}A",
        "one less": token[:-1],
        "another case": token.swapcase(),
    }[damage]
    assert shop.authenticate(damaged).code == "malformed"


@pytest.mark.parametrize("permissions", ["", "documents.*", "documents.read OR"])
def test_a_demand_that_makes_no_sense_raises_and_lets_nobody_in(
    ours: Process, shop: SecureKeyStore, permissions: str
) -> None:
    key = ours.issue(permissions=("*",))
    with pytest.raises(InvalidInputError):
        shop.authenticate(key.secret, permissions=permissions)
