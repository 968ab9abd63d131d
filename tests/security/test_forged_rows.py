"""Bodies that the attacker has edited; a seal for them would take the key-encryption key."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from keyturn.domain import token as tokens
from keyturn.domain.bytestext import to_base64url
from keyturn.ports.ledger import Row
from keyturn.verifier.decision import NO_DEMAND
from tests.security.scene import TAMPERED, WHEN, Scene

before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


def own_token(scene: Scene, label: str) -> str:
    """A token of the attacker's own making that carries another's credential_id."""
    handle = scene.chronicle.keys[label].credential_id
    assert handle is not None
    return tokens.build("kt", handle, "A" * 43)


def edited(row: Row, **members: object) -> Row:
    """The row with other members in its body, in columns as well where there are such; None takes one out."""
    body: dict[str, Any] = {**json.loads(row.body), **members}
    kept = {name: value for name, value in body.items() if value is not None}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return replace(row, tenant=body["tenant"], revision=body["revision"], body=text)


FORGERIES: Final[Mapping[str, tuple[str, dict[str, object]]]] = {
    "a wider scope": ("plain", {"scope": "full"}),
    "a permission more": ("plain", {"permissions": ["*"]}),
    "a scope that was taken": ("scope", {"scope": "full"}),
    "a permission that was dropped": ("permissions", {"permissions": ["documents.*", "billing.read"]}),
    "no network": ("network", {"allowed_ips": []}),
    "no expiry": ("expiry", {"expires_at": None}),
    "no beginning": ("postponed", {"not_before": None}),
    "no suspension": ("suspended", {"state": "active"}),
    "no revocation": ("revoked", {"state": "active", "reason": None}),
    "no destruction": ("destroyed", {"state": "active"}),
    "an active version": ("version of destroyed", {"state": "active"}),
    "another token's digest": ("version of plain", {"digest": "own"}),
    "another tenant": ("foreign", {"tenant": "default"}),
    "another tenant's version": ("version of foreign", {"tenant": "default"}),
    "no owner": ("bolt-first", {"owner": None}),
    "an owner's later epoch": ("bolt-first", {"owner": "later"}),
    "an owner's earlier epoch": ("owner bolt", {"epoch": 0}),
    "a revision to come": ("plain", {"revision": 2}),
    "another type": ("plain", {"type": "provisioning"}),
    "another length": ("plain", {"length": 8_192}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_body_that_was_edited_without_the_kek_is_refused_whatever_seal_it_has(
    scene: Scene, name: str
) -> None:
    label, members = FORGERIES[name]
    row, own = scene.chronicle.now(label), own_token(scene, "plain")
    if members.get("digest") == "own":
        members = {"digest": to_base64url(hashlib.sha256(own.encode()).digest())}
    if members.get("owner") == "later":
        members = {"owner": {**json.loads(row.body)["owner"], "epoch": 1}}
    forged = edited(row, **members)
    assert forged.body != row.body
    made_up = hmac.digest(os.urandom(32), forged.body.encode(), "sha256")
    seals = {
        "another's": scene.chronicle.now("powerful").seal,
        "an entry's": scene.chronicle.end.log[0].seal,
        "made up": row.seal[:5] + made_up,
        "zeros": row.seal[:5] + bytes(32),
        "of a data key that there is none of": b"\x01" + (2).to_bytes(4, "big") + made_up,
        "none": b"",
        "its own": row.seal,
    }
    refused, node = scene.resting_on(label), scene.open()
    for seal in seals.values():
        scene.attacker.put_rows(replace(forged, seal=seal))
        assert set(scene.ask(node, refused).values()) == {TAMPERED}
        assert not node.verifier.authenticate(own, NO_DEMAND)
    restarted = scene.open()
    assert set(scene.ask(restarted, refused).values()) == {TAMPERED}
    assert not restarted.verifier.authenticate(own, NO_DEMAND)
    scene.attacker.put_rows(row)
    assert scene.ask(node, refused) == scene.ask(restarted, refused)
    assert scene.ask(node, refused).items() <= scene.honest.items()
