"""Keys from the command line: issuing, reading, changing and ending them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.domain.instants import parse_rfc3339, rfc3339
from tests.cli.program import TOKEN, Program

KEY = {"key_id", "version", "tenant", "type", "scope", "length", "algorithm", "state", "state_changed_at", "reason",
       "name", "owner", "prefix", "permissions", "allowed_ips", "metadata", "tags", "recoverable", "created_at",
       "updated_at", "not_before", "expires_at", "profile", "rotation_policy_id", "rotation", "rotated_at",
       "published_for"}  # fmt: skip
VERIFICATION = {"valid", "code", "key_id", "version", "owner", "scope", "permissions", "metadata", "expires_at",
                "rate_limits", "credits", "as_of"}  # fmt: skip


def in_(**time: float) -> str:
    return rfc3339(datetime.now(UTC) + timedelta(**time))


def test_every_option_of_issue_reaches_the_key(program: Program) -> None:
    until = in_(days=30)
    issued = program.issue(
        "--type", "provisioning", "--scope", "read_write", "--length", "4096", "--name", "gateway", "--owner", "acme",
        "--prefix", "acme_live", "--expires-at", until, "--not-before", "2026-01-31T13:00:00+01:00",
        "--permission", "keys.verify", "--permission", "documents.*", "--allow-ip", "203.0.113.0/24",
        "--allow-ip", "::1", "--metadata", '{"plan": "pro"}', "--tag", "one", "--tag", "two", "--recoverable",
        "--require-scope", "read", "--require-permissions", "documents.read AND NOT beta",
    )  # fmt: skip
    assert issued.keys() == KEY | {"key", "public_key"}
    expected = {
        "type": "provisioning", "scope": "read_write", "length": 4096, "name": "gateway", "owner": "acme",
        "prefix": "acme_live", "expires_at": until, "not_before": "2026-01-31T12:00:00.000000Z",
        "permissions": ["keys.verify", "documents.*"], "allowed_ips": ["203.0.113.0/24", "::1"],
        "metadata": {"plan": "pro"}, "tags": ["one", "two"], "recoverable": True, "tenant": "default",
        "state": "active", "profile": {"scope": "read", "permissions": "documents.read AND NOT beta"},
    }  # fmt: skip
    assert expected.items() <= issued.items()
    assert issued["key"].startswith("acme_live_")
    assert program.json("show", issued["key_id"]) == {name: issued[name] for name in KEY}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("3600", 3_600), ("90s", 90), ("45m", 2_700), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)],
)
def test_a_lifetime_is_seconds_or_has_a_unit(program: Program, given: str, seconds: int) -> None:
    issued = program.issue("--expires-in", given)
    lifetime = parse_rfc3339(issued["expires_at"]) - parse_rfc3339(issued["created_at"])
    assert abs(lifetime.total_seconds() - seconds) < 5


def test_the_secret_is_alone_on_the_last_line_and_the_note_elsewhere(program: Program) -> None:
    done = program.process("issue", "--owner", "acme")
    assert done.status == 0
    assert TOKEN.findall(done.out) == [done.secret]
    assert "shown this once" in done.err
    assert program.verify(done.secret)["owner"] == "acme"


def test_a_verification_has_the_contract_s_names(program: Program) -> None:
    issued = program.issue("--owner", "acme", "--permission", "documents.*", "--metadata", '{"plan": "pro"}')
    answer = program.verify(issued["key"], "--scope", "read", "--permissions", "documents.read")
    assert answer.keys() == VERIFICATION
    expected = {"valid": True, "code": "valid", "key_id": issued["key_id"], "version": 1, "owner": "acme",
                "scope": "read", "permissions": ["documents.*"], "metadata": {"plan": "pro"}}  # fmt: skip
    assert expected.items() <= answer.items()


@pytest.mark.parametrize(
    ("issuing", "verifying", "code"),
    [
        ((), ("--scope", "write"), "insufficient_scope"),
        ((), ("--permissions", "documents.read"), "insufficient_permissions"),
        (("--allow-ip", "203.0.113.9"), (), "ip_denied"),
        (("--allow-ip", "203.0.113.9"), ("--ip", "203.0.113.10"), "ip_denied"),
        (("--allow-ip", "203.0.113.9"), ("--ip", "203.0.113.9"), "valid"),
        (("--not-before", "2100-01-01T00:00:00Z"), (), "not_yet_valid"),
        (("--tenant", "other"), (), "not_found"),
        (("--tenant", "other"), ("--tenant", "other"), "valid"),
    ],
)
def test_verify_says_what_is_missing(
    program: Program, issuing: tuple[str, ...], verifying: tuple[str, ...], code: str
) -> None:
    assert program.verify(program.issue(*issuing)["key"], *verifying)["code"] == code


@pytest.mark.parametrize("given", ["kt_nonsense", "nonsense", "\x00", "kt_" + "0" * 65])
def test_what_is_no_key_is_malformed(program: Program, given: str) -> None:
    assert program.verify(given)["code"] == "malformed"


def test_bytes_that_are_no_text_are_malformed(program: Program) -> None:
    done = program.run("verify", "--json", given=b"\xff\xfe\x80\n")
    assert (done.status, done.json["code"]) == (1, "malformed")


def test_only_the_first_line_is_the_key(program: Program) -> None:
    token = program.issue()["key"]
    assert program.run("verify", given=f"  {token}\r\nsomething else\n").status == 0


def test_update_changes_what_is_named_and_keeps_the_rest(program: Program) -> None:
    issued = program.issue(
        "--name", "old", "--tag", "x", "--permission", "documents.read", "--expires-in", "1d"
    )
    changed = program.json(
        "update", issued["key_id"], "--name", "new", "--scope", "full", "--metadata", '{"a": 1}',
        "--allow-ip", "10.0.0.0/8", "--permission", "a.b", "--permission", "c.d",
    )  # fmt: skip
    expected = {"name": "new", "scope": "full", "metadata": {"a": 1}, "allowed_ips": ["10.0.0.0/8"],
                "permissions": ["a.b", "c.d"], "tags": ["x"], "expires_at": issued["expires_at"]}  # fmt: skip
    assert expected.items() <= changed.items()
    assert program.json("show", issued["key_id"]) == changed


def test_update_clears_fields(program: Program) -> None:
    issued = program.issue(
        "--name", "old", "--tag", "x", "--permission", "a.b", "--expires-in", "1d", "--metadata", '{"a": 1}',
        "--allow-ip", "10.0.0.1", "--not-before", "2026-01-01T00:00:00Z",
    )  # fmt: skip
    fields = ("name", "tags", "permissions", "expires_at", "metadata", "allowed_ips", "not_before")
    changed = program.json(
        "update", issued["key_id"], *(part for field in fields for part in ("--clear", field))
    )
    assert [changed[field] for field in fields] == [None, [], [], None, {}, [], None]


def test_what_a_gateways_key_requires_is_replaced_whole_and_cleared(program: Program) -> None:
    key_id = program.issue("--type", "provisioning", "--require-scope", "write")["key_id"]
    assert program.json("show", key_id)["profile"] == {"scope": "write", "permissions": None}
    changed = program.json("update", key_id, "--require-permissions", "a.b OR c")
    assert changed["profile"] == {"scope": None, "permissions": "a.b OR c"}
    assert '{"scope": null, "permissions": "a.b OR c"}' in program.run("show", key_id).out
    assert program.json("update", key_id, "--clear", "profile")["profile"] is None
    done = program.run("issue", "--require-scope", "read")
    assert done.status == 1
    assert "profile" in done.err


def test_a_key_lives_and_ends(program: Program) -> None:
    issued = program.issue()
    key_id, token = issued["key_id"], issued["key"]
    acts: list[tuple[tuple[str, ...], str, str]] = [
        (("suspend", "--note", "looks odd"), "suspended", "suspended"),
        (("resume",), "active", "valid"),
        (("revoke", "--reason", "superseded"), "deactivated", "revoked"),
        (("revoke", "--reason", "keyCompromise"), "compromised", "revoked"),
        (("destroy", "--yes"), "destroyed", "revoked"),
    ]
    for (command, *more), state, code in acts:
        assert program.json(command, key_id, *more)["state"] == state
        assert program.verify(token)["code"] == code
    assert program.run("show", key_id).out.count("destroyed") == 1


def test_acts_are_told_in_a_sentence(program: Program) -> None:
    key_id = program.issue()["key_id"]
    for command, state in (("suspend", "suspended"), ("resume", "active"), ("revoke", "deactivated")):
        assert program.run(command, key_id).out == f"{key_id} is now {state}.\n"
    assert program.run("destroy", "--yes", key_id).out == f"{key_id} is now destroyed.\n"


def test_an_owner_is_revoked_at_once(program: Program) -> None:
    tokens = [program.issue("--owner", "acme")["key"] for _ in range(3)]
    other = program.issue("--owner", "other")["key"]
    assert program.json("revoke", "--owner", "acme") == {"owner": "acme", "revoked": 3}
    assert {program.verify(token)["code"] for token in tokens} == {"revoked"}
    assert program.verify(other)["valid"]
    assert (
        program.run("revoke", "--owner", "other").out == "The owner other is revoked: 1 key ends with it.\n"
    )


def test_usage_counts_what_was_verified(program: Program) -> None:
    issued = program.issue()
    for _ in range(2):
        program.verify(issued["key"], "--ip", "203.0.113.9")
    program.verify(issued["key"], "--scope", "admin")
    usage = program.json("usage", issued["key_id"], "--since", "1h")
    assert (usage["total"], usage["refused"], usage["last_ip"]) == (
        2,
        {"insufficient_scope": 1},
        "203.0.113.9",
    )
    assert sum(minute["count"] for minute in usage["by_minute"]) == 2
    shown = program.run("usage", issued["key_id"], "--since", in_(days=-1)).out
    assert "insufficient_scope" in shown
    assert rfc3339(datetime.now(UTC))[:10] in shown


@pytest.fixture
def five(program: Program) -> list[dict[str, Any]]:
    """Five keys, newest first, of which each is told apart by a filter; and before them the first one."""
    issued = [
        program.issue("--owner", "acme", "--tag", "red"),
        program.issue("--type", "hmac", "--scope", "write"),
        program.issue("--prefix", "live", "--name", "needle in hay"),
        program.issue("--expires-in", "1h"),
        program.issue(),
    ]
    program.json("suspend", issued[4]["key_id"])
    program.verify(issued[0]["key"])
    return issued[::-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--owner", "acme"), [4]),
        (("--tag", "red"), [4]),
        (("--type", "hmac"), [3]),
        (("--scope", "write"), [3]),
        (("--prefix", "live"), [2]),
        (("--q", "needle"), [2]),
        (("--expires-before", in_(hours=2)), [1]),
        (("--state", "suspended"), [0]),
        (("--unused-since", in_(minutes=-5), "--owner", "acme"), []),
        (("--owner", "nobody"), []),
        (("--tenant", "other"), []),
    ],
)
def test_lists_are_filtered(
    program: Program, five: list[dict[str, Any]], options: tuple[str, ...], expected: list[int]
) -> None:
    listed = program.json("list", *options)
    assert [key["key_id"] for key in listed["items"]] == [five[number]["key_id"] for number in expected]
    assert listed["next_cursor"] is None


def test_pages_go_on_where_the_last_one_ended(program: Program, five: list[dict[str, Any]]) -> None:
    first = program.json("list", "--limit", "4")
    second = program.json("list", "--limit", "4", "--cursor", first["next_cursor"])
    assert len(first["items"]) == 4
    assert [key["key_id"] for key in first["items"] + second["items"]][:5] == [key["key_id"] for key in five]
    assert second["next_cursor"] is None


def test_all_follows_every_page(program: Program, five: list[dict[str, Any]]) -> None:
    listed = program.json("list", "--all", "--limit", "2")
    assert [key["key_id"] for key in listed["items"]][:5] == [key["key_id"] for key in five]
    assert (len(listed["items"]), listed["next_cursor"]) == (6, None)
    lines = program.process("list", "--all", "--limit", "2").out.splitlines()
    assert lines[0].split() == ["KEY_ID", "STATE", "TYPE", "SCOPE", "EXPIRES", "OWNER", "NAME"]
    assert [line.split()[0] for line in lines[1:6]] == [key["key_id"] for key in five]
    assert len(lines) == 7


def test_a_page_that_is_not_the_last_says_how_to_go_on(program: Program, five: list[dict[str, Any]]) -> None:
    done = program.run("list", "--limit", "2")
    cursor = json.loads(program.run("list", "--limit", "2", "--json").out)["next_cursor"]
    assert f"--cursor {cursor}" in done.err
    assert cursor not in done.out


def test_an_expired_key_is_shown_as_such_to_people(program: Program) -> None:
    key_id = program.issue("--expires-in", "1s")["key_id"]
    while not parse_rfc3339(program.json("show", key_id)["expires_at"]) < datetime.now(UTC):
        pass
    assert program.run("list").out.splitlines()[1].split()[:2] == [key_id, "expired"]
    assert "active (expired)" in program.run("show", key_id).out
    assert program.json("show", key_id)["state"] == "active"


def test_an_owner_without_keys_is_revoked_with_a_warning(program: Program) -> None:
    """Whoever mistypes an owner in an emergency must not believe that it is over."""
    program.issue("--owner", "acme")
    done = program.run("revoke", "--owner", "acne")
    assert done.status == 0
    assert "WARNING: the owner acne has no keys in the tenant default: is the id right?" in done.err
    for _ in range(2):  # one whose keys have ended is known
        assert "WARNING" not in program.run("revoke", "--owner", "acme").err
    as_json = program.run("revoke", "--owner", "acne", "--json")
    assert (as_json.status, as_json.error["level"]) == (0, "warning")


def test_fields_at_a_terminal_are_not_filled_up_with_spaces(program: Program) -> None:
    key_id = program.issue("--name", "a" * 60)["key_id"]
    shown = program.at_terminal("show", key_id).out
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert len(lines) > 10
    assert [line for line in lines if line != line.rstrip()] == []
