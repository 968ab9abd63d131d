"""Ids of rows: `<kind>_` and 22 base62 characters; a version's is its key's and its number, `key_….3`.

And the names of the two tenants that the program itself knows.
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.domain.base62 import is_base62
from keyturn.errors import InvalidInputError

KEY: Final = "key"
OWNER: Final = "own"
ANSWER: Final = "ans"
POLICY: Final = "pol"
ROTATION: Final = "rot"
ENDPOINT: Final = "whe"
PICK_UP: Final = "pku"
KINDS: Final = (KEY, OWNER, ANSWER, POLICY, ROTATION, ENDPOINT, PICK_UP)
ID_CHARACTERS: Final = 22  # base62: 131 bits, more than the 128 of ASVS 11.5.1
MAX_VERSION: Final = 2**31 - 1  # a PostgreSQL integer

DEFAULT_TENANT: Final = "default"
SYSTEM_TENANT: Final = "system"  # rows of the installation itself, such as the keyring

_VERSION_ROW: Final = re.compile(r"(key_[0-9A-Za-z]{22})\.([1-9][0-9]{0,9})")


def build(kind: str, characters: str) -> str:
    """The id of a kind; ValueError for an unknown kind or anything but 22 base62 characters."""
    text = f"{kind}_{characters}"
    if kind not in KINDS or not is_id(kind, text):
        raise ValueError(f"an id is one of {', '.join(KINDS)} and {ID_CHARACTERS} base62 characters")
    return text


def is_id(kind: str, text: object) -> bool:
    """Whether `text` has the shape of an id of this kind; it may still name nothing."""
    if not isinstance(text, str):
        return False
    head, _, characters = text.partition("_")
    return head == kind and len(characters) == ID_CHARACTERS and is_base62(characters)


def version_row_id(key_id: str, number: int) -> str:
    """The id of a version's row; ValueError for a malformed key_id or a number outside 1 to MAX_VERSION."""
    if not is_id(KEY, key_id) or not 1 <= number <= MAX_VERSION:
        raise ValueError("a version's row is named by a key_id and a number from 1")
    return f"{key_id}.{number}"


def split_version_row_id(row_id: str) -> tuple[str, int]:
    """The key_id and the number in a version's row id; InvalidInputError for any other text."""
    match = _VERSION_ROW.fullmatch(row_id)
    if match is None or int(match[2]) > MAX_VERSION:
        raise InvalidInputError("not the id of a version's row")
    return match[1], int(match[2])
