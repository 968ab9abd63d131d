"""What tests of rotation say often."""

from __future__ import annotations

from typing import Any, Final

from keyturn.domain.key import KeyType
from keyturn.domain.scope import KeyScope
from keyturn.key_generator import GeneratedKey, SecureKeyGenerator
from keyturn.key_rotator import KeyRotator, RotatedKey
from tests.fakes import Process

HOUR: Final = 3_600
DAY: Final = 86_400


def rotator_of(process: Process, **options: Any) -> KeyRotator:
    """A rotator in a process, by its clock."""
    return KeyRotator(SecureKeyGenerator(clock=process.clock), process.store(), **options)


def token_of(rotated: RotatedKey) -> str:
    assert rotated.secret is not None
    return rotated.secret.reveal()


def signing_key(process: Process, key_type: KeyType = KeyType.HMAC) -> GeneratedKey:
    return process.issue(key_type=key_type, key_scope=KeyScope.FULL)
