"""The routes of the application, and how to call each of them.

for route in GUARDED:
    route.call(served, key=None).problem(401, "unauthenticated")

They come from the application itself: a new route is in every test of all routes as soon as it is there. One that needs
a body, or has a parameter of a new kind, is missing from BODIES, IDS or NAMES, and the tests say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

import pytest

from keyturn.server.management import management_app
from tests.http.raw import Answer
from tests.http.served import UNKNOWN_ID, Served

# What is open to everybody, and what the contract says of the rest; later versions have more of it.
OPEN: Final = frozenset({"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/.well-known/jwks.json",
                         "/v1/tenants/{tenant}/jwks.json",
                         "/v1/pick-ups"})  # fmt: skip
# Whoever calls these is known by another field, and they have tests of their own.
GATEWAYS: Final = frozenset({"/v1/authorize", "/v1/authorize/{rest}"})
PERMISSIONS: Final[Mapping[str, str]] = {
    "POST /v1/keys": "keys.create",
    "POST /v1/keys/batch": "keys.create",
    "GET /v1/keys": "keys.read",
    "GET /v1/keys/{key_id}": "keys.read",
    "PATCH /v1/keys/{key_id}": "keys.update",
    "POST /v1/keys/{key_id}/revoke": "keys.revoke",
    "POST /v1/keys/{key_id}/suspend": "keys.revoke",
    "POST /v1/keys/{key_id}/resume": "keys.revoke",
    "POST /v1/keys/{key_id}/destroy": "keys.destroy",
    "POST /v1/owners/{owner}/revoke": "keys.revoke",
    "GET /v1/keys/{key_id}/secret": "keys.reveal",
    "GET /v1/keys/{key_id}/versions": "keys.read",
    "GET /v1/keys/{key_id}/usage": "keys.read",
    "POST /v1/keys/{key_id}/sign": "keys.sign",
    "POST /v1/keys/{key_id}/verify-signature": "keys.sign",
    "POST /v1/verify": "keys.verify",
    "POST /v1/verify/batch": "keys.verify",
    "POST /v1/keys/{key_id}/rotate": "rotation.rotate",
    "GET /v1/keys/{key_id}/rotation-preview": "rotation.read",
    "GET /v1/rotations": "rotation.read",
    "GET /v1/rotation-statistics": "rotation.read",
    "GET /v1/rotations/{rotation_id}": "rotation.read",
    "POST /v1/rotations/{rotation_id}/pause": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/resume": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/rollback": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/complete": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/approve": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/prove": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/pick-up": "rotation.rotate",
    "POST /v1/rotations/{rotation_id}/pick-up-code": "rotation.rotate",
    "POST /v1/rotation-policies": "rotation.update",
    "GET /v1/rotation-policies": "rotation.read",
    "GET /v1/rotation-policies/{policy_id}": "rotation.read",
    "PATCH /v1/rotation-policies/{policy_id}": "rotation.update",
    "DELETE /v1/rotation-policies/{policy_id}": "rotation.update",
    "POST /v1/rotation-policies/{policy_id}/pause": "rotation.update",
    "POST /v1/rotation-policies/{policy_id}/resume": "rotation.update",
    "POST /v1/webhooks": "webhooks.update",
    "GET /v1/webhooks": "webhooks.read",
    "GET /v1/webhooks/{endpoint_id}": "webhooks.read",
    "PATCH /v1/webhooks/{endpoint_id}": "webhooks.update",
    "DELETE /v1/webhooks/{endpoint_id}": "webhooks.update",
    "POST /v1/webhooks/{endpoint_id}/rotate-secret": "webhooks.update",
    "GET /v1/webhooks/{endpoint_id}/deliveries": "webhooks.read",
    "POST /v1/webhooks/{endpoint_id}/redeliver": "webhooks.update",
    "POST /v1/webhooks/{endpoint_id}/dismiss": "webhooks.update",
    "GET /v1/audit/entries": "audit.read",
    "GET /v1/audit/checkpoint": "audit.read",
    "GET /v1/audit/proof": "audit.read",
    "GET /v1/reports/{name}": "reports.read",
}
# A body with which the route does its work; none where it needs none. A route that needs one and is new belongs here.
BODIES: Final[Mapping[str, object]] = {
    "POST /v1/keys": {},
    "POST /v1/keys/batch": {"items": [{}]},
    "PATCH /v1/keys/{key_id}": {"tags": []},
    "POST /v1/keys/{key_id}/sign": {"data": "aGVsbG8"},
    "POST /v1/keys/{key_id}/verify-signature": {"data": "aGVsbG8", "signature": "aGVsbG8"},
    "POST /v1/rotation-policies": {
        "policy_id": "nobody_s",
        "frequency": "monthly",
        "strategy": "overlapping",
    },
    "PATCH /v1/rotation-policies/{policy_id}": {"overlap": 3_600},
    "POST /v1/rotations/{rotation_id}/prove": {"key": "a"},
    "POST /v1/rotations/{rotation_id}/pick-up-code": {},
    "POST /v1/webhooks": {"url": "https://example.org/", "events": ["key_revoked"]},
    "PATCH /v1/webhooks/{endpoint_id}": {"paused": True},
    "POST /v1/webhooks/{endpoint_id}/rotate-secret": {},
    "POST /v1/webhooks/{endpoint_id}/redeliver": {},
    "POST /v1/webhooks/{endpoint_id}/dismiss": {},
    "POST /v1/verify": {"key": "a"},
    "POST /v1/verify/batch": {"items": [{"key": "a"}]},
}

# What a call takes beside the permission of its route, as what is in it demands.
BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "POST /v1/webhooks": ("audit.read",),
    "POST /v1/rotation-policies": ("*",),
    "PATCH /v1/rotation-policies/{policy_id}": ("*",),
    "POST /v1/rotation-policies/{policy_id}/resume": ("*",),
}

# Ids in paths: one that nobody has, and how to make one in another tenant.
IDS: Final[Mapping[str, tuple[str, Callable[[Served], str]]]] = {
    "key_id": (
        UNKNOWN_ID,
        lambda served: str(served.issue_elsewhere(owner="acme", recoverable=True)["key_id"]),
    ),
    "rotation_id": (
        UNKNOWN_ID.replace("key_", "rot_"),
        lambda served: str(served.rotate(key=served.foreigner)["rotation_id"]),
    ),
    "endpoint_id": (
        UNKNOWN_ID.replace("key_", "whe_"),
        lambda served: served.endpoint(key=served.foreigner),
    ),
    "policy_id": ("unknown_policy", lambda served: served.policy(key=served.foreigner)),
}
# Other parameters of paths, which name something in the caller's own tenant, whether it is there or not.
NAMES: Final[Mapping[str, str]] = {"owner": "nobody"}


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> set[str]:
        """Names of what stands in braces in the path."""
        return set(re.findall(r"{(\w+)}", self.path))

    def call(
        self,
        served: Served,
        *,
        key: str | None,
        ids: Mapping[str, str] | None = None,
        fields: Iterable[tuple[str, str]] = (),
        source: str | None = None,
        body: object = None,
        **parameters: str,
    ) -> Answer:
        """The answer to a well-formed call of it; ids that are not given are those of nothing."""
        values = (
            {name: unknown for name, (unknown, _) in IDS.items()} | dict(NAMES) | dict(ids or {}) | parameters
        )
        path = re.sub(r"{(\w+)}", lambda match: quote(values[match[1]], safe=""), self.path)
        if str(self) in BODIES:
            sent = cast(Any, BODIES[str(self)] if body is None else body)
            return served.call(self.method, path, sent, key=key, fields=fields, source=source)
        return served.call(self.method, path, key=key, fields=fields, source=source)

    def suited(self, served: Served, **wanted: Any) -> dict[str, Any]:
        """A new key with which a call of it succeeds."""
        signs = self.path.endswith(("/sign", "/verify-signature"))
        kind = {"type": "hmac", "scope": "read_write"} if signs else {"recoverable": True}
        key = served.issue(**kind, **wanted)
        if "key_id" in self.parameters and self.path.endswith("/resume"):
            served.act(key["key_id"], "suspend").ok()
        return {**key, **self._rotated(served)}

    def _rotated(self, served: Served) -> dict[str, Any]:
        """The ids, and the body, with which a call on a rotation or a policy succeeds; nothing for other routes."""
        act = self.path.rpartition("/")[2]
        if "endpoint_id" in self.parameters:
            return {"ids": {"endpoint_id": served.endpoint()}}
        if "policy_id" in self.parameters:
            return {"ids": {"policy_id": served.policy()}}
        if self.path == "/v1/rotation-policies":
            return {
                "body": {
                    **cast(Any, BODIES["POST /v1/rotation-policies"]),
                    "policy_id": f"{served.policy()}_too",
                }
            }
        if "rotation_id" not in self.parameters:
            return {}
        by_act: dict[str, dict[str, Any]] = {
            "approve": {"key_type": "hmac", "strategy": "blue_green", "requires_check": True},
            "prove": {"strategy": "blue_green"},
            "pick-up": {"keep_secret": True},
            "pick-up-code": {"keep_secret": True},
        }
        rotation = served.rotate(**by_act.get(act, {}))
        if act == "resume":
            served.call("POST", f"/v1/rotations/{rotation['rotation_id']}/pause").ok()
        ready: dict[str, Any] = {"ids": {"rotation_id": rotation["rotation_id"]}}
        return {**ready, "body": {"key": rotation["key"]}} if act == "prove" else ready


def documented() -> list[Route]:
    """The routes of the management application, as its OpenAPI document has them."""
    nothing = cast(Any, None)
    paths = management_app(nothing, nothing, nothing, nothing).openapi()["paths"]
    return [Route(method.upper(), path) for path, methods in paths.items() for method in methods]


def routed() -> set[Route]:
    """The routes of the management application, as it routes them, those of the documentation included."""
    nothing = cast(Any, None)
    return set(_routes(management_app(nothing, nothing, nothing, nothing).routes))


def _routes(routes: Iterable[Any]) -> Iterator[Route]:
    for route in routes:
        included = getattr(route, "original_router", None)  # FastAPI keeps included routers as they are
        if included is not None:
            yield from _routes(included.routes)
        elif getattr(route, "methods", None):
            path = re.sub(r":\w+}", "}", route.path)
            yield from (Route(method, path) for method in route.methods)


HOT: Final = [Route("POST", "/v1/verify"), Route("POST", "/v1/verify/batch")]
GUARDED: Final = [
    route for route in dict.fromkeys([*documented(), *HOT]) if route.path not in OPEN | GATEWAYS
]
WITH_KEY: Final = [route for route in GUARDED if "{key_id}" in route.path]

every_route = pytest.mark.parametrize("route", GUARDED, ids=str)
