"""Answers kept for those who send a request again: one row in the commit that made what the request asked for.

asked = Asked(key=Secret("5f1c..."), operation="POST /v1/keys", body={...}, by=by)
answer = answers.find(asked)                       # None: it is new
put = answers.kept(asked, 201, etag, body, subjects)     # a row for the ChangeSet that makes what was asked for
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.crypto.answers import answer_row_id, associated_data, open_answer, seal_answer
from keyturn.crypto.keyring import sealed_under
from keyturn.domain.answer import KEPT, Answer, KeptAnswer, fingerprint
from keyturn.domain.bodies import answer_from, answer_put, key_from
from keyturn.domain.change import Put
from keyturn.domain.ids import KEY, is_id
from keyturn.domain.instants import to_micros
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IdempotencyMismatchError, IllegalTransitionError, IntegrityError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records

FORGOTTEN_AT_A_TIME: Final = 1_000  # so that other writers need not wait long


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that carries an Idempotency-Key.

    Attributes:
        key: the Idempotency-Key. It is no secret of ours, and opens what is.
        operation: method and path, such as ``POST /v1/keys``.
        body: the JSON that was sent; None where there was none.
    """

    key: Secret
    operation: str
    body: object
    by: Principal


class Answers:
    """Keeps answers for 24 hours."""

    def __init__(self, *, ledger: Ledger, records: Records, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._clock = clock

    def find(self, asked: Asked) -> Answer | None:
        """The answer that this caller got under this Idempotency-Key within the last 24 hours; None for a new request.

        IdempotencyMismatchError when that was another request, ForbiddenError when a key that it made may do more than
        the caller by now, IllegalTransitionError when one has been destroyed: its secret does not come back this way
        either. ConflictError where the data key that sealed it has been retired.
        """
        opened = self._records.get(self._row_id(asked))
        if opened is None:
            return None
        kept = answer_from(opened.body, opened.row.material)
        if kept.expires_at <= self._clock.now():
            # Made anew it is a new row. A second revision would stay in every reader's floor for good.
            self.forget_expired()
            return None
        answer = self._open(asked, kept)
        if not hmac.compare_digest(answer.request, fingerprint(asked.operation, asked.body)):
            raise IdempotencyMismatchError("this Idempotency-Key was sent before, with another request")
        self._check_keys(kept, asked.by)
        return answer

    def kept(self, asked: Asked, status: int, etag: str, body: bytes, subjects: Sequence[str]) -> Put:
        """A row that keeps this answer, for the ChangeSet that makes `subjects`."""
        now = self._clock.now()
        row_id = self._row_id(asked)
        answer = Answer(fingerprint(asked.operation, asked.body), status, etag, Secret(body))
        aad = associated_data(asked.by.tenant, row_id, to_micros(now))
        return answer_put(
            KeptAnswer(
                row_id=row_id,
                tenant=asked.by.tenant,
                subjects=tuple(subjects),
                created_at=now,
                expires_at=now + KEPT,
                material=seal_answer(self._records.keyring, asked.key, answer.to_secret(), aad),
            )
        )

    def forget_expired(self) -> int:
        """Delete the answers of every tenant whose time is over; how many there were."""
        forgotten, now = 0, to_micros(self._clock.now())
        while count := self._ledger.forget_answers(now, FORGOTTEN_AT_A_TIME):
            forgotten += count
        return forgotten

    def _row_id(self, asked: Asked) -> str:
        return answer_row_id(self._records.keyring, asked.by.tenant, asked.by.actor, asked.key)

    def _open(self, asked: Asked, kept: KeptAnswer) -> Answer:
        sealed_with = sealed_under(kept.material or b"")
        if sealed_with is not None and sealed_with < self._records.keyring.minimum:
            # Nobody but the client could have sealed it anew: data keys are retired over its head.
            raise ConflictError(
                "the answer to this Idempotency-Key is sealed under a data key that was retired since",
                fix="Look whether the request was carried out; to carry it out again, send a fresh Idempotency-Key.",
            )
        aad = associated_data(asked.by.tenant, kept.row_id, to_micros(kept.created_at))
        try:
            opened = open_answer(self._records.keyring, asked.key, kept.material or b"", aad)
            return Answer.from_secret(opened)
        except IntegrityError as error:
            raise self._records.refuse(kept.row_id, kept.tenant, str(error)) from None

    def _check_keys(self, kept: KeptAnswer, by: Principal) -> None:
        """Refuse an answer with secrets that this caller would not be given by now."""
        keys = [subject for subject in kept.subjects if is_id(KEY, subject)]
        for key_id, opened in zip(keys, self._records.get_many(keys), strict=True):
            if opened is None:
                raise self._records.refuse(key_id, kept.tenant, "the row has vanished")
            key = key_from(opened.body)
            by.require_grantable(key.permissions, key.scope)
            if key.state is KeyState.DESTROYED:
                raise IllegalTransitionError(
                    f"the key {key_id}, which this request made, has been destroyed since",
                    fix="Send the request with a fresh Idempotency-Key to make another one.",
                )
