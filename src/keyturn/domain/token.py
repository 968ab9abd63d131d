"""The token: `<prefix>_<credential_id:16><secret><checksum:6>`. `docs/formats/token.md` specifies it.

    token = build("acme_live", credential_id, secret)
    parse(token)                                         # ParsedToken(prefix='acme_live', ..., secret=Secret(***))

The checksum keeps no secret: it refuses garbage without a look-up, and lets a scanner tell a token from a look-alike.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from keyturn.domain import base62
from keyturn.domain.secret import Secret

CREDENTIAL_ID_LENGTH: Final = 16  # characters, 95 bits: a handle, which need only not collide
CHECKSUM_LENGTH: Final = 6  # 62^6 > 2^32
SECRET_LENGTHS: Final = {
    128: 22,
    256: 43,
    4_096: 688,
    8_192: 1_376,
}  # characters by bits of entropy, log2(62) each
MAX_TOKEN_CHARACTERS: Final = 2_048  # more than the longest token, 1,431; the rest is refused unread
DEFAULT_PREFIX: Final = "kt"

PREFIX_PATTERN: Final = "[a-z0-9_]{1,32}"
_B62: Final = "[0-9A-Za-z]"

# For secret scanners: finds tokens of every length in any text; the checksum then tells them from look-alikes. One run
# of characters nests in the next because RE2, which most scanners use, has no look-around and no counts above 1,000.
SCANNER_PATTERN: Final = (
    rf"\b{PREFIX_PATTERN}_{_B62}{{44}}(?:{_B62}{{21}}(?:{_B62}{{645}}(?:{_B62}{{688}})?)?)?\b"
)

_SECRETS: Final = "|".join(f"{_B62}{{{length}}}" for length in SECRET_LENGTHS.values())
_TOKEN: Final = re.compile(
    rf"({PREFIX_PATTERN})_({_B62}{{{CREDENTIAL_ID_LENGTH}}})({_SECRETS})({_B62}{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """The parts of a well-formed token. Well-formed is not valid: anyone can compute a checksum."""

    prefix: str
    credential_id: str
    secret: Secret


def build(prefix: str, credential_id: str, secret: str) -> str:
    """The token of these parts; ValueError where one has another length or other characters than the format says."""
    text = f"{prefix}_{credential_id}{secret}"
    token = text + checksum(text)
    parsed = parse(token)
    if parsed is None or (parsed.prefix, parsed.credential_id) != (prefix, credential_id):
        raise ValueError("the parts of a token do not have the lengths and characters of the format")
    return token


def parse(text: str) -> ParsedToken | None:
    """The parts of a token, or None for any text that is not one. Never raises, whatever it is given."""
    if not isinstance(text, str) or len(text) > MAX_TOKEN_CHARACTERS:
        return None
    match = _TOKEN.fullmatch(text)
    if match is None or checksum(text[:-CHECKSUM_LENGTH]) != match[4]:
        return None
    return ParsedToken(prefix=match[1], credential_id=match[2], secret=Secret(match[3]))


def checksum(text: str) -> str:
    """Six base62 digits of the CRC-32 of everything before the checksum; ValueError for text beyond ASCII."""
    return base62.encode(zlib.crc32(text.encode("ascii")), CHECKSUM_LENGTH)
