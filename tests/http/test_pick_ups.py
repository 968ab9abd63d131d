"""Codes for new secrets over HTTP."""

from __future__ import annotations

from tests.http.served import Served, another_source


def code_of(served: Served) -> tuple[str, str]:
    """A rotation whose secret waits, and a code for it."""
    rotation_id = str(served.rotate(keep_secret=True)["rotation_id"])
    offered = served.call("POST", f"/v1/rotations/{rotation_id}/pick-up-code", {"lifetime": 60}).ok(201)
    return rotation_id, str(offered["code"])


def test_who_has_a_code_and_nothing_else_gets_the_secret_once(served: Served) -> None:
    rotation_id, code = code_of(served)
    picked = served.call("POST", "/v1/pick-ups", key=code).ok()
    assert (picked["rotation_id"], picked["version"]) == (rotation_id, 2)
    assert served.verify(picked["key"])["valid"]
    refused = served.call("POST", "/v1/pick-ups", key=code)
    assert "used before" in refused.problem(409, "illegal_transition")["detail"]
    assert picked["key"] not in refused.body.decode()


def test_what_is_no_code_gets_nothing(served: Served) -> None:
    for key, status, code in (
        (None, 401, "unauthenticated"),
        (served.key, 404, "not_found"),
        ("ktpick_" + "0" * 43, 404, "not_found"),
    ):
        served.call("POST", "/v1/pick-ups", key=key, source=another_source()).problem(status, code)


def test_who_shows_no_code_is_asked_for_one(served: Served) -> None:
    for fields in ([], [("Authorization", "Basic Zm9v")], [("Authorization", "Bearer ")]):
        refused = served.call("POST", "/v1/pick-ups", key=None, fields=fields)
        problem = refused.problem(401, "unauthenticated")
        assert "code" in problem["detail"]
        assert problem["fix"] == "Send the code as 'Authorization: Bearer <code>'."


def test_a_code_is_made_once_for_an_idempotency_key(served: Served) -> None:
    rotation_id = str(served.rotate(keep_secret=True)["rotation_id"])
    path, fields = f"/v1/rotations/{rotation_id}/pick-up-code", [("Idempotency-Key", "pick-up-1")]
    first, second = (served.call("POST", path, {}, fields=fields).ok(201) for _ in range(2))
    assert first == second


def test_a_code_needs_no_body(served: Served) -> None:
    rotation_id = str(served.rotate(keep_secret=True)["rotation_id"])
    offered = served.call("POST", f"/v1/rotations/{rotation_id}/pick-up-code").ok(201)
    assert served.call("POST", "/v1/pick-ups", key=offered["code"]).ok()["rotation_id"] == rotation_id
