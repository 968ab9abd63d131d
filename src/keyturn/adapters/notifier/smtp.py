"""Notices by mail, through the operator's own mail server.

A mail says what happened and to what, and nothing else of the entry: mail is kept in many places.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

from keyturn.domain.instants import rfc3339
from keyturn.domain.notices.destination import Destination
from keyturn.domain.secret import Secret
from keyturn.ports.notifier import SECONDS, Message, Outcome

_STEPS: Final = 5  # of a conversation, each of which may take its part of the time
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

    def __init__(self, server: MailServer, *, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = ssl.create_default_context() if tls is None else tls

    def takes(self, to: Destination) -> bool:
        return to.scheme == "mailto"

    def deliver(self, message: Message) -> Outcome:
        """Hand the mail in; it is delivered when the server has taken it."""
        try:
            with self._connected() as connection:
                if self._server.user is not None and self._server.password is not None:
                    connection.login(self._server.user, self._server.password.reveal())
                connection.send_message(_mail(message, self._server.sender))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return Outcome(False, "the mail server refused the recipient", is_final=min(codes) >= _PERMANENT)
        except smtplib.SMTPException as error:
            return Outcome(False, f"the mail server did not take it: {type(error).__name__}")
        except OSError as error:
            return Outcome(False, f"the mail server could not be reached: {type(error).__name__}")
        return Outcome(True)

    def _connected(self) -> smtplib.SMTP:
        server, timeout = self._server, SECONDS / _STEPS
        if server.is_tls:
            return smtplib.SMTP_SSL(server.host, server.port, timeout=timeout, context=self._tls)
        connection = smtplib.SMTP(server.host, server.port, timeout=timeout)
        if not server.is_plain:
            try:
                connection.starttls(context=self._tls)
            except BaseException:
                connection.close()
                raise
        return connection


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
    lines += ["", "'keyturn audit log' shows the entry with its details.", ""]
    mail.set_content("\n".join(lines))
    return mail
