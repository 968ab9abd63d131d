"""Notices by mail, to a real SMTP server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message as Mail
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from keyturn.adapters.notifier.smtp import MailNotifier, MailServer
from keyturn.domain.notices.destination import Destination
from keyturn.ports.notifier import Message, Outcome
from tests.fakes import BY, Process
from tests.free_ports import free_port


class Inbox:
    """What the server has taken; `refused` are recipients that it does not take."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.refused: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content))
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, MailServer]]:
    found, port = Inbox(), free_port()
    controller = Controller(found, hostname="127.0.0.1", port=port)
    controller.start()
    yield (
        found,
        MailServer(host="127.0.0.1", port=port, sender="keyturn@example.org", is_plain=True),
    )
    controller.stop()


def message(url: str) -> Message:
    return Message(
        to=Destination.of(url),
        id="msg_LOG_7",
        type="rotation_failed",
        at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        subjects=("key_1",),
        body=b'{"data":{"details":{"last_ip":"203.0.113.9"}}}',
    )


def test_a_mail_says_what_happened_to_what_and_nothing_else(inbox: tuple[Inbox, MailServer]) -> None:
    found, server = inbox
    assert MailNotifier(server).deliver(message("mailto:ops@example.org")) == Outcome(True)
    (mail,) = found.mails
    assert found.envelopes == [("keyturn@example.org", ["ops@example.org"])]
    assert mail["Subject"] == "Keyturn: rotation_failed key_1"
    assert mail["Message-ID"] == "<msg_LOG_7@example.org>"
    text = mail.as_string()
    assert "2026-03-01T12:00:00.000000Z" in text
    assert "203.0.113.9" not in text


def test_a_recipient_who_is_refused_for_good_is_not_tried_again(inbox: tuple[Inbox, MailServer]) -> None:
    found, server = inbox
    found.refused = {"gone@example.org": "550 no such user", "busy@example.org": "450 later"}
    notifier, why = MailNotifier(server), "the mail server refused the recipient"
    assert notifier.deliver(message("mailto:gone@example.org")) == Outcome(False, why, is_final=True)
    assert notifier.deliver(message("mailto:busy@example.org")) == Outcome(False, why)


def test_without_tls_no_mail_goes_to_a_server_that_is_not_said_to_be_plain(
    inbox: tuple[Inbox, MailServer],
) -> None:
    found, server = inbox
    encrypted = MailServer(host=server.host, port=server.port, sender=server.sender)
    assert not MailNotifier(encrypted).deliver(message("mailto:ops@example.org")).delivered
    assert found.mails == []


def test_a_mail_server_that_is_not_there_is_a_failure() -> None:
    server = MailServer(host="127.0.0.1", port=free_port(), sender="keyturn@example.org", is_plain=True)
    outcome = MailNotifier(server).deliver(message("mailto:ops@example.org"))
    assert outcome == Outcome(False, "the mail server could not be reached: ConnectionRefusedError")


def test_an_endpoint_can_be_a_mailbox(process: Process, inbox: tuple[Inbox, MailServer]) -> None:
    found, server = inbox
    made = process.node.notices.endpoints.create("mailto:ops@example.org", BY, events=["key_revoked"])
    assert made.secret is None
    key = process.issue()
    process.revoke(key)
    list(process.node.notices.deliverer.work({"mailto": MailNotifier(server)}))
    assert [mail["Subject"] for mail in found.mails] == [f"Keyturn: key_revoked {key.key_id}"]
