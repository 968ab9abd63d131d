"""The OpenAPI document: complete, true to what is sent, and enough to make a client from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import jsonschema_rs
import pytest

from keyturn.server.management import management_app
from tests.http.raw import PROBLEM
from tests.http.routes import OPEN, PERMISSIONS
from tests.http.served import Served

Operation = dict[str, Any]


@cache
def document() -> dict[str, Any]:
    nothing: Any = None
    return management_app(nothing, nothing, nothing, nothing).openapi()


def operations() -> Iterator[tuple[str, Operation]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def is_management(call: str, operation: Operation) -> bool:
    """Whether a provisioning key makes the call: gateways have refusals of their own."""
    return " /v1/" in call and operation["tags"] != ["gateways"] and call.split(" ")[1] not in OPEN


ALL: Final = list(operations())
every_operation = pytest.mark.parametrize(("call", "operation"), ALL, ids=[call for call, _ in ALL])
every_v1_operation = pytest.mark.parametrize(
    ("call", "operation"),
    [each for each in ALL if is_management(*each)],
    ids=[call for call, operation in ALL if is_management(call, operation)],
)


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = document()
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    assert isinstance(found, dict)
    return found


def assert_valid(value: object, schema: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for({**schema, "components": document()["components"]})
    errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]
    assert errors == []


def shown_in(media: dict[str, Any]) -> list[Any]:
    """The examples of some content."""
    several = [each["value"] for each in media.get("examples", {}).values()]
    return [media["example"], *several] if "example" in media else several


# -- complete ---------------------------------------------------------------------------------------------------------


@every_operation
def test_an_operation_says_what_it_does(call: str, operation: Operation) -> None:
    assert re.fullmatch(r"[A-Z][a-zA-Z0-9', -]{5,60}", operation["summary"]), operation["summary"]
    assert operation["description"].startswith(operation["summary"])
    assert operation["tags"]
    assert {tag["name"] for tag in document()["tags"]} >= set(operation["tags"])


def test_operations_are_called_as_functions_of_a_client_would_be() -> None:
    names = [operation["operationId"] for _, operation in ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names), names
    assert {
        "issue_key",
        "issue_keys",
        "list_keys",
        "get_key",
        "update_key",
        "revoke_key",
        "verify_key",
    } <= set(names)


BY_CODE: Final = {"POST /v1/pick-ups"}  # open to whoever has a code


@every_v1_operation
def test_an_operation_names_the_permission_that_it_needs(call: str, operation: Operation) -> None:
    if call in BY_CODE:
        assert "security" not in operation
        return
    (needed,) = operation["security"]
    assert needed == {"provisioning_key": [PERMISSIONS[call]]}
    assert f"`{PERMISSIONS[call]}`" in operation["description"]
    assert document()["components"]["securitySchemes"]["provisioning_key"]["scheme"] == "bearer"


@every_operation
def test_what_is_sent_and_what_is_answered_have_examples_that_are_valid(
    call: str, operation: Operation
) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    answers = [resolved(answer) for answer in operation["responses"].values()]
    for holder in [*bodies, *answers]:
        for kind, media in holder.get("content", {}).items():
            if kind.startswith("text/"):
                continue
            examples = shown_in(media)
            assert examples
            for example in examples:
                assert_valid(example, media["schema"])


@every_operation
def test_a_parameter_says_what_it_is(call: str, operation: Operation) -> None:
    for parameter in operation.get("parameters", []):
        schema = resolved(parameter["schema"])
        assert {"type", "enum"} & schema.keys(), parameter
        assert "anyOf" not in schema, "nothing in a request's head stands for null"
        for example in schema.get("examples", []):
            assert_valid(example, schema)


@every_operation
def test_an_answer_is_described(call: str, operation: Operation) -> None:
    for status, answer in operation["responses"].items():
        assert resolved(answer)["description"] not in ("", "Successful Response"), status


@every_v1_operation
def test_an_operation_names_all_that_it_may_be_refused_with(call: str, operation: Operation) -> None:
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    in_path = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
    expected = (
        {"400", "401", "404", "409", "429", "503"} if call in BY_CODE else {"400", "401", "403", "429", "503"}
    )
    if "requestBody" in operation:
        expected |= {"413", "415", "422"}
    if parameters:
        expected |= {"422"}
    if {"key_id", "rotation_id", "policy_id", "endpoint_id"} & in_path:
        expected |= {"404"}
    if "If-Match" in parameters:
        expected |= {"409", "412"}
    if "Idempotency-Key" in parameters or operation["operationId"] in (
        "get_key_secret",
        "revoke_owner",
        "sign",
    ):
        expected |= {"409"}
    if {"rotation_id", "policy_id", "endpoint_id"} & in_path and not call.startswith("GET"):
        expected |= {"409"}
    assert {status for status in operation["responses"] if status >= "400"} == expected


@every_operation
def test_refusals_are_problems_with_their_fields(call: str, operation: Operation) -> None:
    for status, answer in operation["responses"].items():
        if status < "400":
            continue
        refusal = resolved(answer)
        assert list(refusal["content"]) == [PROBLEM]
        for example in shown_in(refusal["content"][PROBLEM]):
            assert example["status"] == int(status)
            assert example["type"] == f"urn:keyturn:problem:{example['code']}"
        assert refusal.get("headers", {}).keys() >= {
            "401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}
        }.get(status, set())  # fmt: skip


ONE_KEY: Final = {
    "issue_key",
    "get_key",
    "update_key",
    "revoke_key",
    "suspend_key",
    "resume_key",
    "destroy_key",
}
ONE_POLICY: Final = {f"{act}_rotation_policy" for act in ("create", "get", "update", "pause", "resume")}
ONE_ENDPOINT: Final = {f"{act}_webhook" for act in ("create", "get", "update")} | {"rotate_webhook_secret"}
KEY_SETS: Final = {"get_key_set", "get_tenants_key_set"}


@every_operation
def test_fields_that_matter_are_described(call: str, operation: Operation) -> None:
    name = operation["operationId"]
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    fields = {
        status: answer.get("headers", {}).keys()
        for status, answer in operation["responses"].items()
        if status < "400"
    }
    has_tag = name in ONE_KEY | ONE_POLICY | ONE_ENDPOINT | KEY_SETS
    assert any("ETag" in each for each in fields.values()) == has_tag
    assert ("If-None-Match" in parameters) == ("304" in fields)
    is_replayed = any("Idempotent-Replayed" in each for each in fields.values())
    assert ("Idempotency-Key" in parameters) == is_replayed == ("201" in fields or name == "pick_up_secret")
    assert ("Idempotent-Replayed" in fields.get("201", ())) == ("201" in fields)


def test_no_schema_is_left_over_and_none_is_the_frameworks_own() -> None:
    text = repr(document())
    schemas = document()["components"]["schemas"]
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()
    for name, schema in schemas.items():
        assert f"'#/components/schemas/{name}'" in text, name
        assert schema["description"], name


# -- true -------------------------------------------------------------------------------------------------------------


def test_the_examples_of_requests_are_accepted(served: Served) -> None:
    token, signing = (
        served.issue(**wanted)["key_id"] for wanted in ({"scope": "full"}, {"type": "hmac", "scope": "full"})
    )
    endpoint = served.endpoint()
    for call, operation in ALL:
        key_id = signing if operation["tags"] in (["signatures"], ["rotation"]) else token
        method, path = call.split(" ", 1)
        if "requestBody" not in operation or path.endswith(("/resume", "/destroy", "/suspend")):
            continue
        if "{rotation_id}" in path or "{policy_id}" in path:
            continue  # test_rotation.py says in which state each of them can be sent
        (media,) = operation["requestBody"]["content"].values()
        for body in shown_in(media):
            ids = {"{key_id}": key_id, "{owner}": "user_42", "{endpoint_id}": endpoint}
            for name, value in ids.items():
                path = path.replace(name, value)
            answer = served.call(method, path, body)
            assert answer.status in (200, 201), (call, answer.body)
            assert_valid(
                answer.json,
                operation["responses"][str(answer.status)]["content"]["application/json"]["schema"],
            )


def test_the_server_serves_this_document(served: Served) -> None:
    assert served.call("GET", "/openapi.json", key=None).ok() == document()
