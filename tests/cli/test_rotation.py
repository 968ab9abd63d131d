"""Rotation from the command line."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.program import Program


def rotated(program: Program, *arguments: str) -> dict[str, Any]:
    done = program.run("rotate", *arguments, "--json")
    assert done.status == 0, done.err
    found: dict[str, Any] = done.json
    return found


def is_valid(program: Program, token: str) -> bool:
    return program.run("verify", given=token).status == 0


def test_a_rotated_key_prints_its_new_secret_last_and_both_verify(program: Program) -> None:
    key = program.issue()
    done = program.run("rotate", key["key_id"], "--overlap", "1h")
    assert done.status == 0
    assert is_valid(program, key["key"])
    assert is_valid(program, done.secret)
    (shown,) = program.run("rotation", "list", "--json").json["items"]
    assert (shown["key_id"], shown["stage"]) == (key["key_id"], "overlap")
    completed = program.run("rotation", "complete", shown["rotation_id"], "--note", "all moved", "--json")
    assert completed.json["stage"] == "completed"
    assert not is_valid(program, key["key"])
    assert is_valid(program, done.secret)
    refused = program.run("rotation", "rollback", shown["rotation_id"])
    assert refused.status != 0
    assert "completed" in refused.err


def test_a_leaked_token_is_refused_at_once(program: Program) -> None:
    key = program.issue()
    new = rotated(program, key["key_id"], "--compromised")
    assert not is_valid(program, key["key"])
    assert is_valid(program, new["key"])


def test_all_keys_of_an_owner_are_rotated_and_again_only_those_that_are_left(program: Program) -> None:
    keys = [program.issue("--owner", "acme") for _ in range(3)]
    other = program.issue("--owner", "bolt")
    done = program.run("rotate", "--owner", "acme", "--compromised")
    assert done.status == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert {line["key_id"] for line in lines} == {key["key_id"] for key in keys}
    assert all(is_valid(program, line["key"]) for line in lines)
    assert not any(is_valid(program, key["key"]) for key in keys)
    assert is_valid(program, other["key"])
    since = done.err.partition("--since ")[2].split()[0]
    again = program.run("rotate", "--owner", "acme", "--compromised", "--since", since)
    assert again.status == 0
    left = [json.loads(line) for line in again.out.splitlines()]
    assert {line["key_id"] for line in left} == {key["key_id"] for key in keys}
    assert all(line["skipped"].startswith("rotated at 2") and "key" not in line for line in left)


def test_a_policy_is_made_followed_previewed_and_deleted(program: Program) -> None:
    made = program.run(
        "policy", "create", "monthly", "--frequency", "monthly", "--strategy", "overlapping", "--json"
    )
    assert made.json["policy_id"] == "monthly"
    key = program.issue()
    assert program.run("policy", "assign", key["key_id"], "--policy", "monthly").status == 0
    preview = program.run("rotation", "preview", key["key_id"], "--json").json
    assert (preview["policy_id"], [each["stage"] for each in preview["stages"]]) == (
        "monthly",
        ["overlap", "completed"],
    )
    updated = program.run("policy", "update", "monthly", "--overlap", "1h", "--json")
    assert updated.json["overlap"] == 3_600
    assert program.run("rotation", "check", "--json").out == ""
    assert program.run("policy", "delete", "monthly").status == 0
    assert program.run("policy", "list", "--json").json["items"] == []
    assert program.run("rotation", "stats").status == 0


def test_what_cannot_be_meant_is_refused(program: Program) -> None:
    for arguments in (
        ("rotate",),
        ("rotate", "--all"),
        ("policy", "create", "p", "--frequency", "monthly"),
        (
            "policy",
            "create",
            "p",
            "--frequency",
            "custom",
            "--strategy",
            "overlapping",
            "--cron",
            "0 0 30 2 *",
        ),
    ):
        done = program.run(*arguments)
        assert done.status != 0
        assert done.out == ""


def test_a_kept_secret_is_picked_up_once(program: Program) -> None:
    key = program.issue()
    waiting = rotated(program, key["key_id"], "--keep-secret")
    assert waiting["key"] is None
    picked = program.run("rotation", "pick-up", waiting["rotation_id"])
    assert picked.status == 0
    assert is_valid(program, picked.secret)
    assert program.run("rotation", "pick-up", waiting["rotation_id"]).status != 0
