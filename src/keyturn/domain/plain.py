"""Characters that nobody means: what editors, other systems and copying leave in a text."""

from __future__ import annotations

import unicodedata
from typing import Final

from keyturn.errors import ConfigurationError

_UNMEANT: Final = frozenset(
    {"Cc", "Cs", "Zl", "Zp"}
)  # control characters, bytes that are no UTF-8, breaks of lines
_BYTE_ORDER_MARK: Final = "\ufeff"
_NAMES: Final = {
    "\r": "a carriage return",
    "\n": "a line feed",
    "\t": "a tab",
    "\0": "a NUL",
    _BYTE_ORDER_MARK: "a byte order mark",
}
_WINDOWS: Final = (
    "The file that it comes from has Windows line endings or a byte order mark: save it as plain UTF-8 with Unix line"
    " endings, or convert it with 'dos2unix'."
)
_OTHERWISE: Final = "Write it again, without that character."


def require_plain(what: str, text: str) -> str:
    """The text; ConfigurationError, which does not repeat it, for one with a character that cannot be meant.

    Those are control characters, byte order marks, and what is no UTF-8.
    """
    for character in text:
        if character == _BYTE_ORDER_MARK or unicodedata.category(character) in _UNMEANT:
            named = _NAMES.get(character, f"the character U+{ord(character):04X}")
            fix = _WINDOWS if character in f"\r{_BYTE_ORDER_MARK}" else _OTHERWISE
            raise ConfigurationError(f"{what} has {named} in it", fix=fix)
    return text
