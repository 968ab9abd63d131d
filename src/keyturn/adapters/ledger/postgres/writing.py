"""Calls of the schema's functions, the only ways to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import LiteralString

from keyturn.adapters.ledger.postgres.coalescing import Outcome
from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection
from keyturn.adapters.ledger.postgres.failures import read_errors, write_errors
from keyturn.adapters.ledger.postgres.pool import Pool
from keyturn.adapters.ledger.postgres.statements import COMMIT
from keyturn.errors import ConflictError, InvalidInputError, KeyturnError
from keyturn.ports.passing import is_in_passing

__all__ = ["Writer"]


class Writer:
    """Writes through a pool's connections; `passing` is how many seconds a write takes that is made in passing."""

    def __init__(self, pool: Pool, passing: float) -> None:
        self._pool = pool
        self._passing = passing

    def call(self, statement: LiteralString, arguments: Sequence[object], deadline: float) -> object:
        """What the function answers; an answer that is lost raises OutcomeUnknownError."""
        # A connection that cannot be had wrote nothing; one that is lost afterwards may have.
        with read_errors(), self._pool.lend(deadline) as connection, write_errors(), self._limits(connection):
            record = connection.execute(statement, arguments).fetchone()
        return None if record is None else record[0]

    def _limits(self, connection: DeadlineConnection) -> AbstractContextManager[object]:
        # Where the client alone gave up so soon, the server would do unheard what is then tried again.
        return connection.brief_transaction(self._passing) if is_in_passing() else nullcontext()

    def commit(self, encoded: Sequence[str], deadline: float) -> list[Outcome]:
        """Outcomes of encoded ChangeSets, sent together; where one cannot be stored at all, one by one."""
        try:
            return self._commit_together(encoded, deadline)
        except InvalidInputError:
            if len(encoded) == 1:
                raise
            return [self._commit_alone(one, deadline) for one in encoded]

    def _commit_together(self, encoded: Sequence[str], deadline: float) -> list[Outcome]:
        answers = self.call(COMMIT, (f"[{','.join(encoded)}]",), deadline)
        if not isinstance(answers, list) or len(answers) != len(encoded):
            raise TypeError("keyturn.commit answers with a list of as many as it was given")
        return [_outcome(answer) for answer in answers]

    def _commit_alone(self, encoded: str, deadline: float) -> Outcome:
        try:
            return self._commit_together([encoded], deadline)[0]
        except KeyturnError as error:
            return error


def _outcome(answer: Mapping[str, int | str]) -> Outcome:
    if "position" in answer:
        return int(answer["position"])
    return ConflictError(f"the row {answer['conflict']} has moved since it was read")
