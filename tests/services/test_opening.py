"""Opening a store: with the right key, in the right place, once or several times, and letting it go again."""

from __future__ import annotations

import base64
import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidInputError,
    KeyturnError,
    SchemaError,
    StorageError,
    WrongKekError,
)
from tests.contract.ledger_stores import Store
from tests.contract.postgres_server import PostgresDatabase
from tests.contract.waiting import until
from tests.fakes import KEK

Open = Callable[[], SecureKeyStore]


def make() -> GeneratedKey:
    return SecureKeyGenerator().generate_api_key()


def opened(path: Path, kek: bytes | str | Secret | None = KEK) -> SecureKeyStore:
    return SecureKeyStore(storage_backend="local", encryption_key=kek, path=path)


# Keys


def test_a_store_opens_with_the_key_it_was_made_with(tmp_path: Path) -> None:
    key = make()
    with opened(tmp_path / "keys.db") as store:
        store.store_key(key)
    with opened(tmp_path / "keys.db") as store:
        assert store.authenticate(key.secret)


@pytest.mark.parametrize("kek", [bytes(32), KEK[::-1]])
def test_another_key_is_told_from_tampering(tmp_path: Path, kek: bytes) -> None:
    opened(tmp_path / "keys.db").close()
    with pytest.raises(WrongKekError) as caught:
        opened(tmp_path / "keys.db", kek)
    assert not isinstance(caught.value, IntegrityError)
    assert caught.value.fix
    opened(tmp_path / "keys.db").close()


@pytest.mark.parametrize(
    "form",
    [KEK, Secret(KEK), f"hex:{KEK.hex()}", "base64:" + base64.b64encode(KEK).decode(),
     Secret("base64:" + base64.urlsafe_b64encode(KEK).decode().rstrip("="))],
    ids=["bytes", "secret", "hex", "base64", "base64url"],
)  # fmt: skip
def test_a_key_is_the_same_in_every_form(tmp_path: Path, form: bytes | str | Secret) -> None:
    opened(tmp_path / "keys.db").close()
    if isinstance(form, Secret) and len(form) == 32:
        form = Secret(f"hex:{form.reveal_bytes().hex()}")
    opened(tmp_path / "keys.db", form).close()


def test_a_passphrase_opens_what_it_made_and_another_does_not(tmp_path: Path) -> None:
    key = make()
    with opened(tmp_path / "keys.db", "passphrase:correct horse battery") as store:
        store.store_key(key)
    with opened(tmp_path / "keys.db", Secret("passphrase:correct horse battery")) as store:
        assert store.authenticate(key.secret)
    for other in ("passphrase:correct horse battery ", KEK):
        with pytest.raises(WrongKekError):
            opened(tmp_path / "keys.db", other)


@pytest.mark.parametrize(
    "kek",
    [
        b"",
        bytes(31),
        bytes(33),
        "",
        "correct horse battery",
        "hex:00",
        "base64:!!!!",
        "passphrase:short",
        KEK.hex(),
    ],
)
def test_what_is_no_key_is_refused_before_anything_is_made(tmp_path: Path, kek: bytes | str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path / "keys.db", kek)
    assert caught.value.fix
    if kek:
        assert repr(kek)[2:-1] not in str(caught.value) + caught.value.fix
    assert not list(tmp_path.iterdir())


def test_without_a_key_a_store_is_not_opened(tmp_path: Path) -> None:
    """A default would be the same for everybody who forgot."""
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path / "keys.db", None)
    assert "KEY_STORE_ENCRYPTION_KEY" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_the_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "keys.db").close()
    monkeypatch.setenv("KEY_STORE_ENCRYPTION_KEY", f"hex:{KEK.hex()}")
    opened(tmp_path / "keys.db", None).close()
    monkeypatch.setenv("KEY_STORE_ENCRYPTION_KEY", f"hex:{bytes(32).hex()}")
    with pytest.raises(WrongKekError):
        opened(tmp_path / "keys.db", None)


# Places


def test_the_file_and_its_directories_are_for_their_owner_alone(tmp_path: Path) -> None:
    opened(tmp_path / "a" / "b" / "keys.db").close()
    modes = {path: path.stat().st_mode & 0o077 for path in (tmp_path / "a").rglob("*")}
    assert (tmp_path / "a" / "b" / "keys.db") in modes
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("name", ["keys.db", "with space.db", "hash#.db", "schlüssel.db", "no-suffix"])
def test_a_path_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    opened(tmp_path / name).close()
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["100%41.db", "what?.db"])
def test_a_path_is_taken_as_it_is_whatever_urls_make_of_it(tmp_path: Path, name: str) -> None:
    opened(tmp_path / name).close()
    assert (tmp_path / name).is_file()


def test_without_a_path_the_file_is_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_DATA_DIR", str(tmp_path / "data"))
    SecureKeyStore(encryption_key=KEK).close()
    assert (tmp_path / "data" / "keyturn.db").is_file()
    monkeypatch.setenv("KEYTURN_STORE", f"sqlite:///{tmp_path}/elsewhere.db")
    SecureKeyStore(encryption_key=KEK).close()
    assert (tmp_path / "elsewhere.db").is_file()


def test_a_file_cannot_be_made_where_there_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageError) as caught:
        opened(tmp_path / "file" / "keys.db")
    assert caught.value.fix


def test_a_directory_that_may_not_be_written_to_is_named() -> None:
    """Not even root makes files in /proc."""
    with pytest.raises(StorageError) as caught:
        opened(Path("/proc/keys.db"))
    assert "/proc" in str(caught.value)
    assert caught.value.fix


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError):
        opened(tmp_path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"something else entirely" * 1_000)
    with pytest.raises(KeyturnError):
        opened(tmp_path / "keys.db")
    assert (tmp_path / "keys.db").read_bytes() == b"something else entirely" * 1_000


@pytest.mark.parametrize(
    "url",
    ["", "keys.db", "mysql://db/keyturn", "sqlite:", "sqlite:///", "sqlite://host/keys.db", "sqlite:///:memory:",
     "sqlite:////tmp/keys.db?mode=ro", "SQLITE:////tmp/keys.db"],
)  # fmt: skip
def test_a_url_that_names_no_store_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SecureKeyStore.open(url, KEK)
    assert caught.value.fix


@pytest.mark.parametrize("backend", ["", "Local", "redis", "sqlite:///x"])
def test_an_unknown_backend_is_refused_with_what_to_use(tmp_path: Path, backend: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SecureKeyStore(storage_backend=backend, encryption_key=KEK, path=tmp_path / "keys.db")
    assert "SecureKeyStore.open" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_a_database_in_the_environment_is_not_taken_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_STORE", "postgresql://app@db/keyturn")
    monkeypatch.setenv("KEYTURN_ENV", "production")
    with pytest.raises(ConfigurationError) as caught:
        SecureKeyStore(encryption_key=KEK)
    assert "SecureKeyStore.open" in caught.value.fix


def test_a_database_that_nobody_prepared_is_refused_with_the_command_that_does(
    postgres_database: PostgresDatabase,
) -> None:
    with pytest.raises(SchemaError) as caught:
        SecureKeyStore.open(postgres_database.app_url, KEK)
    assert "keyturn init" in str(caught.value) + caught.value.fix


@pytest.mark.parametrize("adapter", ["postgres"], indirect=True)
def test_a_database_without_a_keyring_is_not_prepared_either(place: Store) -> None:
    with pytest.raises(SchemaError):
        SecureKeyStore.open(place.url, KEK)


@pytest.mark.parametrize("tenant", ["", "System", "system", "a b", "x" * 64])
def test_what_is_no_tenant_is_refused(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SecureKeyStore(encryption_key=KEK, path=tmp_path / "keys.db", tenant=tenant)
    assert caught.value.field == "tenant"


def test_a_refused_tenant_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        SecureKeyStore(encryption_key=KEK, path=tmp_path / "keys.db", tenant="System")
    assert not list(tmp_path.iterdir())


# Several at once


def test_two_stores_on_one_file_see_each_others_keys_and_revocations(tmp_path: Path) -> None:
    first, second = (
        SecureKeyStore(encryption_key=KEK, path=tmp_path / "keys.db", max_staleness=0.1) for _ in range(2)
    )
    key = make()
    with first, second:
        first.store_key(key)
        assert second.authenticate(key.secret)
        second.revoke_key(key.key_id)
        assert second.authenticate(key.secret).code == "revoked"
        until(lambda: first.authenticate(key.secret).code == "revoked")
        assert first.verify_key(key.key_id) == second.verify_key(key.key_id)


def test_a_store_by_url_is_the_store_by_path(tmp_path: Path) -> None:
    key = make()
    with opened(tmp_path / "keys.db") as store:
        store.store_key(key)
    with SecureKeyStore.open(f"sqlite:///{tmp_path}/keys.db", KEK) as store:
        assert store.authenticate(key.secret)


# Letting go


def total(path: Path, key_id: str) -> int:
    with opened(path) as store:
        return store.get_usage_statistics(key_id).total


def test_leaving_the_block_writes_what_was_counted_also_after_an_error(tmp_path: Path) -> None:
    key = make()

    def fail() -> None:
        with opened(tmp_path / "keys.db") as store:
            store.store_key(key)
            assert store.authenticate(key.secret)
            raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        fail()
    assert total(tmp_path / "keys.db", key.key_id) == 1


def test_closing_twice_is_harmless_and_a_closed_store_says_so(tmp_path: Path) -> None:
    store, key = opened(tmp_path / "keys.db"), make()
    store.store_key(key)
    assert store.authenticate(key.secret)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.authenticate(key.secret)


def test_a_store_that_is_forgotten_loses_nothing(tmp_path: Path) -> None:
    key, store = make(), opened(tmp_path / "keys.db")
    store.store_key(key)
    for _ in range(7):
        assert store.authenticate(key.secret)
    del store
    gc.collect()
    assert total(tmp_path / "keys.db", key.key_id) == 7


def test_a_program_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    program = """
        import sys
        from keyturn import SecureKeyGenerator, SecureKeyStore
        store = SecureKeyStore(encryption_key=bytes(range(32)), path=sys.argv[1])
        key = SecureKeyGenerator().generate_api_key()
        store.store_key(key)
        for _ in range(7):
            assert store.authenticate(key.secret)
        print(key.key_id)
        raise SystemExit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "keys.db")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert total(tmp_path / "keys.db", done.stdout.strip()) == 7


# The program of the contract


def test_the_contracts_program_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the parts that are still to come: rotation, Supabase."""
    monkeypatch.chdir(tmp_path)
    program = textwrap.dedent(
        """
        from keyturn import (
            SecureKeyGenerator, GeneratedKey, KeyType, KeyScope, KeyLength,
            SecureKeyStore, KeyMetadata, KeyUsageEvent, Verification,
            KeyturnError, Secret,
        )
        generator = SecureKeyGenerator()
        store = SecureKeyStore(storage_backend="local", encryption_key=key)

        api_key = generator.generate_api_key(
            key_type=KeyType.API_TOKEN, key_scope=KeyScope.READ_WRITE, expires_in=86400 * 30)
        store.store_key(api_key)
        is_valid, message = store.verify_key(api_key.key_id)

        verification = store.authenticate(api_key.secret.reveal(), scope=KeyScope.READ, ip="203.0.113.9")
        if verification: admitted = True
        """
    )
    names: dict[str, object] = {"key": KEK}
    exec(compile(program, "contract.md", "exec"), names)
    store, verification = names["store"], names["verification"]
    assert isinstance(store, SecureKeyStore)
    store.close()
    assert (names["is_valid"], names["message"], names["admitted"]) == (True, "the key is active", True)
    assert isinstance(verification, names["Verification"])  # type: ignore[arg-type]
    assert (verification.code, verification.scope) == ("valid", KeyScope.READ_WRITE.value)  # type: ignore[attr-defined]


def test_the_bound_is_the_environments_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound(max_staleness: float | None = None) -> float:
        with SecureKeyStore(
            "local", bytes(32), path=tmp_path / "keys.db", max_staleness=max_staleness
        ) as store:
            return store._verifier.max_staleness

    monkeypatch.delenv("KEYTURN_MAX_STALENESS", raising=False)
    assert bound() == 1.0
    monkeypatch.setenv("KEYTURN_MAX_STALENESS", "0.25")
    assert bound() == 0.25
    assert bound(max_staleness=2.0) == 2.0
    monkeypatch.setenv("KEYTURN_MAX_STALNESS", "0.5")
    with pytest.raises(ConfigurationError, match="KEYTURN_MAX_STALNESS"):
        bound()
