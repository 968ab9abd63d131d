"""Types of fields as the OpenAPI document shows them, bounds and patterns included.

The document alone has them: what a caller sends is checked by the domain, once, whoever asks, and with a better answer
than a pattern could give. Tests hold the one against the other.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field

from keyturn.crypto.hash_forms import ALGORITHMS, MAX_HASH_CHARACTERS, SALT_ENCODINGS
from keyturn.crypto.slow_hashes import AFTER, BEFORE
from keyturn.domain import fields, foreign, ids
from keyturn.domain.permission_query import MAX_CHARACTERS as MAX_QUERY_CHARACTERS
from keyturn.domain.permissions import MAX_NAME_CHARACTERS as MAX_GRANT_CHARACTERS
from keyturn.domain.publishing import MAX_PUBLISHED_FOR
from keyturn.domain.spec import MAX_LIFETIME
from keyturn.domain.token import PREFIX_PATTERN
from keyturn.issuing.cursors import DEFAULT_LIMIT, MAX_CURSOR_CHARACTERS, MAX_LIMIT
from keyturn.issuing.reading import MAX_FILTER_CHARACTERS

EXAMPLE_KEY_ID: Final = "key_6mqCIZlBsiYCHbDx0P49Yf"
EXAMPLE_TIME: Final = "2026-01-31T12:00:00.000000Z"
EXAMPLE_TOKEN: Final = "acme_live_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# What `keyturn.domain.fields` refuses, in the notation that JavaScript, Python and Rust share. Half surrogates are no
# characters to begin with.
_UNPRINTABLE: Final = (
    r"\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff"
)
_SPACES: Final = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
TEXT_PATTERN: Final = f"^[^{_UNPRINTABLE}{_SPACES}](?:[^{_UNPRINTABLE}]*[^{_UNPRINTABLE}{_SPACES}])?$"
_SEGMENT: Final = "(?:[A-Za-z0-9_-]+|\\*)"
GRANT_PATTERN: Final = rf"^{_SEGMENT}(?:\.{_SEGMENT}){{0,7}}$"
_DAY, _CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{2}:[0-9]{2}:[0-9]{2}"
TIME_PATTERN: Final = rf"^{_DAY}[Tt]{_CLOCK}(?:\.[0-9]{{1,9}})?(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}})$"
CREDENTIAL_ID_PATTERN: Final = "^[0-9A-Za-z]{16}$"


def id_pattern(kind: str) -> str:
    """What ids of a kind of row match, such as those of `ids.KEY`."""
    return f"^{kind}_[0-9A-Za-z]{{{ids.ID_CHARACTERS}}}$"


KEY_ID_PATTERN: Final = id_pattern(ids.KEY)


def shown(description: str = "", **schema: Any) -> Any:
    """A field with this in its schema; `example` is an example."""
    example = [schema.pop("example")] if "example" in schema else None
    return Field(description=description or None, examples=example, json_schema_extra=schema)


def _text(most: int) -> dict[str, Any]:
    return {"minLength": 1, "maxLength": most, "pattern": TEXT_PATTERN}


Name = Annotated[str, shown("For people.", **_text(fields.MAX_NAME_CHARACTERS), example="CI of the web shop")]
OwnerId = Annotated[
    str, shown("Your own id for who holds the key.", **_text(fields.MAX_OWNER_CHARACTERS), example="user_42")
]
NoteText = Annotated[
    str,
    shown(
        "Why, for the log; it can be erased there later.",
        **_text(fields.MAX_NOTE_CHARACTERS),
        example="left the company",
    ),
]
PolicyId = Annotated[
    str,
    shown(
        "Your own name for a rotation policy.",
        pattern=fields.POLICY_ID_PATTERN,
        maxLength=fields.MAX_POLICY_ID_CHARACTERS,
        example="monthly_rotation",
    ),
]
Prefix = Annotated[
    str,
    shown("What the token begins with.", pattern=f"^{PREFIX_PATTERN}$", maxLength=32, example="acme_live"),
]
Tag = Annotated[str, shown(**_text(fields.MAX_TAG_CHARACTERS), example="production")]
Tags = Annotated[list[Tag], shown(maxItems=fields.MAX_TAGS, uniqueItems=True)]
Grant = Annotated[
    str,
    shown(
        "A permission; `*` stands for one segment, at the end for one or more.",
        maxLength=MAX_GRANT_CHARACTERS,
        pattern=GRANT_PATTERN,
        **{"not": {"enum": ["AND", "OR", "NOT"]}},
        example="documents.read",
    ),
]
Grants = Annotated[list[Grant], shown(maxItems=fields.MAX_PERMISSIONS, uniqueItems=True)]
PermissionQuery = Annotated[
    str,
    shown(
        "Permissions that a key must grant, with AND, OR, NOT and parentheses.",
        minLength=1,
        maxLength=MAX_QUERY_CHARACTERS,
        example="documents.read AND NOT beta",
    ),
]
ForeignToken = Annotated[
    str,
    shown(
        "The whole token: printable ASCII without spaces.",
        minLength=foreign.MIN_CHARACTERS,
        maxLength=foreign.MAX_CHARACTERS,
        pattern="^[!-~]+$",
        example="old_live_8f3a61c09be2d475",
    ),
]
ForeignHash = Annotated[
    str,
    shown(
        "In hexadecimal or base64 for sha256 and sha512; else the text as Django, Werkzeug, passlib or PHC write it.",
        minLength=43,
        maxLength=MAX_HASH_CHARACTERS,
    ),
]
HashName = Annotated[str, shown("How it was made; with a salt, sha256 and sha512.", enum=list(ALGORITHMS))]
Salt = Annotated[
    str, shown("Of a salted sha256 or sha512; a password hash holds its own.", minLength=1, maxLength=1_024)
]
SaltEncoding = Annotated[str, shown("How the salt is written here.", enum=list(SALT_ENCODINGS))]
SaltPosition = Annotated[str, shown("Where it stands, seen from the token.", enum=[BEFORE, AFTER])]
Start = Annotated[
    str,
    shown(
        "Of a salted or a password hash: how the token begins. It finds the hash, so that no two may have the same.",
        minLength=foreign.MIN_START,
        maxLength=foreign.MAX_START,
        pattern="^[!-~]+$",
        example="old_live_8f3a",
    ),
]
Network = Annotated[str, shown("An address or a network, v4 or v6.", maxLength=49, example="203.0.113.0/24")]
Networks = Annotated[
    list[Network],
    shown(
        "From where the key may be used; empty for anywhere.", maxItems=fields.MAX_NETWORKS, uniqueItems=True
    ),
]
Lifetime = Annotated[
    int,
    shown(
        "Lifetime in seconds from now.",
        minimum=1,
        maximum=int(MAX_LIFETIME.total_seconds()),
        example=2_592_000,
    ),
]
PublishedFor = Annotated[
    int,
    shown(
        "Puts the key's public half into the tenant's JWKS: how many seconds anything that it signs may last.",
        minimum=1,
        maximum=MAX_PUBLISHED_FOR,
        example=3_600,
    ),
]
Metadata = Annotated[
    dict[str, Any],
    shown(
        "Your own data, in each verification: JSON without fractions, "
        f"{fields.MAX_METADATA_BYTES:,} bytes and {fields.MAX_METADATA_DEPTH} levels at most.",
        propertyNames={"maxLength": fields.MAX_METADATA_NAME_CHARACTERS, "pattern": r"^[^\u0000]*$"},
        example={"plan": "pro"},
    ),
]
Time = Annotated[str, shown(format="date-time", example=EXAMPLE_TIME)]
"""A time in an answer: RFC 3339 in UTC, six decimals."""

KeyId = Annotated[
    str,
    Path(
        description="The key's id.", examples=[EXAMPLE_KEY_ID], json_schema_extra={"pattern": KEY_ID_PATTERN}
    ),
]
Limit = Annotated[int, shown("How many at most.", minimum=1, maximum=MAX_LIMIT, example=DEFAULT_LIMIT)]
Cursor = Annotated[
    str,
    shown(
        "`next_cursor` of the page before, with the same filters.",
        minLength=1,
        maxLength=MAX_CURSOR_CHARACTERS,
        pattern="^[0-9A-Za-z_-]+$",
    ),
]
FilterText = Annotated[str, shown(maxLength=MAX_FILTER_CHARACTERS, pattern=r"^[^\u0000]*$")]
