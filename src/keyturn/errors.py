"""Every error Keyturn raises on purpose, in one tree.

    KeyturnError
    ├── InvalidInputError (also ValueError)   what was asked is malformed or out of bounds
    ├── UnauthenticatedError                  no provisioning key, or one that is not valid
    ├── ForbiddenError                        the caller lacks a permission
    ├── NotFoundError                         unknown id, or another tenant's: the two look alike
    ├── ConflictError                         a row moved since it was read; read again and retry
    ├── PreconditionFailedError               the thing is not the one that the caller has seen
    ├── IdempotencyMismatchError              an Idempotency-Key was sent before, with another request
    ├── IllegalTransitionError                the key's state does not allow the act
    ├── NotRecoverableError                   the secret was never kept, so it cannot come back
    ├── ThrottledError                        too many failures from one source
    ├── PoolEmptyError                        RSA keys that were made ahead are used up
    ├── IntegrityError                        a seal, a chain or a floor does not hold
    ├── StaleError                            this node has not read the log recently enough to decide
    ├── StorageError                          the store could not be reached or did not answer in time
    │   ├── StorageFullError                  nothing was written: the disk or quota is full
    │   ├── StorageBusyError                  nothing was written: another writer holds the store
    │   ├── OutcomeUnknownError               the answer to a commit was lost; it may have happened
    │   └── KeysUnavailableError              the store uses a data key that this process could not unwrap
    └── ConfigurationError                    settings, schema or key-encryption key do not fit
        ├── SchemaError
        └── WrongKekError

`code` is stable and is what programs should look at; the message is for people, and `fix` says what to do.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

MAX_SHOWN_CHARACTERS: Final = 32
# The shortest secret is a passphrase of 12 characters; one of 128 random bits has 22.
MAX_SHOWN_AS_IT_IS: Final = 11
MAX_SHOWN_BITS: Final = 32
_NAME: Final = re.compile(
    r"[a-z_.]+"
)  # of a field, a permission, a scheme: no random text has small letters alone

_ITEM: Final = re.compile(r"\Aitems\.[0-9]{1,4}\.")  # before the field of one item of a batch


def shown(value: object) -> str:
    """What a caller sent, for a message: quoted and escaped, and not repeated at all where it may be a secret.

    Messages end up in logs, and what stands in the wrong place is often a key.
    """
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        return f"a number of {value.bit_length():,} bits"  # of the largest, Python gives no text
    text = ascii(value)
    return text if may_be_shown(text[1:-1]) else f"a text of {len(text) - 2} characters"


def may_be_shown(text: str) -> bool:
    """Whether what a caller sent is too short to be a secret, or looks like the name of something."""
    is_name = len(text) <= MAX_SHOWN_CHARACTERS and _NAME.fullmatch(text) is not None
    return len(text) <= MAX_SHOWN_AS_IT_IS or is_name


class KeyturnError(Exception):
    """Root of the tree.

    Attributes:
        code: stable name of the problem, such as ``conflict``.
        fix: one sentence that says how to mend it; may be empty.
    """

    code: ClassVar[str] = "internal"
    default_fix: ClassVar[str] = ""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = self.default_fix if fix is None else fix


class InvalidInputError(KeyturnError, ValueError):
    """What was asked is malformed or out of bounds; `field` names the part, or is empty where it has no short name."""

    code = "invalid_request"
    default_fix = "Correct what is named, and send it again."

    def __init__(self, message: str, *, field: str = "", fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.field = field if may_be_shown(_ITEM.sub("", field, count=1)) else ""


class UnauthenticatedError(KeyturnError):
    """The call carries no provisioning key, or one that is not valid."""

    code = "unauthenticated"
    default_fix = "Send a valid provisioning key as 'Authorization: Bearer <key>'."


class ForbiddenError(KeyturnError):
    """The caller's key is valid but lacks what the act needs."""

    code = "forbidden"
    default_fix = "Use a provisioning key that holds the permission, or issue one that does."


class NotFoundError(KeyturnError):
    """Nothing of that id in this tenant."""

    code = "not_found"
    default_fix = "Check the id and the tenant; list what exists to find it."


class ConflictError(KeyturnError):
    """A row that the change relied on has moved; nothing was written."""

    code = "conflict"
    default_fix = "Read the current state and try again."


class PreconditionFailedError(KeyturnError):
    """The caller asked for a change of the state that it has seen, and there is another one by now."""

    code = "precondition_failed"
    default_fix = "Read the current state, decide again, and send its ETag."


class IdempotencyMismatchError(KeyturnError):
    """The same Idempotency-Key came with another request; nothing was done."""

    code = "idempotency_mismatch"
    default_fix = "Send a fresh Idempotency-Key with each new request; the same one is for the same request."


class IllegalTransitionError(KeyturnError):
    """The key's state does not allow the act."""

    code = "illegal_transition"
    default_fix = "Look at the key's state; an ended key stays ended: issue a new one."


class NotRecoverableError(KeyturnError):
    """The key's secret was not kept when it was issued: only its digest was."""

    code = "not_recoverable"
    default_fix = "Issue a new key; to be able to read a token again, issue it as recoverable."


class ThrottledError(KeyturnError):
    """Too many failing requests from one source; `retry_after` is in seconds."""

    code = "throttled"
    default_fix = "Wait for the time in Retry-After, and stop sending keys that are refused."

    def __init__(self, message: str, *, retry_after: int = 1, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class PoolEmptyError(KeyturnError):
    """No RSA key of the size is ready; `retry_after` is in seconds."""

    code = "pool_empty"
    default_fix = "Ask again after the time in Retry-After: keys are made ahead, a few at a time."

    def __init__(self, message: str, *, retry_after: int = 1, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class IntegrityError(KeyturnError):
    """Stored data are not what was written; nothing may be decided from them."""

    code = "integrity_failed"
    default_fix = "Treat the store as tampered with: compare it with a backup before going on."


class StaleError(KeyturnError):
    """This node has not read the log within its bound and will not guess."""

    code = "stale"
    default_fix = "Try again shortly; if it lasts, check that the node reaches the store."


class StorageError(KeyturnError):
    """The store could not be reached or did not answer in time."""

    code = "storage_unavailable"
    default_fix = "Check that the store is running and reachable, then try again."


class StorageFullError(StorageError):
    """Nothing was written: the disk or the quota of the store is full."""

    code = "storage_full"
    default_fix = "Free or add disk space for the store, then try again."


class StorageBusyError(StorageError):
    """Nothing was written: another writer held the store for too long."""

    code = "storage_busy"
    default_fix = "Find the process that holds the store locked, then try again."


class OutcomeUnknownError(StorageError):
    """The answer to a commit was lost: the change may or may not have happened."""

    code = "outcome_unknown"
    default_fix = "Read the current state before trying again."


class KeysUnavailableError(StorageError):
    """The store is sealed under a data key that this process could not unwrap; nothing can be decided from it here."""

    code = "keys_unavailable"
    default_fix = (
        "Restart this process with the store's present key-encryption key, and check that its KMS answers."
    )


class ConfigurationError(KeyturnError):
    """Settings that cannot work together, or that name nothing known."""

    code = "configuration"


class SchemaError(ConfigurationError):
    """The store's schema is missing, unfinished, or newer than this program."""

    code = "schema"
    default_fix = "Run 'keyturn init' as the schema's owner, or upgrade this program."


class WrongKekError(ConfigurationError):
    """The key-encryption key is not the one that wrapped this store's data keys."""

    code = "wrong_kek"
    default_fix = (
        "Set KEY_STORE_ENCRYPTION_KEY to the key this store was created with, or to the one that 'keyturn rekey' gave"
        " it since."
    )
