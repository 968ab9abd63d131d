"""Notices by mail, to a real SMTP server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from keyturn.adapters.notifier.smtp import MAX_REPLY_BYTES, MailNotifier, MailServer
from keyturn.domain.notices.destination import Destination
from keyturn.ports.notifier import Message, Outcome
from tests.fakes import BY, Process
from tests.free_ports import free_port
from tests.notices.test_guard import identity


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


# -- servers that do harm -------------------------------------------------------------------------------------------


@contextmanager
def saying(act: Callable[[socket.socket], object]) -> Iterator[MailServer]:
    """A mail server that does this with its one connection, for as long as it is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                act(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        yield MailServer(host="127.0.0.1", port=port, sender="keyturn@example.org", is_plain=True)
        thread.join(10)
        assert not thread.is_alive(), "the connection was not closed"


def test_a_reply_without_end_is_read_to_a_bound() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            sent += connection.send(b"220-" + b"x" * 500 + b"\r\n")

    with saying(flood) as server:
        outcome = MailNotifier(server).deliver(message("mailto:ops@example.org"))
    assert outcome == Outcome(False, "the mail server did not take it: SMTPServerDisconnected")
    assert sent < 100 * MAX_REPLY_BYTES


def test_a_reply_that_comes_a_line_now_and_then_does_not_hold_us() -> None:
    def drip(connection: socket.socket) -> None:
        ended = threading.Event()
        for _ in range(100):
            connection.sendall(b"220-wait\r\n")
            ended.wait(0.1)

    began = monotonic()
    with saying(drip) as server:
        outcome = MailNotifier(server, seconds=0.5).deliver(message("mailto:ops@example.org"))
        assert monotonic() - began < 5
    assert outcome == Outcome(False, "the mail server did not answer in time")


def test_what_was_taken_counts_as_delivered_though_the_server_hangs_afterwards() -> None:
    def hang_up(connection: socket.socket) -> None:
        said = [b"220 x", b"250 x", b"250 x", b"250 x", b"354 x", b"250 x"]
        for each in said:
            connection.sendall(each + b"\r\n")
            connection.recv(65_536)
        while connection.recv(65_536):
            pass

    with saying(hang_up) as server:
        assert MailNotifier(server).deliver(message("mailto:ops@example.org")) == Outcome(True)


def test_mail_goes_over_starttls_to_who_proves_the_servers_name(tmp_path: Path) -> None:
    path = identity(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    found, port = Inbox(), free_port()
    controller = Controller(
        found, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True
    )
    controller.start()
    try:
        server = MailServer(host="localhost", port=port, sender="keyturn@example.org")
        trusting = MailNotifier(server, tls=ssl.create_default_context(cafile=path))
        assert trusting.deliver(message("mailto:ops@example.org")) == Outcome(True)
        assert not MailNotifier(server).deliver(message("mailto:ops@example.org")).delivered
        assert len(found.mails) == 1
    finally:
        controller.stop()
