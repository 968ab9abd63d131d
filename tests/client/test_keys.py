"""Keys through the client, against a real server: what each method does there and gives back here."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn import Client, KeyMetadata, KeyScope, KeyState, KeyType, RevocationReason, Secret
from keyturn.client.answers import _READERS
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Algorithm
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.spec import KeySpec
from keyturn.errors import (
    IdempotencyMismatchError,
    InvalidInputError,
    NotRecoverableError,
    PreconditionFailedError,
)
from tests.http.served import Served

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
EVERYTHING: dict[str, Any] = {
    "type": KeyType.API_TOKEN, "scope": KeyScope.READ_WRITE, "length": 4096, "name": "first", "owner": "acme",
    "prefix": "acme_live", "expires_at": SOON, "not_before": datetime(2020, 1, 1, tzinfo=UTC),
    "permissions": ["documents.*"], "allowed_ips": ("127.0.0.0/8",), "metadata": {"plan": ["pro", 1, None]},
    "tags": ["one", "two"], "recoverable": True,
}  # fmt: skip


def test_an_issued_key_is_what_was_asked_for_and_its_secret_verifies(client: Client, served: Served) -> None:
    issued = client.issue_key(**EVERYTHING)
    assert isinstance(issued.secret, Secret)
    assert issued.public_key is None
    key = issued.metadata
    assert (key.type, key.scope, key.length, key.name) == (
        KeyType.API_TOKEN,
        KeyScope.READ_WRITE,
        4096,
        "first",
    )
    assert (key.owner, key.prefix, key.expires_at, key.recoverable) == ("acme", "acme_live", SOON, True)
    assert (key.permissions, key.allowed_ips) == (("documents.*",), ("127.0.0.0/8",))
    assert (key.metadata, key.tags) == ({"plan": ["pro", 1, None]}, ("one", "two"))
    assert (key.state, key.reason, key.version, key.tenant) == (KeyState.ACTIVE, None, 1, "default")
    assert served.verify(issued.secret.reveal(), ip="127.0.0.1")["key_id"] == issued.key_id == key.key_id
    assert client.get_key(issued.key_id) == key


def test_many_are_issued_together_or_none_of_them(client: Client) -> None:
    issued = client.issue_keys([{"owner": "batch", "name": f"number {number}"} for number in range(50)])
    assert [key.metadata.name for key in issued] == [f"number {number}" for number in range(50)]
    assert all(client.verify(key.secret) for key in issued if key.secret)
    with pytest.raises(InvalidInputError):
        client.issue_keys([{"owner": "none of them"}, {"prefix": "NOT A PREFIX"}])
    assert list(client.iterate_keys(owner="none of them")) == []


def test_what_is_sent_again_under_its_idempotency_key_is_done_once(client: Client) -> None:
    once = client.issue_key(owner="once", idempotency_key="4c1f")
    again = client.issue_key(owner="once", idempotency_key="4c1f")
    assert (again.metadata, again.secret) == (once.metadata, once.secret)
    several = client.issue_keys([{"owner": "once"}] * 2, idempotency_key="4c20")
    assert [key.key_id for key in client.issue_keys([{"owner": "once"}] * 2, idempotency_key="4c20")] == [
        key.key_id for key in several
    ]
    assert len(list(client.iterate_keys(owner="once"))) == 3
    with pytest.raises(IdempotencyMismatchError):
        client.issue_key(owner="another", idempotency_key="4c1f")


def test_versions_uses_and_secrets_are_read_back(client: Client) -> None:
    issued = client.issue_key(recoverable=True)
    assert issued.secret is not None
    for _ in range(3):
        assert client.verify(issued.secret)
    (version,) = client.list_versions(issued.key_id)
    assert (version["version"], version["state"]) == (1, "active")
    since = datetime.now(UTC) - timedelta(hours=2)
    assert client.get_usage(issued.key_id, period="hour", since=since)["total"] == 3
    assert client.get_usage(issued.key_id)["total"] == 3
    assert client.get_secret(issued.key_id) == issued.secret
    with pytest.raises(NotRecoverableError):
        client.get_secret(client.issue_key().key_id)


def test_a_lifetime_is_in_seconds(client: Client) -> None:
    asked = datetime.now(UTC)
    key = client.issue_key(expires_in=3_600).metadata
    assert key.expires_at is not None
    assert asked <= key.expires_at - timedelta(hours=1) <= datetime.now(UTC)


def test_every_member_that_the_server_shows_of_a_key_is_read(client: Client, served: Served) -> None:
    assert set(_READERS) == served.show(client.issue_key().key_id).keys()


def test_a_key_is_the_one_that_the_library_shows(client: Client, served: Served) -> None:
    issued = client.issue_key(owner="same", tags=["x"])
    with served.node() as node:
        stored = node.reader.get(issued.key_id, Principal(actor=LOCAL_ACTOR))
    # What of a row is not for callers of the API.
    assert issued.metadata == _without_row(stored)


def _without_row(key: KeyMetadata) -> KeyMetadata:
    return KeyMetadata(**{name: getattr(key, name) for name in _READERS})


def test_all_pages_of_a_list_are_iterated_newest_first(client: Client, served: Served) -> None:
    spec = KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, owner="many")
    first, last = served.issue_beside([spec] * 600), served.issue_beside([spec] * 600)
    found = [key.key_id for key in client.iterate_keys(owner="many")]
    assert len(found) == len(set(found)) == 1_200
    assert set(found[:600]) == {key.key_id for key in last}
    assert set(found[600:]) == {key.key_id for key in first}
    page = client.list_keys(limit=1_000, owner="many")
    assert [key.key_id for key in page.items] == found[:1_000]
    assert page.next_cursor is not None
    rest = client.list_keys(limit=1_000, cursor=page.next_cursor, owner="many")
    assert [key.key_id for key in rest.items] == found[1_000:]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    "matching",
    [
        {"owner": "filtered"},
        {"type": KeyType.HMAC},
        {"scope": KeyScope.ADMIN},
        {"state": KeyState.SUSPENDED},
        {"tag": "filtered"},
        {"prefix": "filtered"},
        {"expires_before": datetime.now(UTC) + timedelta(hours=2)},
        {"unused_since": datetime.now(UTC) + timedelta(hours=2), "owner": "filtered"},
        {"q": "filtered name"},
    ],
    ids=lambda matching: next(iter(matching)),
)
def test_a_list_has_what_matches(client: Client, matching: Any) -> None:
    chosen = client.issue_key(
        scope=KeyScope.ADMIN, owner="filtered", tags=["filtered"], prefix="filtered", expires_in=3_600,
        name="a filtered name",
    ).key_id  # fmt: skip
    client.suspend_key(chosen)
    signing = client.issue_key(type=KeyType.HMAC, owner="filtered").key_id
    other = client.issue_key().key_id
    found = {key.key_id for key in client.iterate_keys(**matching)}
    assert (signing if matching.get("type") is KeyType.HMAC else chosen) in found
    assert other not in found


def test_an_update_keeps_what_is_absent_and_clears_what_is_none(client: Client) -> None:
    key_id = client.issue_key(name="before", owner="kept", permissions=["a", "b"], expires_in=60).key_id
    changed = client.update_key(key_id, name=None, permissions=["a"], scope=KeyScope.WRITE, expires_at=SOON)
    assert (changed.name, changed.owner, changed.permissions) == (None, "kept", ("a",))
    assert (changed.scope, changed.expires_at) == (KeyScope.WRITE, SOON)
    assert client.get_key(key_id) == changed


def test_a_key_is_suspended_resumed_revoked_and_destroyed(client: Client, served: Served) -> None:
    issued = client.issue_key()
    assert issued.secret is not None
    token = issued.secret
    suspended = client.suspend_key(issued.key_id, "privilegeWithdrawn", note="a moment")
    assert suspended.state is KeyState.SUSPENDED
    assert client.verify(token).code == "suspended"
    assert client.resume_key(issued.key_id).state is KeyState.ACTIVE
    assert client.verify(token)
    revoked = client.revoke_key(issued.key_id, RevocationReason.KEY_COMPROMISE, note="found in a log")
    assert (revoked.state, revoked.reason) == (KeyState.COMPROMISED, RevocationReason.KEY_COMPROMISE)
    assert client.verify(token).code == "revoked"
    assert client.destroy_key(issued.key_id).state is KeyState.DESTROYED
    with served.node() as node:
        noted = [event.details.get("note") for event in node.trail.events({"default"}, key_id=issued.key_id)]
    assert {"a moment", "found in a log"} <= set(noted)


@pytest.mark.parametrize(
    ("wanted", "algorithm"),
    [
        ({"type": KeyType.HMAC}, "HS256"),
        ({"type": KeyType.ECDSA, "algorithm": "ES384", "length": 384}, "ES384"),
    ],
)
def test_data_are_signed_and_signatures_verified(client: Client, wanted: Any, algorithm: str) -> None:
    issued = client.issue_key(scope=KeyScope.READ_WRITE, **wanted)
    assert issued.metadata.algorithm is Algorithm(algorithm)
    assert (issued.secret is None) is (issued.public_key is not None) is (algorithm == "ES384")
    signature = client.sign(issued.key_id, b"the bytes")
    assert (signature.key_id, signature.version, signature.algorithm.value) == (issued.key_id, 1, algorithm)
    assert client.verify_signature(issued.key_id, b"the bytes", signature.value)
    other = client.verify_signature(issued.key_id, b"other bytes", signature.value, version=1)
    assert (bool(other), other.code.value) == (False, "invalid_signature")


def test_a_gateways_profile_is_given_read_and_changed(client: Client) -> None:
    profile = {"scope": "read", "permissions": "documents.read AND NOT beta"}
    issued = client.issue_key(
        type=KeyType.PROVISIONING, scope=KeyScope.FULL, permissions=["keys.verify"], profile=profile
    )
    assert issued.metadata.profile is not None
    assert issued.metadata.profile.members == profile
    assert (
        client.update_key(issued.key_id, profile=issued.metadata.profile).profile == issued.metadata.profile
    )
    assert client.update_key(issued.key_id, profile=None).profile is None


def test_tokens_are_signed_and_verified(client: Client) -> None:
    key_id = client.issue_key(type=KeyType.JWT, scope=KeyScope.READ_WRITE).key_id
    signed = client.sign_jwt(key_id, {"sub": "user-1"}, expires_in=60)
    check = client.verify_jwt(key_id, signed.token)
    assert check
    assert check.claims is not None
    assert check.claims["sub"] == "user-1"
    assert client.verify_jwt(key_id, signed.token[:-4]).code.value in ("malformed", "invalid_signature")


def test_a_change_of_what_was_read_is_refused_where_somebody_was_first(client: Client) -> None:
    key_id = client.issue_key(name="first").key_id
    read, etag = client.get_key_with_etag(key_id)
    assert read == client.get_key(key_id)
    client.update_key(key_id, name="by somebody else")
    with pytest.raises(PreconditionFailedError):
        client.update_key(key_id, if_match=etag, name="second")
    assert client.get_key(key_id).name == "by somebody else"
    _, etag = client.get_key_with_etag(key_id)
    assert client.update_key(key_id, if_match=etag, name="second").name == "second"
    with pytest.raises(InvalidInputError) as refused:
        client.update_key(key_id, if_match='"a"\r\nX-Other: b', name="third")
    assert refused.value.field == "if_match"


def test_a_reason_may_be_given_as_its_name(client: Client) -> None:
    key_id = client.issue_key().key_id
    assert client.revoke_key(key_id, "superseded").reason is RevocationReason.SUPERSEDED


@pytest.mark.parametrize(
    "owner",
    ["plain", "a/b", "...", ".keys", "a/..b", "keys.", "50 %", "a?b#c", "ümlaut 🔑", "%2F", "a//b"],
)
def test_every_key_of_an_owner_is_revoked_whatever_its_name(client: Client, owner: str) -> None:
    tokens = [client.issue_key(owner=owner).secret for _ in range(3)]
    beside = client.issue_key(owner=f"{owner}x").secret
    assert beside is not None
    assert client.revoke_owner(owner, "cessationOfOperation", note="left") == 3
    assert [client.verify(token).code for token in tokens if token] == ["revoked"] * 3
    assert client.verify(beside)


def test_what_is_no_key_id_reaches_no_server(client: Client) -> None:
    for method in (
        client.get_key,
        client.revoke_key,
        client.suspend_key,
        client.resume_key,
        client.destroy_key,
    ):
        for wrong in ("", "key_1", "../owners/acme", "key_" + "0" * 21 + "/", 7):
            with pytest.raises(ValueError, match="not a key_id"):
                method(wrong)  # type: ignore[arg-type]


def test_times_are_sent_exactly(client: Client) -> None:
    moment = datetime(2031, 5, 6, 7, 8, 9, 123_456, tzinfo=UTC)
    assert (
        rfc3339(client.issue_key(expires_at=moment).metadata.expires_at or SOON)
        == "2031-05-06T07:08:09.123456Z"
    )
    with pytest.raises(ValueError, match="offset"):
        client.issue_key(expires_at=datetime(2031, 5, 6))


def test_every_method_says_what_it_does() -> None:
    methods = [value for name, value in inspect.getmembers(Client) if not name.startswith("_")]
    assert len(methods) > 15
    assert all(inspect.getdoc(method) for method in methods)
