"""Hashes that can't be looked up by: salted ones, and those made for passwords. Each is computed anew to compare.

    slow = Pbkdf2("sha256", 600_000, salt, digest)
    slow.matches(Secret(presented))                     # in a thread: it takes up to two seconds
    sealed_text = encode(slow, "acme_8f3a")             # what the store keeps, sealed
    decode(sealed_text)                                 # (slow, "acme_8f3a")

What a computation may cost is bounded when a hash comes in, and again when it is read. `docs/formats/sealed.md`
specifies the text.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keyturn.domain import canonical
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.foreign import check_start
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, IntegrityError, InvalidInputError

FORMAT: Final = 1
DIGEST_BYTES: Final = {"sha256": 32, "sha512": 64}
BEFORE, AFTER = "before", "after"
MIN_DIGEST_BYTES: Final = 16
MAX_DIGEST_BYTES: Final = 64
MAX_SALT_BYTES: Final = 1_024
MAX_PBKDF2_ITERATIONS: Final = 2_000_000  # 0.6 to 3 s; Django 6.0 makes 1,200,000
MAX_MEMORY: Final = 256 * 1_024  # KiB, of scrypt and Argon2 alike
MAX_SCRYPT_COST: Final = 2_097_152  # n * r * p: 1.3 s
MAX_ARGON2_COST: Final = 1_024 * 1_024  # KiB of memory times iterations: 2 s
MAX_LANES: Final = 16
MIN_ARGON2_SALT_BYTES: Final = 8  # RFC 9106, section 3.1
MIN_BCRYPT_COST: Final = 4
MAX_BCRYPT_COST: Final = 14  # 2^14 rounds: 1.4 s
BCRYPT_BYTES: Final = 72  # the rest of a longer secret does not count with bcrypt, so that none is accepted

_BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_T = TypeVar("_T")


class SlowHash(Protocol):
    """A hash of one token, with all that its computation needs; InvalidInputError where that would cost too much."""

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash. Other threads run meanwhile."""

    def members(self) -> dict[str, object]:
        """Itself as JSON values, with `algorithm` among them."""


@dataclass(frozen=True, slots=True, repr=False)
class Salted:
    """SHA-256 or SHA-512 over a salt and the token, or over the token and a salt."""

    algorithm: str
    salt: bytes
    position: str
    digest: bytes

    def __post_init__(self) -> None:
        _check(self.algorithm in DIGEST_BYTES, "a salted hash is SHA-256 or SHA-512")
        _check(self.position in (BEFORE, AFTER), "a salt stands before or after the token", "salt_position")
        _check(1 <= len(self.salt) <= MAX_SALT_BYTES, f"a salt has 1 to {MAX_SALT_BYTES:,} bytes", "salt")
        _check(
            len(self.digest) == DIGEST_BYTES[self.algorithm],
            "the hash has another length than its algorithm's",
        )

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash."""
        raw = token.reveal_bytes()
        data = self.salt + raw if self.position == BEFORE else raw + self.salt
        return hmac.compare_digest(hashlib.new(self.algorithm, data).digest(), self.digest)

    def members(self) -> dict[str, object]:
        """Itself as JSON values."""
        return {
            "algorithm": f"salted-{self.algorithm}",
            "digest": to_base64url(self.digest),
            "salt": to_base64url(self.salt),
            "salt_position": self.position,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Pbkdf2:
    """PBKDF2 with HMAC-SHA-256 or HMAC-SHA-512 (RFC 8018)."""

    algorithm: str
    iterations: int
    salt: bytes
    digest: bytes

    def __post_init__(self) -> None:
        _check(self.algorithm in DIGEST_BYTES, "PBKDF2 is taken with SHA-256 and SHA-512")
        _check(
            1 <= self.iterations <= MAX_PBKDF2_ITERATIONS,
            f"PBKDF2 is taken with 1 to {MAX_PBKDF2_ITERATIONS:,} iterations",
        )
        _check_lengths(self.salt, self.digest)

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash."""
        made = hashlib.pbkdf2_hmac(
            self.algorithm, token.reveal_bytes(), self.salt, self.iterations, len(self.digest)
        )
        return hmac.compare_digest(made, self.digest)

    def members(self) -> dict[str, object]:
        """Itself as JSON values."""
        return {
            "algorithm": f"pbkdf2-{self.algorithm}",
            "iterations": self.iterations,
            **_lengths(self.salt, self.digest),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Scrypt:
    """scrypt (RFC 7914)."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def __post_init__(self) -> None:
        _check(self.n > 1 and self.n & (self.n - 1) == 0, "scrypt's n is a power of two")
        _check(self.r >= 1 and self.p >= 1, "scrypt's r and p are at least 1")
        _check(
            self.n * self.r <= MAX_MEMORY * 8 and self.n * self.r * self.p <= MAX_SCRYPT_COST,
            f"scrypt is taken with n * r * p up to {MAX_SCRYPT_COST:,}",
        )
        _check_lengths(self.salt, self.digest)

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash."""
        made = hashlib.scrypt(
            token.reveal_bytes(),
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=2 * MAX_MEMORY * 1_024,
            dklen=len(self.digest),
        )
        return hmac.compare_digest(made, self.digest)

    def members(self) -> dict[str, object]:
        """Itself as JSON values."""
        return {
            "algorithm": "scrypt",
            "n": self.n,
            "r": self.r,
            "p": self.p,
            **_lengths(self.salt, self.digest),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Argon2:
    """Argon2id, version 1.3 (RFC 9106); `memory` is in KiB."""

    memory: int
    iterations: int
    lanes: int
    salt: bytes
    digest: bytes

    def __post_init__(self) -> None:
        _check(1 <= self.lanes <= MAX_LANES, f"Argon2 is taken with 1 to {MAX_LANES} lanes")
        _check(
            self.iterations >= 1
            and 8 * self.lanes <= self.memory <= MAX_MEMORY
            and self.memory * self.iterations <= MAX_ARGON2_COST,
            f"Argon2 is taken with up to {MAX_MEMORY:,} KiB of memory, times iterations up to {MAX_ARGON2_COST:,}",
        )
        _check_lengths(self.salt, self.digest)
        _check(len(self.salt) >= MIN_ARGON2_SALT_BYTES, "a salt of Argon2 has at least 8 bytes")

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash."""
        try:
            made = Argon2id(
                salt=self.salt,
                length=len(self.digest),
                iterations=self.iterations,
                lanes=self.lanes,
                memory_cost=self.memory,
            ).derive(token.reveal_bytes())
        except UnsupportedAlgorithm:
            raise ConfigurationError(
                "this machine's OpenSSL has no Argon2id",
                fix="Install a release of 'cryptography' that has it.",
            ) from None
        return hmac.compare_digest(made, self.digest)

    def members(self) -> dict[str, object]:
        """Itself as JSON values."""
        return {
            "algorithm": "argon2id",
            "memory": self.memory,
            "iterations": self.iterations,
            "lanes": self.lanes,
            **_lengths(self.salt, self.digest),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Bcrypt:
    """bcrypt, of tokens of up to 72 characters: it does not look at what is beyond them."""

    text: str

    def __post_init__(self) -> None:
        match = _BCRYPT.fullmatch(self.text)
        _check(
            match is not None and MIN_BCRYPT_COST <= int(match[1]) <= MAX_BCRYPT_COST,
            f"a bcrypt hash begins with $2a$, $2b$ or $2y$ and a cost of 04 to {MAX_BCRYPT_COST}",
        )

    def matches(self, token: Secret) -> bool:
        """Whether it is this token's hash."""
        require_bcrypt()
        import bcrypt  # noqa: PLC0415 - an extra

        raw = token.reveal_bytes()
        return len(raw) <= BCRYPT_BYTES and bcrypt.checkpw(raw, self.text.encode())

    def members(self) -> dict[str, object]:
        """Itself as JSON values."""
        return {"algorithm": "bcrypt", "text": self.text}


def require_bcrypt() -> None:
    """ConfigurationError where the extra that bcrypt hashes need is not installed."""
    try:
        import bcrypt  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            "bcrypt hashes need a package that is not installed",
            fix="Install the extra, on every node: pip install 'keyturn[bcrypt]'.",
        ) from None


def encode(slow: SlowHash, start: str) -> str:
    """The text of a hash and of the start of its token."""
    return canonical.encode({"v": FORMAT, "start": start, **slow.members()})


def decode(text: str) -> tuple[SlowHash, str]:
    """The hash and the start that a text says; IntegrityError for any text that `encode` does not make."""
    try:
        members: Any = canonical.decode(text)
        if _take(members, "v", int) != FORMAT:
            raise IntegrityError(
                "a sealed hash has a format this program does not know",
                fix="A newer program wrote this row: upgrade this one.",
            )
        start = check_start(_take(members, "start", str))
        slow = _slow_of(members)
        if members:
            raise ValueError("a member that is not known")
    except (KeyError, ValueError, TypeError, AttributeError):
        raise IntegrityError("a sealed hash is malformed") from None
    return slow, start


def _slow_of(members: dict[str, Any]) -> SlowHash:
    algorithm = _take(members, "algorithm", str)
    if algorithm == "bcrypt":
        return Bcrypt(_take(members, "text", str))
    salt, digest = (from_base64url(_take(members, name, str)) for name in ("salt", "digest"))
    family, _, plain = algorithm.partition("-")
    if family == "salted":
        return Salted(plain, salt, _take(members, "salt_position", str), digest)
    if family == "pbkdf2":
        return Pbkdf2(plain, _take(members, "iterations", int), salt, digest)
    if algorithm == "scrypt":
        n, r, p = (_take(members, name, int) for name in "nrp")
        return Scrypt(n, r, p, salt, digest)
    if algorithm == "argon2id":
        memory, iterations, lanes = (_take(members, name, int) for name in ("memory", "iterations", "lanes"))
        return Argon2(memory, iterations, lanes, salt, digest)
    raise ValueError("an algorithm that is not known")


def _take(members: dict[str, Any], name: str, kind: type[_T]) -> _T:
    value = members.pop(name)
    if type(value) is not kind:
        raise TypeError(f"{name} is no {kind.__name__}")
    return value


def _lengths(salt: bytes, digest: bytes) -> Mapping[str, object]:
    return {"salt": to_base64url(salt), "digest": to_base64url(digest)}


def _check_lengths(salt: bytes, digest: bytes) -> None:
    _check(1 <= len(salt) <= MAX_SALT_BYTES, f"a salt has 1 to {MAX_SALT_BYTES:,} bytes")
    _check(
        MIN_DIGEST_BYTES <= len(digest) <= MAX_DIGEST_BYTES,
        f"the hash has {MIN_DIGEST_BYTES} to {MAX_DIGEST_BYTES} bytes",
    )


def _check(holds: bool, what: str, field: str = "hash") -> None:
    if not holds:
        raise InvalidInputError(what, field=field, fix="Have the holder's token reissued instead.")
