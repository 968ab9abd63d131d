"""Rotation from the command line."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from tests.cli.program import Program

KEY_ID: Final = "key_" + "a" * 22


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
        ("rotate", KEY_ID, "--since", "2026-01-01T00:00:00Z"),
        ("rotate", KEY_ID, "--type", "hmac"),
        ("rotate", KEY_ID, "--overlap", "1h", "--more", '{"overlap": 60}'),
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


def test_a_tokens_blue_green_rotation_is_finished_by_the_commands_that_it_names(program: Program) -> None:
    key = program.issue()
    begun = program.run(
        "rotate", key["key_id"], "--strategy", "blue_green", "--more", '{"requires_check": true}'
    )
    new = begun.secret
    told = " ".join(begun.err.split())
    (rotation_id,) = set(re.findall(r"rot_\w{22}", begun.out))
    assert f"keyturn rotation prove {rotation_id} < new-key.txt" in told
    assert f"keyturn rotation approve {rotation_id}" in told
    wrong = program.run("rotation", "prove", rotation_id, given=key["key"])
    assert (wrong.status, wrong.out) == (1, "")
    assert not is_valid(program, new)
    proved = program.process("rotation", "prove", rotation_id, given=f"{new}\n")
    assert proved.status == 0, proved.err
    assert f"keyturn rotation approve {rotation_id}" in proved.err
    assert f"rotation prove {rotation_id}" not in proved.err
    assert new not in proved.out + proved.err
    approved = program.run("rotation", "approve", rotation_id, "--json").json
    assert (approved["stage"], approved["awaited"]) == ("window", [])
    assert is_valid(program, new)
    assert not is_valid(program, key["key"])


def test_a_proof_is_asked_for_at_a_terminal_and_never_taken_as_an_argument(program: Program) -> None:
    key = program.issue()
    begun = rotated(program, key["key_id"], "--strategy", "blue_green")
    refused = program.run("rotation", "prove", begun["rotation_id"], begun["key"])
    assert refused.status == 2
    assert begun["key"] not in refused.out + refused.err
    assert program.run("rotation", "prove", begun["rotation_id"]).status == 2
    done = program.at_terminal(
        "rotation", "prove", begun["rotation_id"], answers={"New key: ": begun["key"] + "\n"}
    )
    assert done.status == 0, done.out
    assert begun["key"] not in done.out
    assert is_valid(program, begun["key"])


def test_a_code_is_made_and_redeemed_once(program: Program) -> None:
    key = program.issue()
    waiting = program.run("rotate", key["key_id"], "--keep-secret")
    (rotation_id,) = set(re.findall(r"rot_\w{22}", waiting.out))
    assert f"keyturn rotation offer-code {rotation_id}" in waiting.err
    offered = program.process("rotation", "offer-code", rotation_id, "--lifetime", "10m")
    assert offered.status == 0, offered.err
    code = offered.secret
    assert code.startswith("ktpick_")
    redeemed = program.process("rotation", "redeem-code", given=f"{code}\n")
    assert redeemed.status == 0, redeemed.err
    assert is_valid(program, redeemed.secret)
    again = program.run("rotation", "redeem-code", given=f"{code}\n")
    assert (again.status, again.out) == (1, "")
    assert "used before" in again.err
    assert code not in again.err + offered.err + redeemed.err + redeemed.out
    typed = program.run("rotation", "redeem-code", code)
    assert typed.status == 2
    assert code not in typed.err


def test_a_code_or_a_secret_that_cannot_be_written_out_is_told_of(program: Program) -> None:
    waiting = rotated(program, program.issue()["key_id"], "--keep-secret")
    for command in ("offer-code", "pick-up"):
        done = program.shell(f"keyturn rotation {command} {waiting['rotation_id']} --json > /dev/full")
        assert (done.status, done.error["code"]) == (1, "secret_not_shown")


def test_what_else_a_rotation_can_be_told_is_said_with_more(program: Program) -> None:
    key = program.issue("--type", "hmac")
    more = ("--strategy", "gradual", "--more", '{"shares": [50, 100], "dwell": 60}')
    preview = program.json("rotation", "preview", key["key_id"], *more)
    assert [stage["share"] for stage in preview["stages"]][:1] == [50]
    assert rotated(program, key["key_id"], *more)["share"] == 50
    unknown = program.run("rotate", key["key_id"], "--more", '{"dwel": 60}', "--json")
    assert (unknown.status, unknown.error["field"]) == (1, "dwel")


def test_the_secret_of_a_leaked_key_does_not_wait(program: Program) -> None:
    key = program.issue("--owner", "acme")
    for named in ((key["key_id"],), ("--owner", "acme")):
        done = program.run("rotate", *named, "--compromised", "--keep-secret", "--json")
        assert (done.status, done.out) == (1, "")
        assert json.loads(done.err.splitlines()[-1])["field"] == "keep_secret"
    assert is_valid(program, key["key"])


MONTHLY: Final = ("--frequency", "monthly", "--strategy", "overlapping")


def test_a_policy_takes_fields_as_it_shows_them(program: Program) -> None:
    key = program.issue()
    made = program.json(
        "policy", "create", "first", *MONTHLY, "--scope", "read", "--key", key["key_id"],
        "--more", '{"blackouts": [{"cron": "0 18 * * FRI", "duration": 3600},'
        ' {"starts_at": "2026-12-24T00:00:00Z", "ends_at": "2026-12-27T00:00:00Z"}], "notices": [86400]}',
    )  # fmt: skip
    assert (made["keys"]["scopes"], made["keys"]["key_ids"]) == (["read"], [key["key_id"]])
    assert made["blackouts"][1]["ends_at"].startswith("2026-12-27T00:00:00")
    taken = {name: value for name, value in made.items() if name not in {
        "policy_id", "frequency", "strategy", "paused", "created_at", "updated_at"}}  # fmt: skip
    again = program.json("policy", "create", "second", *MONTHLY, "--more", json.dumps(taken))
    assert {name: again[name] for name in taken} == taken
    changed = program.json(
        "policy", "update", "second", "--more", '{"keys": {"types": ["hmac"]}}', "--may-select-none"
    )
    assert (changed["keys"]["types"], changed["keys"]["scopes"]) == (["hmac"], [])
    by_more = '{"frequency": "weekly", "strategy": "immediate"}'
    assert program.json("policy", "create", "third", "--more", by_more)["frequency"] == "weekly"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('{"overlp": 60}', "overlp"),
        ('{"policy_id": "other"}', "policy_id"),
        ('{"keys": ["key_a"]}', "keys"),
        ('{"keys": {"colours": []}}', "keys.colours"),
        ('{"keys": {"types": ["dog"]}}', "keys.types"),
        ('{"keys": {"owners": "acme"}}', "owners"),
        ('{"blackouts": [5]}', "blackouts"),
        ('{"blackouts": {"cron": "0 0 * * *"}}', "blackouts"),
        ('{"blackouts": [{"starts_at": "soon", "ends_at": "later"}]}', "blackouts"),
        ('{"time_zone": 5}', "time_zone"),
    ],
)
def test_a_field_that_a_policy_cannot_have_is_named(program: Program, more: str, field: str) -> None:
    program.json("policy", "create", "q", *MONTHLY)
    for arguments in (("create", "p", *MONTHLY), ("update", "q")):
        done = program.run("policy", *arguments, "--more", more, "--json")
        assert (done.status, done.out) == (1, "")
        assert "Traceback" not in done.err
        assert done.error.get("field", "") == field


def test_what_an_option_and_more_both_say_is_refused(program: Program) -> None:
    done = program.run("policy", "create", "p", *MONTHLY, "--more", '{"frequency": "weekly"}')
    assert done.status == 2
    assert "frequency" in done.err
