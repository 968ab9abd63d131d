"""Cursors: where a list goes on, sealed, so that they are good for nothing but the list that gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keyturn.crypto.keyring import Purpose
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.framing import framed
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Row
from keyturn.records.records import Records

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
MAX_CURSOR_CHARACTERS: Final = 256


def check_limit(limit: int) -> None:
    """InvalidInputError unless `limit` is a page's size: 1 to 1,000."""
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError(f"limit is 1 to {MAX_LIMIT}", field="limit")


class Cursors:
    """Those of one list: of one tenant, and of what `described` says was asked for."""

    def __init__(self, records: Records, tenant: str, described: str) -> None:
        self._records = records
        self._keyring = records.keyring
        self._binding = framed("keyturn-cursor-v1", tenant, described)

    def make(self, position: int) -> str:
        """The cursor for what follows after `position`."""
        raw = position.to_bytes(8, "big")
        return to_base64url(raw + self._keyring.seal(Purpose.CURSOR, self._binding + raw))

    def after(self, found: Sequence[Row], limit: int) -> str | None:
        """The cursor for what follows the first `limit` of these rows; None where they are all.

        IntegrityError where the last one's place is none of the log's, which has to be read as far as the rows are.
        """
        return self.make(self._records.place_of(found[limit - 1])) if len(found) > limit else None

    def read(self, cursor: str | None) -> int | None:
        """The position in a cursor, None without one; InvalidInputError for a cursor that this list did not give."""
        if cursor is None:
            return None
        try:
            if not isinstance(cursor, str):
                raise ValueError("no text")  # noqa: TRY004 - it is refused as any other
            raw = from_base64url(cursor[:MAX_CURSOR_CHARACTERS])
            self._keyring.check(Purpose.CURSOR, self._binding + raw[:8], raw[8:])
        except (ValueError, IntegrityError):
            raise InvalidInputError(
                "the cursor is not one that this list gave",
                field="cursor",
                fix="Use next_cursor as it was given, with the same filters; or start again without one.",
            ) from None
        return int.from_bytes(raw[:8], "big")
