"""What whoever reads the database learns of imported tokens: nothing that a token could be guessed from."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from keyturn.bootstrap import open_node
from keyturn.crypto.foreign_tokens import handles_of
from tests.fakes import wrapper
from tests.imported import FAST, FORMS, SALT, SLOW, START, TOKEN
from tests.running_server import KEK

_RAW: Final = TOKEN.encode()


def codings(raw: bytes) -> Iterator[bytes]:
    """A value as it could stand in a file."""
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode())
    yield from (base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"="))


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("form", FORMS)
def test_neither_the_token_nor_a_digest_of_it_is_in_any_file(tmp_path: Path, form: str) -> None:
    imported = FORMS[form](SecureKeyGenerator(), owner="marker-of-an-owner")
    secrets = [TOKEN.encode(), START.encode(), SALT]
    secrets += [hashlib.new(name, _RAW).digest() for name in ("sha256", "sha512", "sha1", "md5")]
    secrets += [imported.hash.reveal_bytes()]
    found: dict[str, bytes] = {}
    with SecureKeyStore(encryption_key=KEK, path=tmp_path / "keys.db") as store:
        store.store_key(imported)
        found |= files_of(tmp_path)
        assert store.authenticate(TOKEN)
        assert not store.authenticate(TOKEN[:-1] + "6")
        found |= {f"{name} later": raw for name, raw in files_of(tmp_path).items()}
    found |= {f"{name} at the end": raw for name, raw in files_of(tmp_path).items()}
    assert any(name.startswith("keys.db-wal") for name in found), "while it was open"
    assert any(b"marker-of-an-owner" in raw for raw in found.values()), "what is no secret is found there"
    for name, raw in found.items():
        for secret in secrets:
            assert not [coding for coding in codings(secret) if coding in raw], name


def test_the_same_token_has_other_handles_and_digests_in_another_store(tmp_path: Path) -> None:
    kept = []
    for name in ("one.db", "two.db"):
        with SecureKeyStore(encryption_key=KEK, path=tmp_path / name) as store:
            store.store_key(FAST["token"](SecureKeyGenerator()))
        rows = sqlite3.connect(tmp_path / name)
        query = "SELECT credential_id, json_extract(body, '$.digest') FROM rows WHERE kind = 'version'"
        kept.append(rows.execute(query).fetchone())
        rows.close()
    (one, one_digest), (two, two_digest) = kept
    assert one[0] == two[0] == "~"
    assert len(one) == 17
    assert one != two
    assert one_digest != two_digest


def test_a_handle_is_not_what_anybody_can_compute_from_the_token(tmp_path: Path) -> None:
    """The digits of every digest of the token, framed or not, in every place of 16."""
    with SecureKeyStore(encryption_key=KEK, path=tmp_path / "keys.db") as store:
        keyring = store._node.records.keyring
    handles = {handle[1:] for handle in handles_of(keyring, TOKEN)}
    assert len(handles) == 2 + len(TOKEN) - 5
    parts = [_RAW, hashlib.sha256(_RAW).hexdigest().encode(), START.encode()]
    for part in parts:
        digest = hashlib.sha256(part).digest()
        assert handles.isdisjoint(_base62(digest[start : start + 16]) for start in range(17))


def _base62(raw: bytes) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number, text = int.from_bytes(raw, "big"), ""
    for _ in range(16):
        number, digit = divmod(number, 62)
        text = digits[digit] + text
    return text


@pytest.mark.parametrize("form", ["token", "scrypt"])
@pytest.mark.parametrize("what", ["digest", "credential_id", "material", "hashed"])
def test_what_is_kept_of_a_token_cannot_be_exchanged(tmp_path: Path, form: str, what: str) -> None:
    """By whoever may write to the database: another token's row is not taken for this one's."""
    file = tmp_path / "keys.db"
    generator = SecureKeyGenerator()
    mine = "mine_token_0123456789"
    with SecureKeyStore(encryption_key=KEK, path=file) as store:
        theirs = store.store_key(FORMS[form](generator))
        own = store.store_key(
            generator.import_token(mine)
            if form == "token"
            else generator.import_token_hash(
                hashlib.sha256(b"s" + mine.encode()).hexdigest(), salt=b"s", start=mine[:12]
            )
        )
    database = sqlite3.connect(file)
    rows = {
        key: database.execute("SELECT body, material FROM rows WHERE id = ?", (f"{key}.1",)).fetchone()
        for key in (theirs.key_id, own.key_id)
    }
    if what == "material":
        database.execute(
            "UPDATE rows SET material = ? WHERE id = ?", (rows[own.key_id][1], f"{theirs.key_id}.1")
        )
    else:
        database.execute("DELETE FROM rows WHERE id = ?", (f"{own.key_id}.1",))
        database.execute(
            f"UPDATE rows SET body = json_set(body, '$.{what}', json_extract(?, '$.{what}')) WHERE id = ?",
            (rows[own.key_id][0], f"{theirs.key_id}.1"),
        )
    database.commit()
    database.close()
    with SecureKeyStore(encryption_key=KEK, path=file) as store:
        verdict = store.authenticate(mine)
        assert verdict.key_id != theirs.key_id
        assert bool(verdict) == (what == "material"), "there its own row is as it was"


@pytest.mark.parametrize("form", ["scrypt", "bcrypt"])
def test_a_hash_that_was_upgraded_cannot_be_put_back(tmp_path: Path, form: str) -> None:
    file = tmp_path / "keys.db"
    with SecureKeyStore(encryption_key=KEK, path=file) as store:
        key = store.store_key(SLOW[form](SecureKeyGenerator()))
        database = sqlite3.connect(file)
        query = "SELECT revision, body, seal, material FROM rows WHERE id = ?"
        before = database.execute(query, (f"{key.key_id}.1",)).fetchone()
        assert store.authenticate(TOKEN)
        database.execute(
            "UPDATE rows SET revision = ?, body = ?, seal = ?, material = ? WHERE id = ?",
            (*before, f"{key.key_id}.1"),
        )
        database.commit()
        database.close()
    node = open_node(f"sqlite:///{file}", wrapper(KEK))
    with SecureKeyStore.over(node) as store:
        assert store.authenticate(TOKEN).code == "integrity_failed"
    node.close()
