"""The calls that the dispatcher answers by itself, as the OpenAPI document shows them. Nothing is routed here."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from keyturn.domain.network import MAX_ADDRESS_CHARACTERS
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code
from keyturn.server.access import bearing
from keyturn.server.models import Body, example
from keyturn.server.schemas import (
    EXAMPLE_KEY_ID,
    EXAMPLE_TOKEN,
    KEY_ID_PATTERN,
    PermissionQuery,
    Time,
    shown,
)

_QUESTION: Final = {
    "key": EXAMPLE_TOKEN,
    "scope": "read",
    "permissions": "documents.read AND NOT beta",
    "ip": "203.0.113.9",
}
_ANSWER: Final = {
    "valid": True, "code": "valid", "key_id": EXAMPLE_KEY_ID, "version": 1, "owner": "user_42", "scope": "read_write",
    "permissions": ["documents.read"], "metadata": {"plan": "pro"}, "expires_at": None, "rate_limits": [],
    "credits": None, "as_of": "0123456789ABCDEF:1204",
}  # fmt: skip


class Question(Body):
    """What to verify."""

    model_config = ConfigDict(extra="forbid", **example(**_QUESTION))

    key: Annotated[str, Field(description="The whole token, as the client presented it.")]
    scope: Annotated[KeyScope | None, Field(description="The key's scope must cover it.")] = None
    permissions: PermissionQuery | None = None
    ip: Annotated[
        str | None,
        shown(
            "The client's address, v4 or v6; a key that is restricted needs it.",
            maxLength=MAX_ADDRESS_CHARACTERS,
            example="203.0.113.9",
        ),
    ] = None


class Answer(Body):
    """Whether it is good for what it asks, and what is known of the key."""

    model_config = example(**_ANSWER)

    valid: Annotated[bool, Field(description="Whether the credential is good for what was asked.")]
    code: Annotated[Code, Field(description="Why, for programs.")]
    key_id: Annotated[str | None, shown(pattern=KEY_ID_PATTERN)]
    version: int | None
    owner: str | None
    scope: KeyScope | None
    permissions: list[str]
    metadata: dict[str, Any]
    expires_at: Time | None
    rate_limits: list[Any]
    credits: int | None
    as_of: Annotated[str, Field(description="How far this node had read the log: log_id:position.")]


class Questions(Body):
    """Up to 1,000 at once."""

    model_config = ConfigDict(extra="forbid", **example(items=[_QUESTION]))

    items: Annotated[list[Question], Field(min_length=1, max_length=1_000)]


class Answers(Body):
    """In the order of the questions."""

    model_config = example(items=[_ANSWER])

    items: list[Answer]


class Live(Body):
    """This process answers."""

    model_config = example(status="live")

    status: str


class Ready(Body):
    """This node decides."""

    model_config = example(status="ready", as_of="0123456789ABCDEF:1204")

    status: str
    as_of: Annotated[str, Field(description="How far this node has read the log: log_id:position.")]


MAY_VERIFY: Final = bearing("keys.verify")

described: Final = APIRouter(generate_unique_id_function=lambda route: route.name)


@described.post("/v1/verify", tags=["verification"], dependencies=[MAY_VERIFY])
def verify_key(asked: Question) -> Answer:  # type: ignore[empty-body]
    """Verify what a client presented.

    Always 200 once the caller is known and the question makes sense: `valid` is the answer, and `code` says why. Where
    the caller's own key cannot be decided on, that is the answer too, with the code `stale`.
    """


@described.post("/v1/verify/batch", tags=["verification"], dependencies=[MAY_VERIFY])
def verify_keys(asked: Questions) -> Answers:  # type: ignore[empty-body]
    """Verify up to 1,000, answered in order."""


@described.get("/livez", tags=["health"])
def get_liveness() -> Live:  # type: ignore[empty-body]
    """Say that the process answers at all; it needs no store and no key."""
