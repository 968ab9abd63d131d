"""Reading hashes as other systems keep them: plain, salted, and the forms of Django, Werkzeug, passlib and PHC.

read_hash("9f86d081884c7d65...", "sha256")                              # the 32 bytes of a plain hash
read_hash("pbkdf2_sha256$720000$salt$Zm9v...", "pbkdf2")                # Pbkdf2(...)
read_hash("b109f3bb...", "sha512", salt=b"pepper", salt_position="after")   # Salted(...)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from keyturn.crypto.slow_hashes import (
    BEFORE,
    DIGEST_BYTES,
    Argon2,
    Bcrypt,
    Pbkdf2,
    Salted,
    Scrypt,
    SlowHash,
    require_bcrypt,
)
from keyturn.domain.bytestext import from_any_base64
from keyturn.errors import InvalidInputError, shown

MAX_HASH_CHARACTERS: Final = 4_096
SALT_ENCODINGS: Final = ("text", "hex", "base64")
_HEX: Final = re.compile("[0-9A-Fa-f]+")

_NUMBER: Final = "([0-9]{1,10})"
_PLAIN_SALT: Final = r"([!-#%-~]{1,1024})"  # printable, but for the $ that ends it
_B64: Final = "([A-Za-z0-9+/_.=-]{1,1400})"

_DJANGO_PBKDF2: Final = re.compile(rf"pbkdf2_(sha256|sha512)\${_NUMBER}\${_PLAIN_SALT}\${_B64}")
_PASSLIB_PBKDF2: Final = re.compile(rf"\$pbkdf2-(sha256|sha512)\${_NUMBER}\${_B64}\${_B64}")
_WERKZEUG_PBKDF2: Final = re.compile(rf"pbkdf2:(sha256|sha512):{_NUMBER}\${_PLAIN_SALT}\$([0-9a-f]{{2,128}})")
_DJANGO_SCRYPT: Final = re.compile(rf"scrypt\${_NUMBER}\${_PLAIN_SALT}\${_NUMBER}\${_NUMBER}\${_B64}")
_WERKZEUG_SCRYPT: Final = re.compile(
    rf"scrypt:{_NUMBER}:{_NUMBER}:{_NUMBER}\${_PLAIN_SALT}\$([0-9a-f]{{2,128}})"
)
_PASSLIB_SCRYPT: Final = re.compile(rf"\$scrypt\$ln=([0-9]{{1,2}}),r={_NUMBER},p={_NUMBER}\${_B64}\${_B64}")
_ARGON2: Final = re.compile(
    rf"(?:argon2)?\$argon2id\$v=19\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_B64}\${_B64}"
)


def read_hash(
    text: str, algorithm: str, *, salt: bytes | None = None, salt_position: str = BEFORE
) -> bytes | SlowHash:
    """The bytes of a plain SHA-256 or SHA-512; or what a salted or password hash says.

    InvalidInputError for a text that is no such hash, and for one whose computation would cost too much.
    """
    if not isinstance(text, str) or len(text) > MAX_HASH_CHARACTERS:
        raise _refused("a hash is a text of up to 4,096 characters")
    if algorithm in DIGEST_BYTES:
        digest = read_digest(text, algorithm)
        return digest if salt is None else Salted(algorithm, salt, salt_position, digest)
    reads = _PASSWORD_HASHES.get(algorithm) if isinstance(algorithm, str) else None
    if reads is None:
        raise InvalidInputError(
            f"there is no import of {shown(algorithm)} hashes",
            field="algorithm",
            fix=f"Use one of: {', '.join(ALGORITHMS)}.",
        )
    if salt is not None:
        raise InvalidInputError(f"the salt of {algorithm} is in the hash", field="salt", fix="Leave it out.")
    found = reads(text)
    if found is None:
        raise _refused(f"that is no {algorithm} hash in a form that is known here")
    return found


def read_digest(text: str, algorithm: str) -> bytes:
    """A plain digest in hexadecimal, or base64 of either alphabet, padded or not: its length tells which."""
    size = DIGEST_BYTES[algorithm]
    try:
        digest = bytes.fromhex(text) if _is_hex(text, size) else from_any_base64(text)
    except ValueError:
        digest = b""
    if len(digest) != size:
        raise _refused(f"that is no {algorithm} hash: {size} bytes, in hexadecimal or base64")
    return digest


def read_salt(text: str, encoding: str) -> bytes:
    """A salt: `text` for its characters as they stand (UTF-8), or `hex` or `base64`."""
    try:
        if encoding == "text":
            return text.encode()
        if encoding == "hex":
            return bytes.fromhex(text) if _HEX.fullmatch(text) else _none()
        if encoding == "base64":
            return from_any_base64(text)
    except ValueError:
        raise InvalidInputError(
            f"the salt is not {encoding}", field="salt", fix="Say how it is written in salt_encoding."
        ) from None
    raise InvalidInputError(
        f"there is no encoding {shown(encoding)}",
        field="salt_encoding",
        fix=f"Use one of: {', '.join(SALT_ENCODINGS)}.",
    )


def _none() -> bytes:
    raise ValueError("not hexadecimal")


def _is_hex(text: str, size: int) -> bool:
    return len(text) == 2 * size and _HEX.fullmatch(text) is not None


def _pbkdf2(text: str) -> SlowHash | None:
    if match := _DJANGO_PBKDF2.fullmatch(text):
        return Pbkdf2(match[1], int(match[2]), match[3].encode(), _base64(match[4]))
    if match := _WERKZEUG_PBKDF2.fullmatch(text):
        return Pbkdf2(match[1], int(match[2]), match[3].encode(), _hex(match[4]))
    if match := _PASSLIB_PBKDF2.fullmatch(text):
        return Pbkdf2(match[1], int(match[2]), _base64(match[3]), _base64(match[4]))
    return None


def _scrypt(text: str) -> SlowHash | None:
    if match := _DJANGO_SCRYPT.fullmatch(text):
        n, r, p = int(match[1]), int(match[3]), int(match[4])
        return Scrypt(n, r, p, match[2].encode(), _base64(match[5]))
    if match := _WERKZEUG_SCRYPT.fullmatch(text):
        n, r, p = int(match[1]), int(match[2]), int(match[3])
        return Scrypt(n, r, p, match[4].encode(), _hex(match[5]))
    if match := _PASSLIB_SCRYPT.fullmatch(text):
        r, p = int(match[2]), int(match[3])
        return Scrypt(1 << int(match[1]), r, p, _base64(match[4]), _base64(match[5]))
    return None


def _argon2(text: str) -> SlowHash | None:
    match = _ARGON2.fullmatch(text)
    if match is None:
        return None
    memory, iterations, lanes = int(match[1]), int(match[2]), int(match[3])
    return Argon2(memory, iterations, lanes, _base64(match[4]), _base64(match[5]))


def _bcrypt(text: str) -> SlowHash | None:
    found = Bcrypt(text.removeprefix("bcrypt$"))
    require_bcrypt()  # now, and not only when its holder comes
    return found


def _base64(text: str) -> bytes:
    """Base64 of either alphabet or passlib's, which has `.` for `+`, padded or not.

    Some systems leave bits over in the last character, so that it need not be the one writing of its bytes.
    """
    plain = text.rstrip("=").replace(".", "+").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _refused("the hash holds what is no base64") from None


def _hex(text: str) -> bytes:
    if len(text) % 2:
        raise _refused("the hash holds what is no hexadecimal")
    return bytes.fromhex(text)


def _refused(what: str) -> InvalidInputError:
    return InvalidInputError(what, field="hash", fix="Give it as the system it comes from has stored it.")


_PASSWORD_HASHES: Final[dict[str, Callable[[str], SlowHash | None]]] = {
    "pbkdf2": _pbkdf2,
    "scrypt": _scrypt,
    "argon2id": _argon2,
    "bcrypt": _bcrypt,
}
ALGORITHMS: Final = (*DIGEST_BYTES, *_PASSWORD_HASHES)
