"""No secret is where it must not be (OWASP Key Management, Storage 3; ASVS 14.2.1, 16.2.5).

Keys of every type are issued over HTTP, at the command line and in Python, every kind of error is provoked with
secrets in the request, and then every place that can be read afterwards is searched: the store's files, what the
programs wrote, answers and exceptions.
"""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn import KeyScope, KeyturnError, KeyType, Secret, SecureKeyGenerator, SecureKeyStore
from keyturn.domain.bytestext import from_base64url
from tests.contract.postgres_server import PostgresServer
from tests.running_server import KEK, RunningServer, prepared_postgres, program_environment, run_program

PASSPHRASE: Final = "correct horse battery staple"
TOKEN_SECRET: Final = slice(-49, -6)  # of a token of 256 bits: between credential_id and checksum


def forms(raw: bytes) -> set[bytes]:
    """`raw` as it may turn up: as it is, in hex, and in base64 at each of its three alignments."""
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        # Left out are the characters, at either end, that the neighbouring bytes have a part in.
        text = base64.b64encode(bytes(shift) + raw)[4 if shift else 0 : -4]
        found |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return {form for form in found if len(form) >= 16}


class Secrets:
    """Everything that must not be found."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}

    def add(self, name: str, raw: bytes) -> None:
        """Watch for `raw` in all its forms."""
        assert len(raw) >= 16
        self._forms |= dict.fromkeys(forms(raw), name)

    def add_key(self, name: str, secret: str, key_type: str) -> None:
        """Watch for a token and for its secret part, or for the material of a signing key."""
        self.add(f"{name}'s secret", secret.encode())
        if key_type == "hmac":
            self.add(f"{name}'s material", from_base64url(secret))
        else:
            self.add(f"{name}'s random part", secret[TOKEN_SECRET].encode())

    def in_bytes(self, where: str, content: bytes) -> list[str]:
        """What of it stands in `content`."""
        return [f"{name} in {where}" for form, name in self._forms.items() if form in content]

    def in_folder(self, folder: Path) -> list[str]:
        """What of it stands in any file below `folder`."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        return [found for path in files for found in self.in_bytes(str(path), path.read_bytes())]


@pytest.fixture
def secrets() -> Secrets:
    found = Secrets()
    found.add("the key-encryption key", KEK)
    found.add("the passphrase", PASSPHRASE.encode())
    return found


def test_a_secret_that_is_written_down_would_be_found(secrets: Secrets, tmp_path: Path) -> None:
    secret = "kt_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvw366h7h"
    secrets.add_key("a key", secret, "api_token")
    raw = secret.encode()
    for written in (
        raw,
        raw.hex().encode(),
        b"x" + base64.b64encode(raw),
        base64.urlsafe_b64encode(b"12" + raw),
    ):
        (tmp_path / "file").write_bytes(b"before" + written + b"after")
        assert secrets.in_folder(tmp_path)
    (tmp_path / "file").write_bytes(base64.b64encode(b"1" + raw[TOKEN_SECRET] + b"22"))
    assert secrets.in_folder(tmp_path)
    (tmp_path / "file").write_bytes(b"nothing")
    assert not secrets.in_folder(tmp_path)


WANTED: Final = (
    {"type": "api_token", "owner": "acme"},
    {"type": "api_token", "recoverable": True},
    {"type": "provisioning", "permissions": ["keys.verify"]},
    {"type": "hmac", "scope": "read_write"},
)


def issue_over_http(server: RunningServer, secrets: Secrets) -> list[dict[str, Any]]:
    """One key of each type."""
    issued = [server.issue(**wanted) for wanted in WANTED]
    for key in issued:
        secrets.add_key(f"{key['type']} of HTTP", key["key"], key["type"])
    return issued


def provoked_over_http(
    server: RunningServer, issued: list[dict[str, Any]]
) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Answers to requests that carry secrets where they do not belong, or are refused for other reasons."""
    caller = server.first_key
    for key in issued:
        token, key_id = key["key"], key["key_id"]
        wrong = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
        requests: tuple[tuple[str, str, object, str | None], ...] = (
            ("POST", "/v1/verify", {"key": token}, token),
            ("POST", "/v1/verify", {"key": wrong}, caller),
            ("POST", "/v1/verify", {"key": token, "permissions": token}, caller),
            ("POST", "/v1/verify", {"key": token, "scope": token, token: 1}, caller),
            ("POST", "/v1/verify", {"key": token, token: 1}, caller),
            ("POST", "/v1/verify", [token], caller),
            ("POST", "/v1/verify/batch", {"items": [{"key": token, "ip": token}, token]}, caller),
            ("GET", f"/v1/keys/{token}", None, caller),
            ("GET", f"/v1/keys?cursor={token}", None, caller),
            ("GET", f"/v1/keys?{token}=1", None, caller),
            ("GET", f"/v1/{token}?key={token}", None, caller),
            ("POST", "/v1/keys", {"type": token, "expires_at": token, token: token}, caller),
            ("POST", "/v1/keys", {"permissions": [token], "allowed_ips": [token], "prefix": token}, caller),
            ("POST", f"/v1/keys/{key_id}/revoke", {"reason": token}, caller),
            ("PATCH", f"/v1/keys/{key_id}", {"expires_at": token}, caller),
            ("POST", f"/v1/keys/{key_id}/revoke", None, token),
            ("POST", f"/v1/keys/{key_id}/revoke", None, wrong),
            ("POST", f"/v1/keys/{key_id}/resume", None, caller),
        )
        for method, path, body, by in requests:
            yield f"{method} {path[:10]}", server.call(method, path, body, key=by)


def leaks_of_a_server(server: RunningServer, secrets: Secrets) -> list[str]:
    """Use a server, and look at what it answers and writes."""
    secrets.add_key("the first key", server.first_key, "provisioning")
    issued = issue_over_http(server, secrets)
    # What a request says wrong may be named in the answer, but a value from it only where it is no secret's.
    found = [
        leak
        for what, (_, answer) in provoked_over_http(server, issued)
        for leak in secrets.in_bytes(f"the answer to {what}", json.dumps(answer).encode())
    ]
    for key in issued:
        server.verify(key["key"], ip="203.0.113.9")
        for act in ("suspend", "resume", "revoke", "destroy"):
            assert server.call("POST", f"/v1/keys/{key['key_id']}/{act}", key=server.first_key)[0] == 200
    server.stop()
    printed = server.stdout.replace(server.first_key, "", 1)
    return (
        found
        + secrets.in_bytes("stdout", printed.encode())
        + secrets.in_bytes("stderr", server.stderr.encode())
    )


def test_a_server_on_sqlite_leaves_no_secret_in_answers_output_or_files(
    secrets: Secrets, tmp_path: Path
) -> None:
    temporary, configuration, data = (tmp_path / name for name in ("tmp", "config", "data"))
    for folder in (temporary, configuration, data):
        folder.mkdir()
    with RunningServer(
        f"sqlite:///{tmp_path / 'keys.db'}",
        TMPDIR=str(temporary),
        XDG_CONFIG_HOME=str(configuration),
        XDG_DATA_HOME=str(data),
    ) as server:
        issue_over_http(server, secrets)
        assert secrets.in_folder(tmp_path) == [], "while the server runs, write-ahead log included"
        assert leaks_of_a_server(server, secrets) == []
    assert secrets.in_folder(tmp_path) == []


def test_a_server_on_postgresql_leaves_no_secret_in_answers_output_or_files(secrets: Secrets) -> None:
    with PostgresServer(log_statement="all", log_min_messages="debug1") as postgres:
        database = postgres.create_database()
        with RunningServer(database.app_url, first_key=prepared_postgres(database)) as server:
            assert leaks_of_a_server(server, secrets) == []
        postgres.stop()
        assert "keyturn.commit" in postgres.log
        assert secrets.in_folder(postgres.data) == []
        assert secrets.in_bytes("PostgreSQL's log", postgres.log.encode()) == []


def test_the_command_line_prints_a_secret_once_and_writes_it_nowhere(
    secrets: Secrets, tmp_path: Path
) -> None:
    environment = program_environment(f"sqlite:///{tmp_path / 'keys.db'}", TMPDIR=str(tmp_path))
    outputs: list[bytes] = []

    def run(*arguments: str, given: str = "") -> str:
        done = run_program(environment, *arguments, given=given)
        outputs.append(done.stderr.encode())
        return done.stdout

    first = next(word for word in run("init").split() if word.startswith("kt_"))
    secrets.add_key("the first key", first, "provisioning")
    for key_type in ("api_token", "provisioning", "hmac"):
        issued = json.loads(run("issue", "--type", key_type, "--json"))
        secrets.add_key(f"{key_type} of the command line", issued["key"], key_type)
        refused_or_shown = (
            ("show", issued["key"]),
            ("verify", issued["key"]),
            ("revoke", issued["key_id"], "--reason", issued["key"]),
            ("update", issued["key_id"], "--expires-at", issued["key"]),
            ("list", "--cursor", issued["key"]),
            ("show", issued["key_id"]),
            ("list",),
            ("usage", issued["key_id"]),
        )
        outputs += [run(*arguments).encode() for arguments in refused_or_shown]
        outputs.append(run("verify", given=issued["key"] + "\n").encode())
        outputs.append(run("verify", "--permissions", issued["key"], given=issued["key"] + "\n").encode())
        outputs.append(run("destroy", issued["key_id"], "--yes").encode())
    assert [found for output in outputs for found in secrets.in_bytes("output", output)] == []
    assert secrets.in_folder(tmp_path) == []


def errors_of(store: SecureKeyStore, token: str, key_id: str) -> Iterator[BaseException]:
    """Exceptions that a secret took part in."""
    generator = SecureKeyGenerator()
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.verify_key(token),
        lambda: store.retrieve_key(token),
        lambda: store.revoke_key(token),
        lambda: store.update_key(key_id, allowed_ips=[token]),
        lambda: store.update_key(key_id, **{token: 1}),
        lambda: store.update_key(key_id, metadata={token: 1.5}),
        lambda: store.list_keys(cursor=token),
        lambda: store.list_keys(owner=token * 10),
        lambda: store.authenticate(token, permissions=token),
        lambda: store.authenticate(token, permissions="a AND " + token),
        lambda: generator.generate_api_key(prefix=token),
        lambda: generator.generate_api_key(permissions=[token + "!"]),
        lambda: generator.generate_api_key(owner=token * 10),
        lambda: generator.derive_key(Secret(token), method=token),
        lambda: generator.derive_key(Secret("x"), method="hkdf", info=token.encode()),
        lambda: SecureKeyStore.open(f"postgresql://user:{token}@[/x"),
        lambda: SecureKeyStore.open(f"{token}://x"),
        lambda: SecureKeyStore.open("sqlite:////nowhere/at/all.db", token),
        lambda: SecureKeyStore.open("sqlite:////nowhere/at/all.db", f"hex:{token}"),
        lambda: SecureKeyStore.open("sqlite:////nowhere/at/all.db", token.encode()),
        lambda: repr(Secret(token)).encode("latin-1").decode("utf-16"),
    )
    for call in calls:
        try:
            call()
        except (KeyturnError, UnicodeError) as error:
            yield error


def test_no_exception_repeats_a_secret(secrets: Secrets, tmp_path: Path) -> None:
    with SecureKeyStore(encryption_key=f"passphrase:{PASSPHRASE}", path=tmp_path / "keys.db") as store:
        for key_type in (KeyType.API_TOKEN, KeyType.PROVISIONING, KeyType.HMAC):
            key = SecureKeyGenerator().generate_api_key(key_type, KeyScope.READ)
            secrets.add_key(key_type.value, key.secret.reveal(), key_type.value)
            store.store_key(key)
            assert secrets.in_bytes("repr", repr((key, store, store.retrieve_key(key.key_id))).encode()) == []
            errors = list(errors_of(store, key.secret.reveal(), key.key_id))
            assert len(errors) > 15
            for error in errors:
                told = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
                assert secrets.in_bytes("an exception", told.encode()) == [], type(error)
    assert secrets.in_folder(tmp_path) == []
