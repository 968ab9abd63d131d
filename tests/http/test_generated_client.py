"""A client that is made from the OpenAPI document, and nothing else, can do all that the server offers.

datamodel-code-generator makes the classes of what is sent and answered. Which of them belong to a call, where it goes
and what it takes beside a body, the document says under the name of the call.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.http.served import Served

GENERATOR: Final = (
    sys.executable, "-m", "datamodel_code_generator", "--input-file-type", "openapi", "--use-annotated",
    "--output-model-type", "pydantic_v2.BaseModel", "--extra-fields", "forbid", "--formatters", "builtin",
)  # fmt: skip


class Called(NamedTuple):
    """An answer: its status, its body as the document types it, and its fields."""

    status: int
    body: Any
    fields: httpx.Headers


class Client:
    """Calls operations by their names, with generated classes for bodies."""

    def __init__(self, document: dict[str, Any], models: ModuleType, url: str, key: str) -> None:
        self.models = models
        self._document = document
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self._operations = {
            operation["operationId"]: (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def close(self) -> None:
        self._http.close()

    def __call__(self, name: str, body: Any = None, **parameters: Any) -> Called:
        """Call an operation; parameters go where the document puts them."""
        method, path, operation = self._operations[name]
        places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for parameter in operation.get("parameters", []):
            given = parameters.pop(parameter["name"].lower().replace("-", "_"), None)
            if given is not None:
                places[parameter["in"]][parameter["name"]] = given
        assert not parameters, f"{name} has no {parameters}"
        content = None if body is None else body.model_dump_json(exclude_unset=True, by_alias=True)
        headers = {**places["header"], **({} if content is None else {"Content-Type": "application/json"})}
        answer = self._http.request(
            method, path.format(**places["path"]), params=places["query"], headers=headers, content=content
        )
        return Called(answer.status_code, self._parsed(operation, answer), answer.headers)

    def _parsed(self, operation: dict[str, Any], answer: httpx.Response) -> Any:
        described = operation["responses"][str(answer.status_code)]
        if "$ref" in described:
            described = self._document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        if "content" not in described:
            return None
        kind = answer.headers["content-type"]
        name = described["content"][kind]["schema"]["$ref"].rpartition("/")[2]
        return getattr(self.models, name).model_validate_json(answer.content)


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    document = served.call("GET", "/openapi.json", key=None).ok()
    made = Client(
        document, generated(document, tmp_path_factory.mktemp("client")), served.server.url, served.key
    )
    yield made
    made.close()


def generated(document: dict[str, Any], directory: Path) -> ModuleType:
    (directory / "openapi.json").write_text(json.dumps(document))
    target = directory / "generated_models.py"
    done = subprocess.run(
        [*GENERATOR, "--input", str(directory / "openapi.json"), "--output", str(target)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("generated_models", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_models"] = module  # where its own annotations are looked up
    spec.loader.exec_module(module)
    return module


def test_a_key_is_issued_verified_changed_revoked_and_refused(client: Client) -> None:
    models = client.models
    issued = client(
        "issue_key", models.NewKey(scope="read_write", owner="user_42", permissions=["documents.*"])
    )
    assert issued.status == 201
    key_id, token = issued.body.key_id, issued.body.key

    question = models.Question(key=token, scope="read", permissions="documents.read")
    assert client("verify_key", question).body.valid is True

    changes = models.KeyChanges(permissions=["images.read"], name=None)
    changed = client("update_key", changes, key_id=key_id, if_match=issued.fields["etag"])
    assert changed.body.permissions == ["images.read"]
    assert client("verify_key", question).body.code is models.Code.insufficient_permissions
    late = client("update_key", changes, key_id=key_id, if_match=issued.fields["etag"])
    assert (late.status, late.body.code) == (412, "precondition_failed")

    unchanged = client("get_key", key_id=key_id, if_none_match=changed.fields["etag"])
    assert (unchanged.status, unchanged.body) == (304, None)
    assert client("get_key", key_id=key_id).body.owner == "user_42"

    revoked = client("revoke_key", models.Revocation(reason="superseded"), key_id=key_id)
    assert revoked.body.state is models.KeyState.deactivated
    answer = client("verify_key", question).body
    assert (answer.valid, answer.code) == (False, models.Code.revoked)


def test_a_batch_is_issued_once_and_read_back(client: Client) -> None:
    models = client.models
    batch = models.NewKeys(items=[models.NewKey(recoverable=True), models.NewKey(type="hmac", scope="write")])
    first = client("issue_keys", batch, idempotency_key="made by a generated client".replace(" ", "-"))
    again = client("issue_keys", batch, idempotency_key="made by a generated client".replace(" ", "-"))
    assert (again.fields["idempotent-replayed"], again.body) == ("true", first.body)
    for item in first.body.items:
        assert client("get_key_secret", key_id=item.key_id).body.key == item.key
        assert client("list_key_versions", key_id=item.key_id).body.items[0].is_current
    answers = client(
        "verify_keys", models.Questions(items=[models.Question(key=first.body.items[0].key)])
    ).body
    assert [answer.valid for answer in answers.items] == [True]
    usage = client("get_key_usage", key_id=first.body.items[0].key_id, period="hour").body
    assert (usage.total, usage.period) == (1, models.Period.hour)


def test_lists_are_walked_and_owners_revoked(client: Client) -> None:
    models = client.models
    for number in range(3):
        client("issue_key", models.NewKey(owner="walked", name=f"{number}"))
    names: list[str] = []
    cursor = None
    while True:
        page = client("list_keys", owner="walked", limit=2, cursor=cursor).body
        names += [item.name for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert names == ["2", "1", "0"]
    assert client("revoke_owner", owner="walked").body.revoked == 3


def test_a_refusal_is_a_problem_that_says_what_to_do(client: Client) -> None:
    refused = client("get_key", key_id="key_" + "0" * 22)
    assert (refused.status, refused.body.code) == (404, "not_found")
    assert refused.body.fix


def test_whatever_the_server_says_of_itself_is_as_described(client: Client) -> None:
    assert client("get_liveness").body.status == "live"
    assert client("get_readiness").body.status == "ready"
