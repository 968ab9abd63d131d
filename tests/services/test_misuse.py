"""Calls with values of the wrong kind: each is refused with an error of the tree, which names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from keyturn.errors import ConfigurationError, InvalidInputError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from tests.fakes import Process

NAIVE = datetime(2026, 1, 1)
Call = Callable[[Any, Any, str], object]
CALLS: dict[str, Call] = {
    "scope is text": lambda s, g, k: s.authenticate("kt_x", scope="read"),
    "permissions are a list": lambda s, g, k: s.authenticate("kt_x", permissions=["a"]),
    "permissions are a number": lambda s, g, k: s.authenticate("kt_x", permissions=5),
    "a scope that cannot be hashed": lambda s, g, k: s.authenticate("kt_x", scope=[]),
    "an address that is a number": lambda s, g, k: s.authenticate("kt_x", ip=5),
    "a text is stored": lambda s, g, k: s.store_key("x"),
    "None is stored": lambda s, g, k: s.store_keys(None),
    "texts are stored": lambda s, g, k: s.store_keys(["x"]),
    "no id is retrieved": lambda s, g, k: s.retrieve_key(None),
    "a number is revoked": lambda s, g, k: s.revoke_key(5),
    "a type is text": lambda s, g, k: s.list_keys(type="api_token"),
    "a state is text": lambda s, g, k: s.list_keys(state="active"),
    "an owner is a number": lambda s, g, k: s.list_keys(owner=5),
    "a cursor is a number": lambda s, g, k: s.list_keys(cursor=5),
    "a time is text": lambda s, g, k: s.list_keys(expires_before="x"),
    "a time has no zone": lambda s, g, k: s.list_keys(unused_since=NAIVE),
    "a start has no zone": lambda s, g, k: s.get_usage_statistics(k, since=NAIVE),
    "metadata are a list": lambda s, g, k: s.update_key(k, metadata=[1]),
    "permissions are None": lambda s, g, k: g.generate_api_key(permissions=None),
    "new metadata are a number": lambda s, g, k: g.generate_api_key(metadata=5),
    "new metadata are a list": lambda s, g, k: g.generate_api_key(metadata=[]),
    "a number is derived from": lambda s, g, k: g.derive_key(5),
    "iterations are text": lambda s, g, k: g.derive_key("passphrase", iterations="5"),
    "a salt is text": lambda s, g, k: g.derive_key("passphrase", salt="s" * 16),
    "a length is text": lambda s, g, k: g.derive_key("passphrase", length="32"),
    "an info is text": lambda s, g, k: g.derive_key(b"k" * 16, method="hkdf", info="x"),
    "None is whole": lambda s, g, k: g.verify_key_integrity(None),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_value_of_the_wrong_kind_is_refused_in_words(
    ours: Process, shop: SecureKeyStore, what: str
) -> None:
    key = ours.issue()
    with pytest.raises(InvalidInputError) as refused:
        CALLS[what](shop, SecureKeyGenerator(), key.key_id)
    assert str(refused.value)
    assert refused.value.fix
    assert shop.authenticate(key.secret), "and nothing was changed"


@pytest.mark.parametrize(
    "opening",
    [
        lambda path: SecureKeyStore("local", 5, path=path),  # type: ignore[arg-type]
        lambda path: SecureKeyStore("local", b"k" * 32, path=path, max_staleness="x"),  # type: ignore[arg-type]
        lambda path: SecureKeyStore.open(5, b"k" * 32),  # type: ignore[arg-type]
        lambda path: SecureKeyStore.open(f"sqlite:///{path}", ["k"]),  # type: ignore[arg-type]
    ],
)
def test_a_store_that_cannot_be_opened_says_what_to_give(
    tmp_path: Path, opening: Callable[[Path], object]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        opening(tmp_path / "keys.db")
    assert refused.value.fix
