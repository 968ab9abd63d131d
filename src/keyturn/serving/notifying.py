"""The notifiers that a process has by its settings."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from keyturn.adapters.notifier.smtp import MailNotifier, MailServer
from keyturn.adapters.notifier.webhook import webhook_notifiers
from keyturn.config import MAX_PORT, Settings
from keyturn.domain.notices.destination import Destination
from keyturn.errors import ConfigurationError, InvalidInputError
from keyturn.ports.notifier import Notifier

_PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_URL: Final = re.compile(
    r"(smtp|smtps|smtp\+plain)://(?:([^/\s:]{1,384})@)?([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?"
)
_FIX: Final = (
    "Use smtp://user@host:587 (STARTTLS), smtps://user@host:465, or smtp+plain://127.0.0.1:25. In a user, write '/' as"
    " %2F, ':' as %3A and '%' as %25; the password is KEYTURN_SMTP_PASSWORD's."
)


def notifiers_from(settings: Settings) -> dict[str, Notifier]:
    """Webhooks, and mail where there is a mail server; ConfigurationError for one that is not named right."""
    notifiers = webhook_notifiers(settings.notices_allow)
    if settings.smtp is not None:
        notifiers["mailto"] = MailNotifier(_mail_server(settings, settings.smtp))
    elif settings.smtp_from is not None or settings.smtp_password is not None:
        raise ConfigurationError(
            "there is a sender or a password for mail, and no mail server",
            fix="Set KEYTURN_SMTP too, or leave KEYTURN_SMTP_FROM and KEYTURN_SMTP_PASSWORD out.",
        )
    return notifiers


def _mail_server(settings: Settings, url: str) -> MailServer:
    match = _URL.fullmatch(url)
    if match is None or not 1 <= int(match[4] or _PORTS[match[1]]) <= MAX_PORT:
        raise ConfigurationError("KEYTURN_SMTP is not the URL of a mail server", fix=_FIX)
    scheme, user, host, port = match.groups()
    if (user is None) != (settings.smtp_password is None):
        raise ConfigurationError(
            "a user of the mail server and a password go together",
            fix="Set KEYTURN_SMTP_PASSWORD, and name the user in KEYTURN_SMTP.",
        )
    if scheme == "smtp+plain" and user is not None:
        raise ConfigurationError("without TLS no password is sent to a mail server", fix=_FIX)
    try:
        sender = Destination.of(f"mailto:{settings.smtp_from or ''}").name
    except InvalidInputError:
        raise ConfigurationError(
            "KEYTURN_SMTP_FROM is no mail address", fix="Set the address that notices come from."
        ) from None
    return MailServer(
        host=host.strip("[]"),
        port=int(port or _PORTS[scheme]),
        sender=sender,
        user=None if user is None else unquote(user),
        password=settings.smtp_password,
        is_tls=scheme == "smtps",
        is_plain=scheme == "smtp+plain",
    )
