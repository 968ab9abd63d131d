"""The keyring's row: which data keys there are, wrapped by the KEK. `docs/formats/sealed.md` specifies it.

keyring, put = create_keyring(wrapper, log_id)
put = keyring_put(keyring.with_new_data_key(), wrapper)         # what a change of it commits
keyring = open_keyring(put.body, wrapper, log_id)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.crypto.keyring import DEK_BYTES, KEYRING_ROW, Keyring, context_of, lookup_context
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import Put
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import IntegrityError, StorageError, WrongKekError
from keyturn.ports.key_wrapper import KeyWrapper

BODY_VERSION: Final = 1
FIRST_VERSION: Final = 1
_MEMBERS: Final = {"v", "kind", "id", "tenant", "revision", "wrapper", "primary", "deks", "lookup_key"}
_RETIRED: Final = {"minimum", "minimum_since"}  # optional, both or neither
_MAX_VERSION: Final = 2**32 - 1  # what a seal can name
_NEWER: Final = "A newer program wrote this row: upgrade this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What a keyring's row says, its keys still wrapped."""

    revision: int
    primary: int
    minimum: int
    minimum_since: int
    deks: Mapping[int, bytes]
    lookup_key: bytes


def create_keyring(wrapper: KeyWrapper, log_id: str) -> tuple[Keyring, Put]:
    """A keyring with one fresh DEK, and its row."""
    dek, lookup_key = random_bytes(DEK_BYTES), random_bytes(DEK_BYTES)
    keyring = Keyring({FIRST_VERSION: dek}, FIRST_VERSION, lookup_key, log_id)
    return keyring, keyring_put(keyring, wrapper)


def keyring_put(keyring: Keyring, wrapper: KeyWrapper) -> Put:
    """The row of a keyring, with every key wrapped anew; KeysUnavailableError where this process lacks one."""
    wrapped = keyring.wrapped_by(wrapper)
    body: dict[str, object] = {
        "v": BODY_VERSION,
        "kind": KEYRING_ROW,
        "id": KEYRING_ROW,
        "tenant": SYSTEM_TENANT,
        "revision": keyring.revision,
        "wrapper": wrapper.uri,
        "primary": keyring.primary,
        "deks": [{"version": version, "wrapped": to_base64url(dek)} for version, dek in wrapped.deks.items()],
        "lookup_key": to_base64url(wrapped.lookup_key),
    }
    if keyring.minimum > FIRST_VERSION:
        body |= {"minimum": keyring.minimum, "minimum_since": keyring.minimum_since}
    return Put(id=KEYRING_ROW, kind=KEYRING_ROW, tenant=SYSTEM_TENANT, revision=keyring.revision, body=body)


def open_keyring(body: Mapping[str, object], wrapper: KeyWrapper, log_id: str) -> Keyring:
    """The keyring that a row says. The caller then checks the row's seal with it.

    WrongKekError for another KEK, IntegrityError for a row that was altered, StorageError when the KMS does not answer.
    """
    said = _parsed(body)
    return Keyring(
        {version: _unwrapped(said, version, wrapper, log_id) for version in said.deks},
        said.primary,
        _checked(wrapper.unwrap(said.lookup_key, lookup_context(log_id))),
        log_id,
        minimum=said.minimum,
        minimum_since=said.minimum_since,
        revision=said.revision,
    )


def renewed_keyring(body: Mapping[str, object], wrapper: KeyWrapper, known: Keyring) -> Keyring:
    """The keyring that a later row says, to a process that holds the keys of an earlier one.

    Only what is new is unwrapped, so that a process goes on after its KEK was changed. What it cannot unwrap is
    missing from the result. The errors are those of `open_keyring`, but for a KEK that does not fit or answer.
    """
    said = _parsed(body)
    if not known.versions <= said.deks.keys() or said.minimum < known.minimum:
        raise IntegrityError("a later keyring row takes back what an earlier one said")
    return known.with_row(
        primary=said.primary,
        minimum=said.minimum,
        minimum_since=said.minimum_since,
        revision=said.revision,
        listed=said.deks,
        deks=_newly_unwrapped(said, wrapper, known),
    )


def _newly_unwrapped(said: _Body, wrapper: KeyWrapper, known: Keyring) -> dict[int, bytes]:
    found = {}
    for version in said.deks.keys() - (known.versions - known.missing):
        try:
            found[version] = _unwrapped(said, version, wrapper, known.log_id)
        except (WrongKekError, StorageError):
            continue
    return found


def _unwrapped(said: _Body, version: int, wrapper: KeyWrapper, log_id: str) -> bytes:
    return _checked(wrapper.unwrap(said.deks[version], context_of(log_id, version, said.minimum)))


def _checked(key: bytes) -> bytes:
    if len(key) != DEK_BYTES:
        raise IntegrityError("an unwrapped data key has a wrong length")
    return key


def _parsed(body: Mapping[str, object]) -> _Body:
    """What a row's body says; IntegrityError for anything that no program of this format writes."""
    try:
        members: Any = body
        if _integer(members["v"]) != BODY_VERSION or body.keys() not in (_MEMBERS, _MEMBERS | _RETIRED):
            raise IntegrityError("the keyring row has a format this program does not know", fix=_NEWER)
        deks = {_integer(dek["version"]): from_base64url(dek["wrapped"]) for dek in members["deks"]}
        said = _Body(
            revision=_integer(members["revision"]),
            primary=_integer(members["primary"]),
            minimum=_integer(members.get("minimum", FIRST_VERSION)),
            minimum_since=_integer(members.get("minimum_since", 0)),
            deks=deks,
            lookup_key=from_base64url(members["lookup_key"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise IntegrityError("the keyring row is malformed") from None
    if not (
        len(deks) == len(members["deks"])
        and all(FIRST_VERSION <= version <= _MAX_VERSION for version in deks)
        and said.primary in deks
        and ("minimum" not in body or FIRST_VERSION < said.minimum <= said.primary)
        and said.minimum_since >= 0
    ):
        raise IntegrityError("the keyring row contradicts itself", fix=_NEWER)
    return said


def _integer(value: object) -> int:
    if type(value) is not int:  # a bool would pass for one
        raise TypeError("not an integer")
    return value
