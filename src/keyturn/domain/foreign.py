"""Tokens that were issued elsewhere: which texts may be one, and how they are looked up and kept.

Such a token may be short, so that nothing stands in the store from which it could be guessed without the keyring.
`docs/formats/row.md` specifies it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from keyturn.domain.key import Hashed, KeyType
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec, check_imported_type
from keyturn.errors import InvalidInputError

MIN_CHARACTERS: Final = 16
MAX_CHARACTERS: Final = 1_024
MIN_START: Final = 6  # characters of a token that may stand in the clear in the system it comes from
MAX_START: Final = 32

TOKEN_PATTERN: Final = f"[!-~]{{{MIN_CHARACTERS},{MAX_CHARACTERS}}}"
START_PATTERN: Final = f"[!-~]{{{MIN_START},{MAX_START}}}"
_TOKEN: Final = re.compile(TOKEN_PATTERN)
_START: Final = re.compile(START_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedToken:
    """A token that was issued elsewhere, or a hash of it, which is not stored yet.

    Attributes:
        key_id: what the key is called, for good.
        secret: the token, where it was given; None where only a hash of it is known.
        hashed: which of these `hash` is.
        hash: the token's SHA-256 or SHA-512; or a salted or password hash, with all that its computation needs.
        start: the first characters of the token, by which a salted or password hash is looked up.
    """

    key_id: str
    spec: KeySpec
    secret: Secret | None = None
    hashed: Hashed
    hash: Secret
    start: str | None = field(default=None, repr=False)
    created_at: datetime

    def __post_init__(self) -> None:
        check_imported_type(self.spec.type)
        if not self.spec.is_imported:
            raise ValueError("the specification is not one of an imported token")

    @property
    def type(self) -> KeyType:
        """What the key is for: always API_TOKEN."""
        return self.spec.type

    @property
    def scope(self) -> KeyScope:
        """Which actions it covers."""
        return self.spec.scope

    @property
    def expires_at(self) -> datetime | None:
        """When it stops verifying."""
        return self.spec.expires_at


def may_be_foreign(text: str) -> bool:
    """Whether a text could be a token that was issued elsewhere. Never raises, whatever it is given."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def check_foreign(token: Secret) -> Secret:
    """A token from elsewhere: 16 to 1,024 printable ASCII characters without spaces, as it stands in a header."""
    if _TOKEN.fullmatch(token.reveal_bytes().decode("latin-1")) is None:
        raise InvalidInputError(
            f"a token has {MIN_CHARACTERS} to {MAX_CHARACTERS:,} printable ASCII characters, none of them a space",
            field="token",
            fix="Give the whole token, as its holder sends it.",
        )
    return token


def check_start(start: str | None) -> str:
    """The first characters of a token, by which a hash that cannot be computed backwards is found."""
    if not isinstance(start, str) or _START.fullmatch(start) is None:
        raise InvalidInputError(
            f"a salted or a password hash needs the first {MIN_START} to {MAX_START} characters of its token",
            field="start",
            fix="Give as many as tell the tokens apart: what the system it comes from keeps to find the hash by.",
        )
    return start
