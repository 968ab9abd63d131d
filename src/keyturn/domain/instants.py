"""Instants: aware UTC datetimes inside, integer microseconds since the epoch in bodies, RFC 3339 at the edges.

Every conversion is exact; no float is on the way. Instants lie between 1970 and June 2255, where a body's integers end.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from keyturn.errors import InvalidInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
MAX_MICROS: Final = 2**53 - 1  # 2255-06-05T23:47:34.740991Z: the largest integer of canonical JSON

# RFC 3339, section 5.6. [0-9] and not \d, which takes the digits of every script.
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_FIX: Final = "Write it as 2026-01-31T12:00:00Z, or with an offset: 2026-01-31T13:00:00+01:00."


def to_micros(instant: datetime) -> int:
    """Microseconds since the epoch; InvalidInputError for a naive datetime or one before 1970."""
    if instant.utcoffset() is None:
        raise InvalidInputError("a time without an offset does not name an instant", fix=_FIX)
    return _bounded((instant - _EPOCH) // _MICROSECOND)


def from_micros(micros: int) -> datetime:
    """The instant in UTC; InvalidInputError for what is no integer or lies outside of them."""
    if type(micros) is not int:  # a bool is an int to isinstance, and a float would be rounded
        raise InvalidInputError("a time in microseconds is an integer")
    return _EPOCH + timedelta(microseconds=_bounded(micros))


def rfc3339(instant: datetime) -> str:
    """The instant with six decimals and `Z`: `2026-01-31T12:00:00.000000Z`."""
    in_utc = from_micros(to_micros(instant))
    return in_utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """The instant in UTC that an RFC 3339 text names, whatever its offset.

    Up to nine decimals are taken, since some clients always write nanoseconds; those after the sixth are cut off.
    InvalidInputError for anything else: no offset, a leap second, a day that does not exist, a year before 1970.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInputError("not an RFC 3339 time with an offset", fix=_FIX)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    micros = int((fraction or "")[:6].ljust(6, "0"))
    try:
        local = datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(f"not a time that exists: {error}", fix=_FIX) from None
    if sign is None:
        return from_micros(to_micros(local))
    offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes)) // _MICROSECOND
    since_epoch = (local - _EPOCH) // _MICROSECOND
    return from_micros(since_epoch - offset if sign == "+" else since_epoch + offset)


def _bounded(micros: int) -> int:
    if not 0 <= micros <= MAX_MICROS:
        raise InvalidInputError("a time lies in the years 1970 to 2255 (UTC)")
    return micros
