"""Endpoints of notices from the command line, with real receivers and a real server beside it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey
from standardwebhooks.webhooks import Webhook

from tests.cli.program import Program
from tests.contract.waiting import until
from tests.notices.receiver import Receiver, receiving
from tests.running_server import RunningServer

COMMANDS = (
    "create",
    "list",
    "show",
    "update",
    "delete",
    "rotate-secret",
    "dead-letters",
    "redeliver",
    "dismiss",
    "test",
)
SECONDS = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def telling(program: Program) -> Program:
    """The program where notices may go to this machine."""
    program.environment["KEYTURN_NOTICES_ALLOW"] = "127.0.0.0/8"
    return program


def made(program: Program, *arguments: str) -> dict[str, Any]:
    done = program.run("endpoint", "create", *arguments, "--json")
    assert done.status == 0, done.err
    found: dict[str, Any] = done.json
    return found


def test_help_lists_the_commands(program: Program) -> None:
    done = program.run("endpoint", "--help")
    assert re.findall(r"^│ ([a-z][a-z-]*) ", done.out, re.MULTILINE) == list(COMMANDS)
    for command in COMMANDS:
        assert program.run("endpoint", command, "--help").status == 0


def test_the_secret_is_the_last_line_this_once(program: Program) -> None:
    done = program.run("endpoint", "create", "https://hooks.example.org/k", "--event", "key_revoked")
    assert done.status == 0
    assert done.secret.startswith("whsec_")
    assert "shown this once" in done.err
    (listed,) = program.run("endpoint", "list", "--json").json["items"]
    shown = program.run("endpoint", "show", listed["endpoint_id"], "--json")
    assert shown.json["events"] == ["key_revoked"]
    assert done.secret not in shown.out + program.run("endpoint", "list").out
    again = program.run("endpoint", "rotate-secret", listed["endpoint_id"], "--overlap", "0")
    assert again.secret.startswith("whsec_")
    assert again.secret != done.secret


def test_an_endpoint_is_changed_and_deleted(program: Program) -> None:
    endpoint_id = made(program, "mailto:ops@example.org", "--every-event")["endpoint_id"]
    changed = program.run(
        "endpoint", "update", endpoint_id, "--event", "key_expiring", "--url", "mailto:sec@example.org",
        "--pause", "--json",
    ).json  # fmt: skip
    assert (changed["url"], changed["events"], changed["every_event"], changed["paused"]) == (
        "mailto:sec@example.org",
        ["key_expiring"],
        False,
        True,
    )
    assert "paused" in program.run("endpoint", "list").out
    assert program.run("endpoint", "update", endpoint_id, "--resume", "--json").json["paused"] is False
    assert program.run("endpoint", "update", endpoint_id, "--pause", "--resume").status == 2
    assert program.run("endpoint", "update", endpoint_id).status == 1
    assert program.run("endpoint", "delete", endpoint_id).status == 0
    assert program.run("endpoint", "show", endpoint_id, "--json").error["code"] == "not_found"


def test_an_endpoint_is_tried_out_as_it_will_be_told(telling: Program, receiver: Receiver) -> None:
    endpoint = made(telling, receiver.url, "--event", "key_revoked")
    done = telling.run("endpoint", "test", endpoint["endpoint_id"])
    assert (done.status, done.out) == (0, "It was delivered.\n")
    (got,) = receiver.got
    told = Webhook(endpoint["secret"]).verify(got.body, got.fields)
    assert (told["type"], told["data"]["subjects"]) == ("endpoint_tested", [endpoint["endpoint_id"]])
    receiver.statuses = [503]
    failed = telling.run("endpoint", "test", endpoint["endpoint_id"], "--json")
    assert (failed.status, failed.json) == (1, {"delivered": False, "why": "the receiver answered 503"})
    assert telling.run("endpoint", "show", endpoint["endpoint_id"], "--json").json["pending"] == 0


def test_trying_out_goes_nowhere_that_notices_may_not_go(program: Program, receiver: Receiver) -> None:
    endpoint = made(program, receiver.url, "--every-event")
    assert program.run("endpoint", "test", endpoint["endpoint_id"]).status == 1
    assert receiver.got == []
    mail = made(program, "mailto:ops@example.org", "--every-event")["endpoint_id"]
    refused = program.run("endpoint", "test", mail, "--json")
    assert refused.status == 1
    assert "KEYTURN_SMTP" in refused.error["fix"]


def test_what_was_given_up_is_listed_and_delivered_again(
    telling: Program, receiver: Receiver, tmp_path: Path
) -> None:
    endpoint_id = made(telling, receiver.url, "--event", "key_created")["endpoint_id"]
    telling.issue()
    receiver.statuses = [410]
    with RunningServer(telling.environment["KEYTURN_STORE"], KEYTURN_NOTICES_ALLOW="127.0.0.0/8"):
        until(lambda: bool(telling.run("endpoint", "dead-letters", endpoint_id).out), SECONDS)
        (dead,) = telling.run("endpoint", "dead-letters", endpoint_id, "--json").json["items"]
        assert (dead["attempts"], dead["why"]) == (1, "the receiver answered 410")
        assert "410" in telling.run("endpoint", "dead-letters", endpoint_id).out
        refused = telling.run("endpoint", "redeliver", endpoint_id, "--position", "1", "--json")
        assert refused.error["code"] == "not_found"
        assert telling.run("endpoint", "redeliver", endpoint_id).status == 0
        until(lambda: len(receiver.got) == 2, SECONDS)
        until(lambda: not telling.run("endpoint", "dead-letters", endpoint_id).out, SECONDS)


def test_what_was_given_up_is_dismissed(telling: Program, receiver: Receiver) -> None:
    endpoint_id = made(telling, receiver.url, "--event", "key_created")["endpoint_id"]
    telling.issue()
    receiver.statuses = [410]
    with RunningServer(telling.environment["KEYTURN_STORE"], KEYTURN_NOTICES_ALLOW="127.0.0.0/8"):
        until(lambda: bool(telling.run("endpoint", "dead-letters", endpoint_id).out), SECONDS)
        refused = telling.run("endpoint", "dismiss", endpoint_id, "--position", "1", "--json")
        assert refused.error["code"] == "not_found"
        assert (
            telling.run("endpoint", "dismiss", endpoint_id).out == "0 deliveries are pending, 0 are dead.\n"
        )
    assert telling.run("endpoint", "dead-letters", endpoint_id).out == ""
    assert len(receiver.got) == 1


def test_a_server_announces_by_itself_what_is_about_to_happen(telling: Program, receiver: Receiver) -> None:
    made(telling, receiver.url, "--event", "key_expiring", "--event", "key_created")
    key = telling.issue("--expires-in", str(7 * 86_400 + 1))
    time.sleep(1.5)  # the second by which it lives for more than a week
    with RunningServer(telling.environment["KEYTURN_STORE"], KEYTURN_NOTICES_ALLOW="127.0.0.0/8"):
        until(lambda: len(receiver.got) == 2, SECONDS)
    first, second = (json.loads(got.body) for got in receiver.got)
    assert (first["type"], second["type"]) == ("key_created", "key_expiring")
    assert second["data"]["subjects"] == [key["key_id"]]
    assert second["data"]["details"]["notice"] == 7 * 86_400


def test_check_announces_too(program: Program) -> None:
    program.issue("--expires-in", str(7 * 86_400 + 1))
    time.sleep(1.5)
    assert "1 announced" in program.run("rotation", "check").err
    assert "0 announced" in program.run("rotation", "check").err


def test_a_new_secret_goes_encrypted_to_the_receiver_in_a_file(
    telling: Program, receiver: Receiver, tmp_path: Path
) -> None:
    private, file = ECKey.generate_key("P-256"), tmp_path / "receiver.jwk"
    file.write_text(json.dumps(private.as_dict(private=False)))
    endpoint = made(
        telling, receiver.url, "--event", "rotation_started", "--receiver-key", str(file), "--owner", "acme"
    )
    assert endpoint["receiver"]["owners"] == ["acme"]
    key = telling.issue("--owner", "acme")
    assert telling.run("rotate", key["key_id"], "--keep-secret").status == 0
    with RunningServer(telling.environment["KEYTURN_STORE"], KEYTURN_NOTICES_ALLOW="127.0.0.0/8"):
        until(lambda: bool(receiver.got), SECONDS)
        rotation_id = json.loads(receiver.got[0].body)["data"]["subjects"][1]
        until(
            lambda: telling.run("rotation", "show", rotation_id, "--json").json["stage"] == "overlap", SECONDS
        )
    token = json.loads(receiver.got[0].body)["data"]["sealed_secret"]
    opened = jwe.decrypt_compact(token, private, algorithms=["ECDH-ES+A256KW", "A256GCM"]).plaintext
    assert opened is not None
    assert telling.run("verify", given=json.loads(opened)["key"]).status == 0
    assert json.loads(opened)["key"].encode() not in receiver.got[0].body
    changed = telling.run("endpoint", "update", endpoint["endpoint_id"], "--no-receiver", "--json")
    assert changed.json["receiver"] is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no JWK"),
        ("[]", "holds no JWK"),
        ("x" * 20_000, "holds no JWK"),
        (json.dumps(ECKey.generate_key("P-256").as_dict(private=True)), "private key"),
    ],
    ids=["empty", "a list", "too long", "a private key"],
)
def test_a_file_that_holds_no_public_key_is_refused(
    program: Program, tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "receiver.jwk"
    file.write_text(content)
    done = program.run(
        "endpoint", "create", "https://hooks.example.org/k", "--every-event",
        "--receiver-key", str(file), "--every-owner",
    )  # fmt: skip
    assert done.status != 0
    assert says in done.err
    missing = program.run("endpoint", "create", "https://a.example/", "--every-event", "--every-owner")
    assert missing.status == 2
