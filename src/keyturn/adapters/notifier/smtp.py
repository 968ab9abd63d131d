"""Notices by mail, through the operator's own mail server.

A mail says what happened and to what, and nothing else of the entry: mail is kept in many places.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from time import monotonic
from typing import Any, Final

from keyturn.adapters.notifier.connecting import Names, connected, left
from keyturn.domain.instants import rfc3339
from keyturn.domain.notices.destination import Destination
from keyturn.domain.secret import Secret
from keyturn.ports.notifier import SECONDS, Message, Outcome

MAX_REPLY_BYTES: Final = 65_536  # of one conversation, all together
_READY: Final = 220
_PERMANENT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail is handed in.

    Attributes:
        sender: address that mail comes from.
        is_tls: whether TLS begins with the connection; else by STARTTLS, which is required.
        is_plain: no TLS at all: for a server on this machine.
    """

    host: str
    port: int
    sender: str
    user: str | None = None
    password: Secret | None = None
    is_tls: bool = False
    is_plain: bool = False


class MailNotifier:
    """Sends notices to `mailto:` URLs."""

    def __init__(
        self, server: MailServer, *, tls: ssl.SSLContext | None = None, seconds: float = SECONDS
    ) -> None:
        self.server = server
        self._tls = ssl.create_default_context() if tls is None else tls
        self._names = Names()
        self._seconds = seconds

    def takes(self, to: Destination) -> bool:
        return to.scheme == "mailto"

    def deliver(self, message: Message) -> Outcome:
        """Hand the mail in; it is delivered when the server has taken it."""
        deadline = monotonic() + self._seconds
        try:
            self._hand_in(_mail(message, self.server.sender), deadline)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return Outcome(False, "the mail server refused the recipient", is_final=min(codes) >= _PERMANENT)
        except (smtplib.SMTPException, OSError) as error:
            if isinstance(error, TimeoutError) or monotonic() >= deadline:
                return Outcome(False, "the mail server did not answer in time")
            if isinstance(error, smtplib.SMTPException):
                return Outcome(False, f"the mail server did not take it: {type(error).__name__}")
            return Outcome(False, f"the mail server could not be reached: {type(error).__name__}")
        return Outcome(True)

    def _hand_in(self, mail: EmailMessage, deadline: float) -> None:
        server = self.server
        addresses = self._names.addresses(server.host, server.port, deadline)
        with connected(addresses, server.port, deadline) as plain:
            plain.settimeout(left(deadline))
            connection = self._tls.wrap_socket(plain, server_hostname=server.host) if server.is_tls else plain
            conversation = _Conversation(server.host, connection, deadline)
            try:
                conversation.begin()
                if not (server.is_tls or server.is_plain):
                    conversation.starttls(context=self._tls)
                if server.user is not None and server.password is not None:
                    conversation.login(server.user, server.password.reveal())
                conversation.send_message(mail)
                with suppress(OSError, smtplib.SMTPException):  # the mail is taken, whatever happens now
                    conversation.putcmd("quit")
            finally:
                conversation.close()


class _Conversation(smtplib.SMTP):
    """SMTP over a connection that is there, with one deadline and one bound for all that the server says.

    smtplib's own time limit is for each read, and it gathers lines of a reply for as long as more are announced.
    """

    def __init__(self, host: str, connection: socket.socket, deadline: float) -> None:
        address = connection.getsockname()[0]
        # Without a name of ours, smtplib would look one up.
        super().__init__(local_hostname=f"[IPv6:{address}]" if ":" in address else f"[{address}]")
        self._host = host  # which STARTTLS has the server prove
        self.sock = connection
        self._deadline = deadline
        self._room = MAX_REPLY_BYTES

    def begin(self) -> None:
        """Wait for the greeting."""
        code, text = self.getreply()
        if code != _READY:
            raise smtplib.SMTPConnectError(code, text)

    def send(self, s: Any) -> None:
        """Send within what is left of the time."""
        if self.sock is not None:
            self.sock.settimeout(left(self._deadline))
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """A reply, from lines that are read by `_Lines`."""
        # smtplib forgets it with STARTTLS, and what came too early.
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock, self)
        return super().getreply()

    def received(self, connection: socket.socket) -> bytes:
        """Some more of what the server says."""
        if self._room <= 0:
            raise OSError("the mail server says too much")
        connection.settimeout(left(self._deadline))
        more = connection.recv(min(4_096, self._room))
        self._room -= len(more)
        connection.settimeout(left(self._deadline))  # for a handshake, if that follows
        return more


class _Lines:
    """What smtplib reads lines from."""

    def __init__(self, connection: socket.socket, conversation: _Conversation) -> None:
        self._connection = connection
        self._conversation = conversation
        self._received = b""

    def readline(self, size: int) -> bytes:
        """A line with its end, or its first `size` bytes; the rest at the end of the connection."""
        while b"\n" not in self._received and len(self._received) < size:
            more = self._conversation.received(self._connection)
            if not more:
                break
            self._received += more
        length = min((self._received.find(b"\n") + 1) or len(self._received), size)
        line, self._received = self._received[:length], self._received[length:]
        return line

    def close(self) -> None:
        """The connection is closed by whoever made it."""


def _mail(message: Message, sender: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = message.to.name
    mail["Subject"] = f"Keyturn: {message.type} {message.subjects[0] if message.subjects else ''}".strip()
    mail["Date"] = message.at
    # The same each time, so that mail programs show a notice once.
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [f"What:   {message.type}", f"When:   {rfc3339(message.at)}"]
    lines += [f"Of:     {subject}" for subject in message.subjects]
    lines += ["", f"Keyturn's audit log has the details. This is notice {message.id}.", ""]
    mail.set_content("\n".join(lines))
    return mail
