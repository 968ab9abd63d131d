"""The notifiers that a process has by its settings."""

from __future__ import annotations

import pytest

from keyturn.adapters.notifier.smtp import MailNotifier
from keyturn.config import settings_from
from keyturn.domain.notices.announcements import Terms
from keyturn.domain.rotation.checks import DAY
from keyturn.errors import ConfigurationError
from keyturn.serving.notifying import notifiers_from


def schemes(**environ: str) -> set[str]:
    return set(notifiers_from(settings_from({"HOME": "/nowhere", **environ})))


def test_mail_is_sent_where_there_is_a_mail_server() -> None:
    assert schemes() == {"http", "https"}
    sender = {"KEYTURN_SMTP_FROM": "keyturn@example.org"}
    assert schemes(KEYTURN_SMTP="smtp+plain://127.0.0.1:25", **sender) == {"http", "https", "mailto"}
    assert "mailto" in schemes(
        KEYTURN_SMTP="smtps://user@mail.example.org", KEYTURN_SMTP_PASSWORD="secret ", **sender
    )


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"KEYTURN_SMTP": "mail.example.org"}, "KEYTURN_SMTP"),
        ({"KEYTURN_SMTP": "smtp://mail.example.org"}, "KEYTURN_SMTP_FROM"),
        ({"KEYTURN_SMTP": "smtp://user@mail.example.org", "KEYTURN_SMTP_FROM": "a@b"}, "password"),
        (
            {
                "KEYTURN_SMTP": "smtp+plain://user@mail.example.org",
                "KEYTURN_SMTP_FROM": "a@b",
                "KEYTURN_SMTP_PASSWORD": "x",
            },
            "without TLS",
        ),
        ({"KEYTURN_NOTICES_ALLOW": "10.0.0.1/8"}, "KEYTURN_NOTICES_ALLOW"),
        ({"KEYTURN_NOTICES_ALLOW": "127.0.0.1, 0.0.0.0/0"}, "KEYTURN_NOTICES_ALLOW"),
        ({"KEYTURN_NOTICES_ALLOW": "::/0"}, "KEYTURN_NOTICES_ALLOW"),
        ({"KEYTURN_SMTP": "smtp+plain://127.0.0.1:99999", "KEYTURN_SMTP_FROM": "a@b"}, "KEYTURN_SMTP"),
        ({"KEYTURN_SMTP": "smtp+plain://127.0.0.1:0", "KEYTURN_SMTP_FROM": "a@b"}, "KEYTURN_SMTP"),
        ({"KEYTURN_SMTP": "smtp://user:pw@mail.example.org", "KEYTURN_SMTP_FROM": "a@b"}, "KEYTURN_SMTP"),
        ({"KEYTURN_SMTP_FROM": "a@b"}, "no mail server"),
        ({"KEYTURN_SMTP_PASSWORD": "x"}, "no mail server"),
        ({"KEYTURN_NOTICES_EXPIRING": "30d"}, "KEYTURN_NOTICES_EXPIRING"),
        ({"KEYTURN_NOTICES_EXPIRING": "7,0"}, "KEYTURN_NOTICES_EXPIRING"),
        ({"KEYTURN_NOTICES_UNUSED": "9999"}, "KEYTURN_NOTICES_UNUSED"),
        ({"KEYTURN_NOTICES_UNUSED": "90,30"}, "KEYTURN_NOTICES_UNUSED"),
    ],
)
def test_settings_that_do_not_fit_are_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        schemes(**environ)


@pytest.mark.parametrize(
    ("environ", "terms"),
    [
        ({}, Terms(expiring=(30 * DAY, 7 * DAY, DAY), unused=90 * DAY)),
        (
            {"KEYTURN_NOTICES_EXPIRING": "14, 2", "KEYTURN_NOTICES_UNUSED": "365"},
            Terms(expiring=(14 * DAY, 2 * DAY), unused=365 * DAY),
        ),
        ({"KEYTURN_NOTICES_EXPIRING": "0", "KEYTURN_NOTICES_UNUSED": "0"}, Terms(expiring=(), unused=None)),
    ],
)
def test_days_say_what_is_announced(environ: dict[str, str], terms: Terms) -> None:
    assert settings_from(environ).announced == terms


@pytest.mark.parametrize("user", ["me@example.org", "me%40example.org"])
def test_a_user_of_the_mail_server_may_be_a_mail_address(user: str) -> None:
    notifier = notifiers_from(
        settings_from(
            {
                "HOME": "/nowhere",
                "KEYTURN_SMTP": f"smtp://{user}@mail.example.org:2525",
                "KEYTURN_SMTP_PASSWORD": "x",
                "KEYTURN_SMTP_FROM": "keyturn@example.org",
            }
        )
    )["mailto"]
    assert isinstance(notifier, MailNotifier)
    server = notifier.server
    assert (server.user, server.host, server.port) == ("me@example.org", "mail.example.org", 2525)
