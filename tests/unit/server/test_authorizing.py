"""A gateway's question where memory does not answer: what is loaded, what fails, and that failing lets nobody pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import IntegrityError, StorageError
from keyturn.server.authorizing import AuthorizeEndpoint
from keyturn.server.deciding import Decider
from keyturn.server.gateway_answers import Reply, answer_to
from keyturn.server.measured import Measured
from keyturn.verifier.throttle import FAILURE_BURST
from tests.fakes import Process, Site, token_of

IP: Final = "203.0.113.9"


def gateway_of(process: Process, **spec: Any) -> GeneratedKey:
    return process.issue(key_type=KeyType.PROVISIONING, **{"permissions": ("keys.verify",), **spec})


def asked(
    process: Process, gateway: GeneratedKey | str, key: GeneratedKey | str, client: str | None = None
) -> Reply:
    """The answer to one question."""
    (reply,) = asked_together(process, [(gateway, key)], client)
    return reply


def asked_together(
    process: Process,
    questions: Iterable[tuple[GeneratedKey | str, GeneratedKey | str]],
    client: str | None = None,
) -> list[Reply]:
    """The answers to several, asked on one loop before any of them is awaited."""

    async def ask() -> list[Reply]:
        decider = Decider(verifier=process.node.verifier, log=process.node.records.log)
        endpoint = AuthorizeEndpoint(verifier=process.node.verifier, decider=decider, measured=Measured())
        try:
            answers = [endpoint.answer(fields(*question), b"", None, client) for question in questions]
            return [answer if isinstance(answer, Reply) else await answer for answer in answers]
        finally:
            decider.close()

    return asyncio.run(ask())


def fields(gateway: GeneratedKey | str, key: GeneratedKey | str) -> list[tuple[bytes, bytes]]:
    return [
        (b"keyturn-gateway-key", token_of(gateway).encode()),
        (b"authorization", b"Bearer " + token_of(key).encode()),
    ]


def code_of(reply: Reply) -> str:
    (code,) = [line[16:] for line in reply.head.split(b"\r\n") if line.startswith(b"x-keyturn-code: ")]
    return code.decode()


@pytest.mark.parametrize("is_gateway_warm", [False, True])
@pytest.mark.parametrize("is_client_warm", [False, True])
def test_what_is_cold_is_loaded_and_what_is_warm_is_answered_at_once(
    ours: Process, is_gateway_warm: bool, is_client_warm: bool
) -> None:
    gateway, key = gateway_of(ours), ours.issue()
    for warm, one in ((is_gateway_warm, gateway), (is_client_warm, key)):
        if warm:
            assert ours.ask(one)
    before = ours.ledger.calls["read_credential"]
    assert asked(ours, gateway, key).status == 200
    assert ours.ledger.calls["read_credential"] - before == 2 - is_gateway_warm - is_client_warm
    ours.ledger.fail(AssertionError("the ledger was asked"))
    assert asked(ours, gateway, key).status == 200


def test_a_cold_client_is_refused_by_what_is_required(ours: Process) -> None:
    gateway = gateway_of(ours, profile={"permissions": "a.b"})
    for granted, code in ((("a.b",), "valid"), (("a.c",), "insufficient_permissions")):
        key = ours.issue(permissions=granted)
        assert code_of(asked(ours, gateway, key)) == code
        assert code_of(asked(ours, gateway, key)) == code


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
@pytest.mark.parametrize("whose", ["the gateway's", "the client's", "both"])
def test_a_store_that_fails_lets_nobody_pass_and_is_nobodys_fault(
    site: Site, ours: Process, error: Exception, code: str, whose: str
) -> None:
    gateway, key = gateway_of(ours), ours.issue()
    for warm, one in ((whose == "the client's", gateway), (whose == "the gateway's", key)):
        if warm:
            assert ours.ask(one)
    ours.ledger.fail(error, "read_credential")
    reply = asked(ours, gateway, key)
    assert (reply.status, code_of(reply)) == (503, code)
    assert (b"retry-after: 1\r\n" in reply.head) is (code == "stale")


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("gone"), "stale"), (IntegrityError("altered"), "integrity_failed")]
)
def test_a_node_that_cannot_read_the_log_lets_nobody_pass(
    site: Site, ours: Process, error: Exception, code: str
) -> None:
    gateway, key = gateway_of(ours), ours.issue()
    assert asked(ours, gateway, key).status == 200
    site.clock.pass_time(60.0)
    ours.ledger.fail(error, "read_log")
    for reply in asked_together(ours, [(gateway, key)] * 3):
        assert (reply.status, code_of(reply)) == (503, code)


def test_a_revocation_elsewhere_holds_once_the_bound_has_passed(
    site: Site, ours: Process, theirs: Process
) -> None:
    gateway, key, other = gateway_of(ours), ours.issue(), ours.issue()
    assert asked(ours, gateway, key).status == 200
    theirs.revoke(key)
    site.clock.pass_time(1.1)
    assert code_of(asked(ours, gateway, key)) == "revoked"
    theirs.revoke(gateway)
    site.clock.pass_time(1.1)
    assert code_of(asked(ours, gateway, other)) == "gateway_unauthenticated"


def test_a_client_that_guesses_is_throttled(ours: Process) -> None:
    gateway = gateway_of(ours)
    guesses = [(gateway, ours.make()) for _ in range(FAILURE_BURST + 1)]
    replies = asked_together(ours, guesses, IP)
    assert [code_of(reply) for reply in replies] == ["not_found"] * FAILURE_BURST + ["throttled"]
    assert replies[-1].status == 429
    assert b"retry-after: 1\r\n" in replies[-1].head


# Answers


def invalid(process: Process, code: Code) -> Verification:
    return Verification(code, process.node.records.log.as_of)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.VALID])
def test_no_code_but_valid_passes(ours: Process, code: Code) -> None:
    reply = answer_to(invalid(ours, code))
    assert reply.status in (401, 403, 429, 503)
    assert code_of(reply) == code.value
    assert b"x-keyturn-valid: false\r\n" in reply.head
    assert f'"code":"{code.value}"'.encode() in reply.body


@pytest.mark.parametrize("make", [lambda p: p.issue(owner="a\u00e9"), lambda p: p.issue()])
def test_what_is_said_is_visible_and_on_lines_of_its_own(
    ours: Process, make: Callable[[Process], GeneratedKey]
) -> None:
    reply = answer_to(ours.ask(make(ours)))
    lines = reply.head.decode("ascii").split("\r\n")
    assert lines.pop() == ""
    for line in lines:
        name, separator, value = line.partition(": ")
        assert name.replace("-", "").isalnum()
        assert separator
        assert value.isprintable()
