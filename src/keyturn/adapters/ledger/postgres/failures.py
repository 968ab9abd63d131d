"""What PostgreSQL's errors mean to Keyturn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from keyturn.adapters.ledger.postgres.connecting import DeadlineExpiredError
from keyturn.errors import (
    ConfigurationError,
    InvalidInputError,
    KeyturnError,
    OutcomeUnknownError,
    SchemaError,
    StorageBusyError,
    StorageError,
    StorageFullError,
)

__all__ = ["is_lost", "read_errors", "translate", "write_errors"]

_GRANTS: Final = (
    "Run 'keyturn init' as the schema's owner with this role as the one to grant to,"
    " or SELECT keyturn.grant_to('<role>') as that owner."
)
_ISOLATION: Final = "Set default_transaction_isolation of this role to 'read committed'."
_BUSY = (StorageBusyError, "the store is busy", None)
_NO_SCHEMA = (SchemaError, "the store has no Keyturn schema, or another version of it", None)
_MEANINGS: Final[dict[str, tuple[type[KeyturnError], str, str | None]]] = {
    "53100": (StorageFullError, "the store is full", None),
    "40001": _BUSY,  # serialization failure
    "40P01": _BUSY,  # deadlock
    "55P03": _BUSY,  # lock_timeout
    "57014": _BUSY,  # statement_timeout, or cancelled by hand
    "3F000": _NO_SCHEMA,
    "42P01": _NO_SCHEMA,  # table
    "42703": _NO_SCHEMA,  # column
    "42883": _NO_SCHEMA,  # function
    "42501": (ConfigurationError, "the store's role lacks a right", _GRANTS),
    "25001": (ConfigurationError, "the store's role has settings that do not fit", _ISOLATION),
}


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection ended before the server's answer to the statement was known.

    An answer of severity ERROR is an answer: the transaction was rolled back. A value that psycopg itself refuses was
    never sent.
    """
    if isinstance(error, psycopg.DataError):
        return False
    return error.sqlstate is None or error.diag.severity_nonlocalized in {"FATAL", "PANIC"}


def translate(error: psycopg.Error) -> KeyturnError:
    """Our error for one of psycopg's, where the outcome is known or does not matter."""
    if _is_refused(error):
        return InvalidInputError(f"the store cannot keep this: {_said(error)}")
    kind, problem, fix = _MEANINGS.get(error.sqlstate or "", (StorageError, "the store failed", None))
    return kind(f"{problem}: {_said(error)}", fix=fix)


def _said(error: psycopg.Error) -> str:
    # Only the primary message: the detail of a refused row quotes its contents.
    return error.diag.message_primary or str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def read_errors() -> Iterator[None]:
    """Turn psycopg's errors into ours, where nothing was to be written."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from _cause(error)
    except UnicodeEncodeError:
        raise InvalidInputError("the store cannot keep half of a surrogate pair") from None


@contextmanager
def write_errors() -> Iterator[None]:
    """Turn psycopg's errors into ours; an answer that was lost is OutcomeUnknownError."""
    try:
        yield
    except psycopg.Error as error:
        if not is_lost(error):
            raise translate(error) from _cause(error)
        slow = isinstance(error, DeadlineExpiredError)
        why = "did not answer in time" if slow else f"lost the connection: {_said(error)}"
        raise OutcomeUnknownError(f"the store {why}; the change may have been made") from error


def _cause(error: psycopg.Error) -> psycopg.Error | None:
    return None if _is_refused(error) else error


def _is_refused(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError)
