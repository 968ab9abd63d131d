"""Sealing an answer that is kept under an Idempotency-Key: it opens with that and the keyring, with neither alone.

Whoever reads the store has neither, and whoever runs the server has the keyring, but not what the client chose. The
layout is that of sealed material (`keyturn.crypto.sealing`). `docs/formats/answer.md` specifies it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from keyturn.crypto.derivation import hkdf
from keyturn.crypto.keyring import Keyring
from keyturn.crypto.sealing import DERIVED_BYTES, Derive, open_with, seal_with
from keyturn.domain import ids
from keyturn.domain.framing import framed
from keyturn.domain.secret import Secret

_INFO: Final = b"keyturn-answer-v1"
_SECRET_INFO: Final = b"keyturn-answer-secret-v1"
_SECRET_BYTES: Final = 32


def answer_row_id(keyring: Keyring, tenant: str, actor: str, idempotency_key: Secret) -> str:
    """The id of the row that keeps an answer: a pseudonym of who asked, and under which Idempotency-Key."""
    digest = hashlib.sha256(idempotency_key.reveal_bytes()).hexdigest()
    return ids.build(ids.ANSWER, keyring.pseudonym("answer", tenant, actor, digest))


def associated_data(tenant: str, row_id: str, created_at: int) -> bytes:
    """What binds a sealed answer to its row, and to the time (in microseconds) at which that was made.

    The time tells it from the answer that the same Idempotency-Key got on another day.
    """
    return framed("keyturn-answer-v1", tenant, row_id, str(created_at))


def seal_answer(keyring: Keyring, idempotency_key: Secret, answer: Secret, aad: bytes) -> bytes:
    """`answer` sealed for the row that `aad` names."""
    return seal_with(_deriving(idempotency_key), keyring, answer, aad)


def open_answer(keyring: Keyring, idempotency_key: Secret, sealed: bytes, aad: bytes) -> Secret:
    """The answer; one IntegrityError for every cause: altered, moved, or sealed under other keys."""
    return open_with(_deriving(idempotency_key), keyring, sealed, aad)


def _deriving(idempotency_key: Secret) -> Derive:
    def derive(keyring: Keyring, version: int, salt: bytes) -> bytes:
        ours = keyring.derive(version, salt=salt, info=_SECRET_INFO, length=_SECRET_BYTES)
        return hkdf(ours + idempotency_key.reveal_bytes(), salt=salt, info=_INFO, length=DERIVED_BYTES)

    return derive
