"""One token as other systems keep it: in each form that can be imported."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keyturn.domain.foreign import ImportedToken
from keyturn.key_generator import SecureKeyGenerator

TOKEN: Final = "old_live_8f3a61c09be2d475"
START: Final = "old_live_8f3a"
WRONG: Final = TOKEN[:-1] + "6"  # has the same start
SALT: Final = b"salt and pepper!"
_RAW: Final = TOKEN.encode()

Import = Callable[..., ImportedToken]


def _hash(text: str | bytes, **how: Any) -> Import:
    def import_it(generator: SecureKeyGenerator, **policy: Any) -> ImportedToken:
        return generator.import_token_hash(text, **how, **policy)

    return import_it


def _token(generator: SecureKeyGenerator, **policy: Any) -> ImportedToken:
    return generator.import_token(TOKEN, **policy)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _ab64(raw: bytes) -> str:
    return _b64(raw).rstrip("=").replace("+", ".")


def _salted(algorithm: str, position: str) -> bytes:
    data = SALT + _RAW if position == "before" else _RAW + SALT
    return hashlib.new(algorithm, data).digest()


ARGON2ID: Final = Argon2id(salt=SALT, length=32, iterations=1, lanes=2, memory_cost=64).derive_phc_encoded(
    _RAW
)
BCRYPT: Final = "$2b$04$oWFSwwSEIrbGdna/RxyL6ecvHK/0VcBvp2fS6CC2VVFkDDji14YxS"  # made by bcrypt 5.0.0
_PBKDF2: Final = hashlib.pbkdf2_hmac("sha256", _RAW, b"pepper", 1_000)
_PBKDF2_512: Final = hashlib.pbkdf2_hmac("sha512", _RAW, SALT, 1_000)
_SCRYPT: Final = hashlib.scrypt(_RAW, salt=b"pepper", n=64, r=8, p=1, dklen=64)
_SHA256: Final = hashlib.sha256(_RAW)
_SHA512: Final = hashlib.sha512(_RAW)

FAST: Final[dict[str, Import]] = {
    "token": _token,
    "sha256 bytes": _hash(_SHA256.digest()),
    "sha256 hex": _hash(_SHA256.hexdigest()),
    "sha256 HEX": _hash(_SHA256.hexdigest().upper()),
    "sha256 base64": _hash(_b64(_SHA256.digest())),
    "sha256 base64url": _hash(base64.urlsafe_b64encode(_SHA256.digest()).decode().rstrip("=")),
    "sha512 hex": _hash(_SHA512.hexdigest(), algorithm="sha512"),
    "sha512 base64": _hash(_b64(_SHA512.digest()), algorithm="sha512"),
}
SLOW: Final[dict[str, Import]] = {
    **{
        f"salted {algorithm} {position} {coding}": _hash(
            _salted(algorithm, position).hex() if coding == "hex" else _b64(_salted(algorithm, position)),
            algorithm=algorithm, salt=SALT, salt_position=position, start=START,
        )
        for algorithm in ("sha256", "sha512") for position in ("before", "after") for coding in ("hex", "base64")
    },
    "pbkdf2 of Django": _hash(f"pbkdf2_sha256$1000$pepper${_b64(_PBKDF2)}", algorithm="pbkdf2", start=START),
    "pbkdf2 of Werkzeug": _hash(f"pbkdf2:sha256:1000$pepper${_PBKDF2.hex()}", algorithm="pbkdf2", start=START),
    "pbkdf2 of passlib": _hash(
        f"$pbkdf2-sha512$1000${_ab64(SALT)}${_ab64(_PBKDF2_512)}", algorithm="pbkdf2", start=START
    ),
    "scrypt": _hash(f"scrypt:64:8:1$pepper${_SCRYPT.hex()}", algorithm="scrypt", start=START),
    "scrypt of Django": _hash(f"scrypt$64$pepper$8$1${_b64(_SCRYPT)}", algorithm="scrypt", start=START),
    "scrypt of passlib": _hash(
        f"$scrypt$ln=6,r=8,p=1${_ab64(b'pepper')}${_ab64(_SCRYPT)}", algorithm="scrypt", start=START
    ),
    "argon2id": _hash(ARGON2ID, algorithm="argon2id", start=START),
    "argon2id of Django": _hash(f"argon2{ARGON2ID}", algorithm="argon2id", start=START),
    "bcrypt": _hash(BCRYPT, algorithm="bcrypt", start=START),
    "bcrypt of Django": _hash(f"bcrypt${BCRYPT}", algorithm="bcrypt", start=START),
}  # fmt: skip
FORMS: Final = {**FAST, **SLOW}
