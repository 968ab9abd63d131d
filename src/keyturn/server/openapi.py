"""The OpenAPI document: what routes declare, and what follows from their shape.

A route says what it takes, what it gives, and which of CREATED, TAGGED, CONFLICT ... it answers with as well. What it
may be refused with follows from what it takes: a key in the header, a body, an id in the path, a condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from keyturn.errors import (
    ConflictError,
    ForbiddenError,
    IdempotencyMismatchError,
    IllegalTransitionError,
    InvalidInputError,
    NotFoundError,
    NotRecoverableError,
    PreconditionFailedError,
    StaleError,
    ThrottledError,
    UnauthenticatedError,
)
from keyturn.server.authorizing import AUTHORIZE
from keyturn.server.described_gateway import name_callers
from keyturn.server.models import EXAMPLES, ProblemBody
from keyturn.server.problems import CONTENT_TYPE, problem, problem_of

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION: Final = """\
Issue, verify, rotate and audit API keys.

Management calls carry `Authorization: Bearer <provisioning key>` and need the permission that each of them names. Times
are RFC 3339 in UTC. Errors are problem details (RFC 9457): `code` is for programs, and `fix` says what to do. Unknown
fields are refused. An id of another tenant and one that does not exist give the same 404.
"""
TAGS: Final = [
    {"name": "keys", "description": "Keys from their issue to their end, and owners of keys."},
    {"name": "verification", "description": "Whether what a client presented is good for what it asks."},
    {"name": "rotation", "description": "New secrets for keys without downtime, on request and by policies."},
    {"name": "webhooks", "description": "Telling others what happens: over HTTP, or by mail."},
    {"name": "signatures", "description": "Signatures with keys whose private half stays in Keyturn."},
    {
        "name": "gateways",
        "description": "Whether a request may pass, for gateways that ask before they let it.",
    },
    {"name": "health", "description": "For whoever runs the server; no key is needed."},
]

_ETAG: Final = {
    "description": "Names this state, for If-Match and If-None-Match.",
    "schema": {"type": "string", "pattern": '^"[!#-~]+"$'},
    "example": '"3-q83vEjRWeJCrze8SNFZ4"',
}
_REPLAYED: Final = {
    "description": "There, and true, where the answer is the one that this Idempotency-Key got before.",
    "schema": {"type": "string", "enum": ["true"]},
}
_RETRY_AFTER: Final = {
    "description": "In how many seconds to try again.",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
    "example": "1",
}
_CHALLENGE: Final = {
    "description": "How to authenticate.",
    "schema": {"type": "string"},
    "example": 'Bearer realm="keyturn"',
}
_REQUEST_ID_FIELD: Final = {
    "X-Request-Id": {
        "description": "The request's own X-Request-Id where it may be kept, else a new one; in the server's log too.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    }
}
# What is answered from memory, many times a second, and is the same to the byte each time.
_WITHOUT_ID: Final = ("/v1/verify", "/v1/verify/batch", AUTHORIZE, f"{AUTHORIZE}/{{rest}}", "/livez")

TAGGED: Final[Responses] = {200: {"headers": {"ETag": _ETAG}}}
CREATED: Final[Responses] = {201: {"headers": {"ETag": _ETAG, "Idempotent-Replayed": _REPLAYED}}}
REPLAYABLE: Final[Responses] = {201: {"headers": {"Idempotent-Replayed": _REPLAYED}}}
NOT_MODIFIED: Final[Responses] = {
    304: {"description": "It is as If-None-Match says.", "headers": {"ETag": _ETAG}}
}
CONFLICT: Final[Responses] = {409: {"description": "The state does not allow it."}}

_REQUEST_ID: Final = {"request_id": "9d0b6f4f1f0a7b395f1c7a522a0e4c55"}
_EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "400": problem(400, "malformed_json", "the body is not JSON", "Send a JSON object."),
    "401": problem_of(UnauthenticatedError("the call carries no provisioning key")),
    "403": problem_of(ForbiddenError("this key lacks the permission keys.create")),
    "404": problem_of(NotFoundError("there is no such key")),
    "409": problem_of(IllegalTransitionError("a key that is deactivated cannot be suspended")),
    "412": problem_of(PreconditionFailedError("the key is no longer as that ETag says")),
    "413": problem(413, "body_too_large", "the body has more than 1,048,576 bytes", "Send less."),
    "415": problem(415, "unsupported_media_type", "the body is not said to be JSON", "Send it as JSON."),
    "422": problem_of(InvalidInputError("name: 1 to 256 characters of text", field="name")),
    "429": problem_of(ThrottledError("too many keys from this address were refused")),
    "503": problem_of(StaleError("this node has not read the log within its bound")),
}
_MEANINGS: Final = {
    "400": ("Malformed", "The request does not parse: its JSON, a header, or a header that is there twice."),
    "401": ("Unauthenticated", "There is no provisioning key, or it is not valid."),
    "403": ("Forbidden", "The provisioning key lacks what the call needs."),
    "404": ("NotFound", "There is no such thing in the caller's tenant."),
    "409": ("Conflict", "The state does not allow it, or somebody else was first."),
    "412": ("PreconditionFailed", "If-Match names another state than the present one."),
    "413": ("TooLarge", "The body is too large."),
    "415": ("UnsupportedMediaType", "The body is not said to be JSON."),
    "422": ("Invalid", "The request is understood and cannot be meant: `field` says where."),
    "429": ("Throttled", "Too many keys from this address were refused."),
    "503": ("Unavailable", "This node cannot decide now; nothing was done, unless `code` is outcome_unknown."),
}  # fmt: skip
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "401": {"WWW-Authenticate": _CHALLENGE},
    "429": {"Retry-After": _RETRY_AFTER},
    "503": {"Retry-After": _RETRY_AFTER},
}
_MORE_EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "409": {
        "conflict": problem_of(
            ConflictError("the key is stored already, or its owner was revoked meanwhile")
        ),
        "not_recoverable": problem_of(NotRecoverableError("the secret of this key cannot come back")),
    },
    "422": {
        "idempotency_mismatch": problem_of(
            IdempotencyMismatchError("this Idempotency-Key was sent before, with another request")
        )
    },
}


def document(app: FastAPI, more: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of an application and of `more` routes that it does not have itself; made once."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            tags=TAGS,
            routes=[*app.routes, *more],
        )
        name_callers(app.openapi_schema["paths"])
        _complete(app.openapi_schema)
    return app.openapi_schema


def _complete(made: dict[str, Any]) -> None:
    components = made["components"]
    schemas = components["schemas"]
    for name in (
        "HTTPValidationError",
        "ValidationError",
    ):  # the framework's own problem, which is never sent
        schemas.pop(name, None)
    schemas["ProblemBody"] = ProblemBody.model_json_schema()
    for name, schema in schemas.items():
        _complete_schema(schema, EXAMPLES.get(name))
    components["responses"] = {name: _refusal(status) for status, (name, _) in _MEANINGS.items()}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete_operation(operation, path, schemas)


def _complete_schema(schema: dict[str, Any], examples: Any) -> None:
    """The first paragraph of what the code says of it, what is said of a field that may be null, and the example."""
    schema["description"] = " ".join(schema.get("description", "").partition("\n\n")[0].split())
    for field in schema.get("properties", {}).values():
        said = [each["description"] for each in field.get("anyOf", ()) if "description" in each]
        if said:
            field.setdefault("description", said[0])
    if examples is not None:
        schema["examples"] = examples


def _complete_operation(operation: dict[str, Any], path: str, schemas: Mapping[str, Any]) -> None:
    _describe(operation)
    answers = operation["responses"]
    own = {status for status, answer in answers.items() if status >= "400" and _is_own(answer)}
    # A route that describes a refusal of its own describes them all.
    refusals = (
        set() if own else {s for s in answers if s >= "400" and s != "422"} | _refusals(operation, path)
    )
    for status in answers.keys() - own - {status for status in answers if status < "400"}:
        del answers[status]
    for status, answer in answers.items():
        _show_schema(answer, schemas)
        if status < "400" and path not in _WITHOUT_ID:
            answer["headers"] = {**answer.get("headers", {}), **_REQUEST_ID_FIELD}
    for status in own:
        media = answers[status].pop("content")["application/json"]
        answers[status]["content"] = {
            CONTENT_TYPE: {**media, "example": {**_EXAMPLES[status], **_REQUEST_ID}}
        }
    for status in sorted(refusals):
        answers[status] = {"$ref": f"#/components/responses/{_MEANINGS[status][0]}"}
    _show_schema(operation.get("requestBody", {}), schemas)
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])


def _describe(operation: dict[str, Any]) -> None:
    """A summary, which is the first sentence up to a colon, and all of it with the permission that it needs."""
    text = " ".join(operation["description"].split())
    operation["summary"] = re.split(r"[.:;,](?: |$)", text, maxsplit=1)[0]
    needed = [name for each in operation.get("security", ()) for names in each.values() for name in names]
    operation["description"] = f"{text}\n\nNeeds the permission `{needed[0]}`." if needed else text


def _is_own(answer: Mapping[str, Any]) -> bool:
    """Whether a route has described this refusal: with a body, and not the one that the framework gives them all."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return bool(schema) and not schema.get("$ref", "").endswith("/HTTPValidationError")


def _refusals(operation: Mapping[str, Any], path: str) -> set[str]:
    """The statuses that an operation of this shape may be refused with."""
    parameters = {each["name"] for each in operation.get("parameters", ())}
    refusals: set[str] = set()
    if "security" in operation:
        refusals |= {"400", "401", "403", "429", "503"}
    if "requestBody" in operation:
        refusals |= {"400", "413", "415", "422"}
    if parameters:
        refusals.add("422")
    if {"{key_id}", "{policy_id}", "{rotation_id}", "{endpoint_id}"} & set(re.findall(r"{\w+}", path)):
        refusals.add("404")
    if "If-Match" in parameters:
        refusals.add("412")
    return refusals


def _show_schema(holder: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Let a body show the example of its schema, and an answer its description: tools look for them there."""
    for media in holder.get("content", {}).values():
        name = _schema_name(media["schema"])
        if name and "examples" in schemas[name]:
            media["example"] = schemas[name]["examples"][0]
        if name and holder.get("description") == "Successful Response":
            holder["description"] = schemas[name]["description"]


def _schema_name(schema: Mapping[str, Any]) -> str | None:
    """The component that a schema refers to, alone or beside null."""
    references = [each["$ref"] for each in (schema, *schema.get("anyOf", ())) if "$ref" in each]
    return references[0].rpartition("/")[2] if len(references) == 1 else None


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which is absent where the program's own value is None: no text stands for null."""
    choices = schema.get("anyOf", ())
    values = [each for each in choices if each != {"type": "null"}]
    if len(values) != 1 or len(values) == len(choices):
        return dict(schema)
    return {**values[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _refusal(status: str) -> dict[str, Any]:
    shown = {"typical": _EXAMPLES[status], **_MORE_EXAMPLES.get(status, {})}
    return {
        "description": _MEANINGS[status][1],
        "headers": {**_HEADERS.get(status, {}), **_REQUEST_ID_FIELD},
        "content": {
            CONTENT_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemBody"},
                "examples": {name: {"value": {**value, **_REQUEST_ID}} for name, value in shown.items()},
            }
        },
    }
