"""A running server, somebody to call it as, and keys made beside it.

served.call("GET", "/v1/keys").ok()                          # with the first provisioning key
served.call("GET", "/v1/keys", key=None).problem(401, "unauthenticated")
served.provision("keys.read")                                # another provisioning key's token
with served.node() as node: ...                              # the same store, open in this process too
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final

from keyturn import KeyScope, KeyType, SecureKeyGenerator
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.bootstrap import Node, open_node
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey, KeySpec
from tests.http.raw import Answer, Raw, ask, request
from tests.running_server import KEK, RunningServer

UNKNOWN_ID: Final = "key_" + "0" * 22
REQUEST_ID: Final = "a-test"
FOREIGN: Final = "elsewhere"  # a tenant beside the default one

# In every answer about a key.
METADATA: Final = frozenset({
    "key_id", "version", "tenant", "type", "scope", "length", "algorithm", "state", "state_changed_at", "reason",
    "name", "owner", "prefix", "permissions", "allowed_ips", "metadata", "tags", "recoverable", "created_at",
    "updated_at", "not_before", "expires_at", "profile", "rotation", "rotation_policy_id", "rotated_at",
    "published_for",
})  # fmt: skip

_THE_FIRST: Final = "the first key"
_NOTHING: Final = object()
_POLICIES: Final = count()
_SOURCES: Final = count(2)


class Served:
    """A server with its store."""

    def __init__(self, server: RunningServer, url: str) -> None:
        self.server = server
        self.url = url

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def key(self) -> str:
        """The first provisioning key, which may do everything in the default tenant."""
        return self.server.first_key

    def connect(self) -> Raw:
        """A connection to it."""
        return Raw(self.port)

    def call(
        self,
        method: str,
        path: str,
        body: object = _NOTHING,
        *,
        key: str | None = _THE_FIRST,
        fields: Iterable[tuple[str, str]] = (),
        source: str | None = None,
    ) -> Answer:
        """The answer to one request on a connection of its own; `body` is bytes, or becomes JSON."""
        if key is _THE_FIRST:
            key = self.key
        data = None if body is _NOTHING else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = list(fields)
        if not any(name.lower() == "x-request-id" for name, _ in named):
            named.append(
                ("X-Request-Id", REQUEST_ID)
            )  # the same, so that answers can be compared to the byte
        return ask(self.port, request(method, path, data, key=key, fields=named), source=source)

    def issue(self, *, key: str | None = _THE_FIRST, **wanted: Any) -> dict[str, Any]:
        """A new key, secret included."""
        issued = self.call("POST", "/v1/keys", wanted, key=key).ok(201)
        assert isinstance(issued, dict)
        return issued

    def provision(self, *permissions: str, **wanted: Any) -> str:
        """A new provisioning key with these permissions: its token."""
        issued = self.issue(**{"type": "provisioning", "scope": "full", "permissions": permissions, **wanted})
        return str(issued["key"])

    def verify(self, token: str, *, key: str | None = _THE_FIRST, **asked: object) -> dict[str, Any]:
        """What `POST /v1/verify` answers for a token."""
        answer = self.call("POST", "/v1/verify", {"key": token, **asked}, key=key).ok()
        assert isinstance(answer, dict)
        return answer

    def show(self, key_id: str) -> dict[str, Any]:
        """A key's metadata."""
        shown = self.call("GET", f"/v1/keys/{key_id}").ok()
        assert isinstance(shown, dict)
        return shown

    def act(self, key_id: str, act: str, body: object = _NOTHING) -> Answer:
        """The answer to one of the acts on a key."""
        return self.call("POST", f"/v1/keys/{key_id}/{act}", body)

    @contextmanager
    def node(self) -> Iterator[Node]:
        """The store, open in this process beside the server."""
        node = open_node(self.url, LocalKeyWrapper(Secret(KEK)))
        try:
            yield node
        finally:
            node.close()

    def issue_beside(self, specs: Iterable[KeySpec], tenant: str = "default") -> list[GeneratedKey]:
        """Many keys in one commit, of any tenant."""
        made = [SecureKeyGenerator().generate(spec) for spec in specs]
        with self.node() as node:
            node.issuer.issue_all(made, Principal(actor=LOCAL_ACTOR, tenant=tenant))
        return made

    def tenant(self, name: str) -> str:
        """A provisioning key of another tenant that may do everything there: its token."""
        spec = KeySpec(type=KeyType.PROVISIONING, scope=KeyScope.FULL, permissions=("*",))
        return self.issue_beside([spec], name)[0].secret.reveal()

    @cached_property
    def foreigner(self) -> str:
        """The same, of the tenant that tests share."""
        return self.tenant(FOREIGN)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one that writes to the store: whoever wants to change something waits, for at most 5 s."""
        path = parse_url(self.url)
        with path.with_name(f"{path.name}.lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def open_sockets(self) -> int:
        """How many sockets the server's process has open."""
        found = 0
        for file in Path(f"/proc/{self.server.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found += str(file.readlink()).startswith("socket:")
        return found

    def rotate(self, *, key: str | None = None, key_type: str = "api_token", **terms: Any) -> dict[str, Any]:
        """A rotation of a new key, with its new secret."""
        caller = self.key if key is None else key
        key_id = self.issue(key=caller, type=key_type, scope="full")["key_id"]
        answer = self.call("POST", f"/v1/keys/{key_id}/rotate", terms, key=caller)
        found: dict[str, Any] = answer.ok(201)
        return found

    def endpoint(self, *, key: str | None = None) -> str:
        """A new endpoint of notices; its id."""
        body = {"url": "https://hooks.example.org/", "events": ["key_revoked"]}
        made = self.call("POST", "/v1/webhooks", body, key=self.key if key is None else key).ok(201)
        return str(made["endpoint_id"])

    def policy(self, *, key: str | None = None) -> str:
        """The name of a new policy."""
        name = f"policy_{next(_POLICIES)}"
        policy = {"policy_id": name, "frequency": "monthly", "strategy": "overlapping"}
        self.call("POST", "/v1/rotation-policies", policy, key=self.key if key is None else key).ok(201)
        return name

    def issue_elsewhere(self, **wanted: Any) -> dict[str, Any]:
        """A new key of another tenant."""
        return self.issue(key=self.foreigner, **wanted)


def unknown_token(**wanted: Any) -> str:
    """A token that is well-formed, and that nobody has issued."""
    return SecureKeyGenerator().generate_api_key(**wanted).secret.reveal()


def another_source() -> str:
    """An address of this machine that no failed call has come from yet."""
    number = next(_SOURCES)
    return f"127.1.{number // 250}.{number % 250 + 1}"
