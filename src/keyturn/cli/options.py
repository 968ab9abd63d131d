"""Options, those that several commands have among them, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final

import typer

from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.members import RepeatedMemberError, parse_unambiguous
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import MAX_LIFETIME
from keyturn.errors import InvalidInputError

EXAMPLE_TIME: Final = "2026-01-31T12:00:00Z"

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]{1,12})([smhdw]?)")


def duration(text: str) -> int:
    """Seconds from `3600`, `90s`, `45m`, `12h`, `30d` or `2w`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter("write seconds, or a number and a unit: 90s, 45m, 12h, 30d, 2w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_LIFETIME.total_seconds():
        raise typer.BadParameter("that is more than a century")
    return seconds


def instant(text: str) -> datetime:
    """An instant from RFC 3339."""
    try:
        return parse_rfc3339(text)
    except InvalidInputError as error:
        raise typer.BadParameter(f"{error}; write it as {EXAMPLE_TIME}") from None


def instant_or_age(text: str) -> datetime | int:
    """An instant, or how many seconds ago it was."""
    return duration(text) if _DURATION.fullmatch(text) else instant(text)


def json_object(text: str) -> dict[str, Any]:
    """An object from JSON."""
    try:
        value = parse_unambiguous(text)
    except RepeatedMemberError as error:
        raise typer.BadParameter(f"{error}; write it once") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter("""write a JSON object, such as '{"plan": "pro"}'""")
    return value


def with_more(given: dict[str, Any], more: dict[str, Any] | None) -> dict[str, Any]:
    """What options gave and what --more did; BadParameter for what both did."""
    both = sorted(given.keys() & (more or {}).keys())
    if both:
        raise typer.BadParameter(f"{both[0]} has an option of its own, which is given too; write it once")
    return {**given, **(more or {})}


def text(flag: str, metavar: str, says: str, **more: Any) -> Any:
    """An option that takes a text."""
    return typer.Option(flag, metavar=metavar, help=says, **more)


def switch(flag: str, says: str, **more: Any) -> Any:
    """An option that takes nothing."""
    return typer.Option(flag, metavar="", help=says, **more)


def time(flag: str, says: str, parser: Callable[[str], object] = instant) -> Any:
    """An option that takes a time."""
    return text(flag, "TIME", says, parser=parser)


def choice(flag: str, metavar: str, says: str, members: Iterable[Enum]) -> Any:
    """An option that takes the value of one of these members."""
    return text(flag, metavar, f"{says}: {', '.join(member.value for member in members)}.")


AsJson = Annotated[bool, switch("--json", "Print JSON for programs instead of text for people.")]
Tenant = Annotated[str, text("--tenant", "NAME", "The tenant to work in.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key: key_ and 22 letters and digits.")]
RotationId = Annotated[
    str, typer.Argument(metavar="ROTATION_ID", help="The rotation: rot_ and 22 letters and digits.")
]
Note = Annotated[str | None, text("--note", "TEXT", "Why, for the audit log.")]

Scope = Annotated[KeyScope, choice("--scope", "SCOPE", "What the key may do", KeyScope)]
NewScope = Annotated[KeyScope | None, choice("--scope", "SCOPE", "What the key may do", KeyScope)]
Name = Annotated[str | None, text("--name", "TEXT", "A name for people.")]
Permissions = Annotated[
    list[str] | None,
    text("--permission", "NAME", "What it grants: documents.read, or 'documents.*'. Repeatable."),
]
AllowedIps = Annotated[
    list[str] | None,
    text("--allow-ip", "NETWORK", "An address or network that may use it; any if absent. Repeatable."),
]
Metadata = Annotated[
    dict[str, Any] | None,
    text("--metadata", "JSON", "An object that every verification returns.", parser=json_object),
]
Tags = Annotated[list[str] | None, text("--tag", "TAG", "A tag to find it by. Repeatable.")]
RequireScope = Annotated[
    KeyScope | None,
    choice("--require-scope", "SCOPE", "For a gateway's key: the scope that it always requires", KeyScope),
]
RequirePermissions = Annotated[
    str | None,
    text("--require-permissions", "QUERY", "For a gateway's key: what it always requires: documents.read."),
]
PublishedFor = Annotated[
    int | None,
    text(
        "--published-for",
        "TIME",
        "Publish it in the JWKS; how long anything it signs lasts: 1h.",
        parser=duration,
    ),
]
NotBefore = Annotated[datetime | None, time("--not-before", f"When it begins to be valid: {EXAMPLE_TIME}.")]
ExpiresAt = Annotated[datetime | None, time("--expires-at", f"When it expires: {EXAMPLE_TIME}.")]
ExpiresIn = Annotated[
    int | None, time("--expires-in", "How long it lives: 3600 (seconds), 45m, 12h, 30d, 2w.", duration)
]
