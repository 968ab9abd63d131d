import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyturn.domain import canonical
from keyturn.domain.bodies import key_from, key_put, owner_from, owner_put, version_from, version_put
from keyturn.domain.change import Put
from keyturn.domain.instants import from_micros
from keyturn.domain.key import Algorithm, Hashed, Key, KeyLength, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.errors import IntegrityError
from tests.unit.crypto.samples import Vector, named, vectors

VECTORS = vectors("row")
OWNER_ROWS = {(each["tenant"], each["owner"]): each["row"] for each in vectors("sealed")["pseudonyms"]}
TOKEN = vectors("token")["valid"][0]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=2, microseconds=1)
KEY_ID, HMAC_ID = "key_0123456789ABCDEFGHIJKL", "key_zyxwvutsrqponmlkjihgfe"
ADA = "ada@example.com"

KEY = Key(
    key_id=KEY_ID,
    tenant="default",
    type=KeyType.API_TOKEN,
    scope=KeyScope.READ,
    length=KeyLength.BITS_256,
    state_changed_at=NOON,
    prefix="kt",
    created_at=NOON,
    updated_at=NOON,
)
VERSION = Version(
    key_id=KEY_ID,
    tenant="default",
    number=1,
    type=KeyType.API_TOKEN,
    state_changed_at=NOON,
    credential_id=TOKEN["credential_id"],
    digest=hashlib.sha256(TOKEN["token"].encode()).digest(),
    created_at=NOON,
)
OWNER = Owner(
    row_id=OWNER_ROWS["default", ADA],
    tenant="default",
    id=ADA,
    epoch=1,
    revoked_at=NOON,
    reason=RevocationReason.UNSPECIFIED,
)

# What the vectors' bodies say, by their names.
SIGNING = replace(
    KEY,
    key_id=HMAC_ID,
    type=KeyType.HMAC,
    scope=KeyScope.FULL,
    length=KeyLength.BITS_4096,
    prefix=None,
    algorithm=Algorithm.HS512,
)
SAMPLES: dict[str, Key | Version | Owner] = {
    "a token's key, nothing optional but its prefix": KEY,
    "a revoked token's key, everything optional": Key(
        key_id=KEY_ID,
        tenant="acme",
        revision=3,
        type=KeyType.API_TOKEN,
        scope=KeyScope.READ_WRITE,
        length=KeyLength.BITS_128,
        state=KeyState.COMPROMISED,
        state_changed_at=LATER,
        reason=RevocationReason.KEY_COMPROMISE,
        name="Nightly übertrag 🚀",
        owner=ADA,
        owner_row=OWNER_ROWS["acme", ADA],
        owner_epoch=2,
        prefix="acme_live",
        permissions=("documents.read", "images.*"),
        allowed_ips=("203.0.113.0/24", "2001:db8::1"),
        metadata={"\ufb33": [1, None, True], "😀": {"plan": "pro"}, "z": -1},
        tags=("b", "a"),
        recoverable=True,
        created_at=NOON,
        updated_at=LATER,
        not_before=NOON + timedelta(microseconds=1),
        expires_at=from_micros(canonical.MAX_INTEGER),
    ),
    "an HMAC key, without a prefix": replace(
        KEY,
        key_id=HMAC_ID,
        type=KeyType.HMAC,
        scope=KeyScope.FULL,
        length=KeyLength.BITS_4096,
        prefix=None,
        algorithm=Algorithm.HS256,
    ),
    "a gateway's key, with a profile": replace(
        KEY,
        type=KeyType.PROVISIONING,
        permissions=("keys.verify",),
        profile=Requirement(
            scope=KeyScope.READ_WRITE, permissions="documents.read AND (billing.read OR NOT beta)"
        ),
    ),
    "a token's version": VERSION,
    "an HMAC key's version, the last number there is, its material sealed": Version(
        key_id=HMAC_ID,
        tenant="default",
        number=2**31 - 1,
        type=KeyType.HMAC,
        algorithm=Algorithm.HS256,
        state_changed_at=NOON,
        custody="sealed",
        created_at=NOON,
        expires_at=NOON + timedelta(minutes=1),
        material=b"sealed material",
    ),
    "a destroyed version": replace(
        VERSION, revision=2, state=KeyState.DESTROYED, state_changed_at=NOON + timedelta(microseconds=5)
    ),
    "an owner revoked once": OWNER,
    "an owner revoked twice": replace(
        OWNER,
        revision=2,
        epoch=2,
        revoked_at=NOON + timedelta(microseconds=9),
        reason=RevocationReason.CESSATION_OF_OPERATION,
    ),
    "an HMAC key that names its algorithm": SIGNING,
    "the key of a pair": replace(
        SIGNING,
        type=KeyType.RSA,
        scope=KeyScope.READ_WRITE,
        length=KeyLength.BITS_3072,
        algorithm=Algorithm.PS256,
    ),
    "the key of a pair that is published": replace(
        SIGNING,
        type=KeyType.RSA,
        scope=KeyScope.READ_WRITE,
        length=KeyLength.BITS_3072,
        algorithm=Algorithm.PS256,
        published_for=3_600,
    ),
    "the version of a pair, its private key sealed": Version(
        key_id=HMAC_ID,
        tenant="default",
        number=1,
        type=KeyType.JWT,
        algorithm=Algorithm.EDDSA,
        public_key=bytes.fromhex(
            "302a300506032b6570032100fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
        ),
        state_changed_at=NOON,
        custody="sealed",
        created_at=NOON,
        material=b"sealed material",
    ),
    "a key that is being rotated": replace(
        KEY,
        revision=4,
        version=2,
        newest=3,
        rotation_policy_id="monthly_rotation",
        rotation="rot_zyxwvutsrqponmlkjihgfe",
        rotated_at=NOON + timedelta(microseconds=1),
        due_from=NOON,
        updated_at=NOON + timedelta(microseconds=2),
    ),
    "a version whose overlap has ended": replace(
        VERSION,
        revision=3,
        state=KeyState.DEACTIVATED,
        state_changed_at=NOON + timedelta(hours=1, microseconds=1),
        expires_at=NOON + timedelta(hours=1),
    ),
}
# Rows from before HMAC keys named their algorithm: they are read, and not written any more.
READ_ONLY = {
    "an HMAC key, without a prefix",
    "an HMAC key's version, the last number there is, its material sealed",
}


def put_of(value: Key | Version | Owner) -> Put:
    match value:
        case Key():
            return key_put(value)
        case Version():
            return version_put(value)
        case Owner():
            return owner_put(value)


def read(kind: str, body: Mapping[str, Any], material: bytes | None = None) -> Key | Version | Owner:
    if kind == "version":
        return version_from(body, material)
    readers: dict[str, Callable[[Mapping[str, object]], Key | Owner]] = {"key": key_from, "owner": owner_from}
    return readers[kind](body)


@named([vector for vector in VECTORS["rows"] if vector["name"] not in READ_ONLY])
def test_a_value_is_written_as_the_format_says(vector: Vector) -> None:
    """docs/formats/row.md, by an implementation of its own."""
    put = put_of(SAMPLES[vector["name"]])
    assert canonical.encode(put.body) == vector["body"]
    columns = {"id": put.id, "kind": put.kind, "tenant": put.tenant, "revision": put.revision}
    assert columns == {name: vector[name] for name in columns}


@named(VECTORS["rows"])
def test_a_body_gives_its_value_back(vector: Vector) -> None:
    sample = SAMPLES[vector["name"]]
    material = sample.material if isinstance(sample, Version) else None
    assert read(vector["kind"], json.loads(vector["body"]), material) == sample


SAYS = {
    "unknown_member": "members this program does not know: rate_limits$",
    "format": r"^not a (key|version|owner) row of format 1$",
    "missing_member": "body is malformed",
    "value": "body is malformed",
}


@named(VECTORS["bodies_refused"])
def test_a_body_that_is_not_of_this_format_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError, match=SAYS[vector["failure"]]):
        read(vector["kind"], json.loads(vector["body"]))


def test_every_way_to_fail_has_a_vector() -> None:
    assert {vector["failure"] for vector in VECTORS["bodies_refused"]} == set(SAYS)


def test_a_restriction_that_a_newer_program_wrote_is_not_read_around() -> None:
    """Whoever ignored a limit that it does not know would let someone in."""
    body = {**key_put(KEY).body, "allowed_hours": [9, 17]}
    with pytest.raises(IntegrityError, match="allowed_hours") as refused:
        key_from(body)
    assert refused.value.fix == "A newer program wrote this row: upgrade this one."


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_absent_has_no_member(name: str) -> None:
    """One value has one body: null would be a second one."""
    assert None not in put_of(SAMPLES[name]).body.values()


# For each field another value than the sample has.
CHANGED: dict[type, dict[str, object]] = {
    Key: {
        "key_id": HMAC_ID,
        "algorithm": Algorithm.ES384,
        "tenant": "acme",
        "revision": 2,
        "type": KeyType.PROVISIONING,
        "scope": KeyScope.FULL,
        "length": KeyLength.BITS_8192,
        "state": KeyState.SUSPENDED,
        "state_changed_at": LATER,
        "reason": RevocationReason.SUPERSEDED,
        "name": "x",
        "owner": "x",
        "owner_row": "own_x",
        "owner_epoch": 7,
        "prefix": "x",
        "permissions": ("x",),
        "allowed_ips": ("::1",),
        "metadata": {"x": 1},
        "tags": ("x",),
        "recoverable": True,
        "version": 2,
        "newest": 3,
        "rotation_policy_id": "x",
        "published_for": 60,
        "rotation": "rot_x",
        "rotated_at": LATER,
        "due_from": LATER,
        "created_at": LATER,
        "updated_at": LATER,
        "not_before": LATER,
        "expires_at": LATER,
        "profile": Requirement(permissions="x"),
    },
    Version: {
        "key_id": HMAC_ID,
        "algorithm": Algorithm.ES384,
        "public_key": b"x",
        "tenant": "acme",
        "number": 2,
        "revision": 2,
        "type": KeyType.PROVISIONING,
        "state": KeyState.SUSPENDED,
        "state_changed_at": LATER,
        "credential_id": "x",
        "digest": bytes(32),
        "hashed": Hashed.KEYED_SHA512,
        "custody": "sealed",
        "created_at": LATER,
        "expires_at": LATER,
        "material": b"x",
    },
    Owner: {
        "row_id": "own_x",
        "tenant": "acme",
        "id": "x",
        "revision": 2,
        "epoch": 2,
        "revoked_at": LATER,
        "reason": RevocationReason.SUPERSEDED,
    },
}
OWNED = replace(KEY, owner=ADA, owner_row=OWNER.row_id, owner_epoch=1)
IMPORTED = replace(VERSION, credential_id="~0123456789ABCDEF", hashed=Hashed.KEYED_SHA256)
EACH_FIELD = [
    (base, field.name)
    for base in (OWNED, VERSION, OWNER)
    for field in fields(base)
    if field.name not in ("hashed", "published_for")
]
EACH_FIELD += [(IMPORTED, "hashed"), (SAMPLES["the key of a pair"], "published_for")]


@pytest.mark.parametrize(("base", "name"), EACH_FIELD, ids=[f"{type(b).__name__}.{n}" for b, n in EACH_FIELD])
def test_no_field_is_forgotten_on_the_way_to_the_store_and_back(
    base: Key | Version | Owner, name: str
) -> None:
    """A field that is added to a key and not to its body would be lost at the next start."""
    changed = replace(base, **{name: CHANGED[type(base)][name]})  # type: ignore[arg-type]
    put = put_of(changed)
    assert put != put_of(base)
    assert read(put.kind, json.loads(canonical.encode(put.body)), put.material) == changed


def test_every_member_of_a_body_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats" / "row.md").read_text()
    members = {name for value in SAMPLES.values() for name in put_of(value).body}
    assert members - set(re.findall(r"`([a-z_]+)`", page)) == set()


def test_sealed_material_stands_beside_the_body() -> None:
    """So that it can be sealed anew, or destroyed, without anything else being rewritten."""
    put = version_put(replace(VERSION, custody="sealed", material=b"sealed material"))
    assert put.material == b"sealed material"
    assert "material" not in put.body
    assert version_put(replace(VERSION, custody="sealed", material=b"sealed anew")).body == put.body


def test_a_body_does_not_follow_what_its_maker_does_to_the_metadata_later() -> None:
    metadata: dict[str, object] = {"plan": "free"}
    put = key_put(replace(KEY, metadata=metadata))
    metadata["plan"] = "pro"
    assert put.body["metadata"] == {"plan": "free"}


@pytest.mark.parametrize(
    "body", [{}, {"v": 1}, {"kind": "key"}, {"v": "1", "kind": "key"}, {"v": 1, "kind": None}]
)
def test_a_body_that_does_not_say_what_it_is_is_refused(body: dict[str, object]) -> None:
    for kind in ("key", "version", "owner"):
        with pytest.raises(IntegrityError):
            read(kind, body)


def test_reading_a_body_leaves_it_as_it_was() -> None:
    body = dict(key_put(KEY).body)
    kept = dict(body)
    key_from(body)
    assert body == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None), ("prefix", None), ("name", 5), ("owner", {}), ("owner", []),
        ("owner", {"id": "a", "row": "own_x", "epoch": 0, "until": 1}),
        ("owner", {"id": "a", "row": "own_x", "epoch": "0"}), ("owner", {"id": None, "row": None, "epoch": 0}),
        ("revision", "1"), ("revision", True), ("permissions", "abc"), ("permissions", [1]), ("tags", "ab"),
        ("allowed_ips", {"10.0.0.1": 1}), ("recoverable", "no"), ("recoverable", 0), ("version", "1"),
        ("metadata", []), ("tenant", 1), ("id", None), ("length", 256.0),
    ],
)  # fmt: skip
def test_a_member_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(IntegrityError):
        key_from({**key_put(KEY).body, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("credential_id", None),
        ("custody", None),
        ("number", "1"),
        ("material", "x"),
        ("id", KEY_ID + ".2"),
        ("digest", "AAAA"),
    ],
)
def test_a_versions_member_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(IntegrityError):
        version_from({**version_put(VERSION).body, name: value}, None)
