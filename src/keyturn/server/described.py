"""The OpenAPI document, with the calls that the dispatcher answers by itself. Nothing is routed here."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field

from keyturn.domain.verdict import Code
from keyturn.server.access import BEARER
from keyturn.server.models import ProblemBody
from keyturn.server.problems import CONTENT_TYPE


class Question(BaseModel):
    """What to verify."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(description="The whole token, as the client presented it.")]
    scope: Annotated[str | None, Field(description="The key's scope must cover it.", examples=["read"])] = (
        None
    )
    permissions: Annotated[
        str | None,
        Field(description="Names joined by AND that the key must grant.", examples=["documents.read"]),
    ] = None
    ip: Annotated[
        str | None,
        Field(
            description="The client's address; a key that is restricted needs it.", examples=["203.0.113.9"]
        ),
    ] = None


class Answer(BaseModel):
    """Whether it is good for what it asks, and what is known of the key."""

    valid: bool
    code: Annotated[str, Field(json_schema_extra={"enum": [code.value for code in Code]})]
    key_id: str | None
    version: int | None
    owner: str | None
    scope: str | None
    permissions: list[str]
    metadata: dict[str, Any]
    expires_at: str | None
    rate_limits: list[Any]
    credits: int | None
    as_of: Annotated[str, Field(description="How far this node had read the log: log_id:position.")]


class Questions(BaseModel):
    """Up to 1,000 at once."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Question], Field(min_length=1, max_length=1_000)]


class Answers(BaseModel):
    """In the order of the questions."""

    items: list[Answer]


class Live(BaseModel):
    """This process answers."""

    status: str


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ProblemBody} for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
}

_WITHOUT_ID: Final = frozenset(("/v1/verify", "/v1/verify/batch", "/livez"))
_REQUEST_ID: Final = {
    "description": "The request's own X-Request-Id where it may be kept, else a new one; it is in the server's log.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}

described: Final = APIRouter(responses=PROBLEMS)


@described.post("/v1/verify", tags=["verification"], dependencies=[BEARER])
def verify_key(asked: Question) -> Answer:  # type: ignore[empty-body]
    """Verify what a client presented: always 200, with `valid` and `code`. Needs keys.verify."""


@described.post("/v1/verify/batch", tags=["verification"], dependencies=[BEARER])
def verify_keys(asked: Questions) -> Answers:  # type: ignore[empty-body]
    """Verify up to 1,000, answered in order. Needs keys.verify."""


@described.get("/livez", tags=["health"])
def liveness() -> Live:  # type: ignore[empty-body]
    """Whether the process answers at all; it needs no store and no key."""


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application and of the calls above; made once."""
    if app.openapi_schema is None:
        routes = [*app.routes, *described.routes]
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=routes
        )
        for path, methods in app.openapi_schema["paths"].items():
            for operation in methods.values():
                _name_problems(operation["responses"])
                _name_ids(operation["responses"], only_problems=path in _WITHOUT_ID)
    return app.openapi_schema


def _name_problems(answers: dict[str, Any]) -> None:
    for status, answer in answers.items():
        if status >= "400":
            answer["content"] = {CONTENT_TYPE: answer["content"]["application/json"]}


def _name_ids(answers: dict[str, Any], *, only_problems: bool) -> None:
    for status, answer in answers.items():
        if status >= "400" or not only_problems:
            answer.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
