"""Reading keys back: one, many by filter, and the material of those whose material may come back."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final, NamedTuple

from keyturn.crypto.key_pairs import private_pem
from keyturn.domain.bodies import key_from
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.change import ChangeSet, Event, EventType, Require
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, stricter
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import check_instant
from keyturn.errors import (
    ForbiddenError,
    IllegalTransitionError,
    InvalidInputError,
    NotRecoverableError,
)
from keyturn.issuing.cursors import DEFAULT_LIMIT, Cursors, check_limit
from keyturn.issuing.keys import Keys
from keyturn.issuing.material import material_of
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, RowFilter
from keyturn.records.records import Records

MAX_FILTER_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFilter:
    """Which keys to list; None means any. `q` is part of the name, the key_id or the owner."""

    owner: str | None = None
    type: KeyType | None = None
    scope: KeyScope | None = None
    state: KeyState | None = None
    tag: str | None = None
    prefix: str | None = None
    expires_before: datetime | None = None
    unused_since: datetime | None = None
    q: str | None = None

    def __post_init__(self) -> None:
        for name in ("owner", "tag", "prefix", "q"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, str) or len(value) > MAX_FILTER_CHARACTERS or "\x00" in value
            ):
                raise InvalidInputError(
                    f"{name} has at most {MAX_FILTER_CHARACTERS} characters, none of them NUL", field=name
                )
        for name, kind in (("type", KeyType), ("scope", KeyScope), ("state", KeyState)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise InvalidInputError(f"{name} is a {kind.__name__}", field=name)
        for name in ("expires_before", "unused_since"):
            if getattr(self, name) is not None:
                check_instant(name, getattr(self, name))

    def may_admit(self, key: Key) -> bool:
        """Whether a key's own fields are those that are asked for, as far as they alone tell."""
        asked = (self.owner, self.type, self.scope, self.state, self.prefix)
        found = (key.owner, key.type, key.scope, key.state, key.prefix)
        return (self.tag is None or self.tag in key.tags) and all(
            wanted in (None, value) for wanted, value in zip(asked, found, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Some keys, newest first, and the cursor for those after them; None when there are no more."""

    items: tuple[Key, ...]
    next_cursor: str | None


class HandedOut(NamedTuple):
    """A key as it was when its secret was handed out, and the secret of its present version."""

    key: Key
    secret: Secret


class Reader:
    """Reads keys for callers of one process."""

    def __init__(self, *, ledger: Ledger, records: Records, keys: Keys, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._keys = keys
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def get(self, key_id: str, by: Principal) -> Key:
        """The key; NotFoundError for an unknown id and another tenant's alike."""
        return self._keys.get(by.tenant, key_id)

    def parts(self, key_id: str, by: Principal) -> tuple[Key, Version, Owner | None]:
        """The key, its present version, and its owner if that was ever revoked: all that its status depends on."""
        found = self._keys.together(by.tenant, key_id)
        return found.key, found.versions[found.key.version], found.owner

    def material(self, key_id: str, by: Principal) -> HandedOut:
        """The secret of the key's present version, with an entry in the log before it is handed out.

        NotRecoverableError where it was not kept, ForbiddenError for a key that may do more than the caller,
        IllegalTransitionError for one that does not serve: it is not active, has expired, or its owner was revoked.
        """
        return self._retrying.change(key_id, lambda: self._handed_out(key_id, by))

    def _handed_out(self, key_id: str, by: Principal) -> HandedOut:
        key, version, owner = self.parts(key_id, by)
        _require_within(by, key)
        if key.type.is_token and not key.recoverable:
            raise NotRecoverableError("the secret of this key cannot come back")
        _require_serving(key, version, owner, self._clock.now())
        secret = material_of(self._records, key, version)
        event = Event(
            type=EventType.KEY_RETRIEVED,
            time=self._clock.now(),
            tenant=key.tenant,
            actor=by.actor,
            subjects=(key.key_id,),
        )
        # Whoever revokes the key meanwhile is first, or later than this entry says.
        requires = [Require(key.row_id, key.revision), Require(version.row_id, version.revision)]
        if key.owner_row is not None:
            requires.append(Require(key.owner_row, 0 if owner is None else owner.revision))
        self._records.commit(ChangeSet(requires=tuple(requires), events=(event,)))
        if key.type.is_token:
            return HandedOut(key, secret)
        raw = secret.reveal_bytes()
        return HandedOut(key, Secret(to_base64url(raw)) if version.public_key is None else private_pem(raw))

    def list(
        self, by: Principal, matching: KeyFilter, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> KeyPage:
        """Keys of the caller's tenant, newest first; `limit` is 1 to 1,000.

        A cursor is good only for the tenant and the filter that it was made for: InvalidInputError otherwise.
        """
        check_limit(limit)
        cursors = Cursors(self._records, by.tenant, _described(matching))
        before = cursors.read(cursor)
        found = self._ledger.list_keys(row_filter(by.tenant, before, matching), limit + 1)
        rows = found[:limit]
        keys = tuple(key_from(opened.body) for opened in self._records.open_all(rows))
        for row in rows:
            self._records.place_of(row)
        return KeyPage(
            # The index columns found these rows; the sealed bodies have the last word.
            items=tuple(key for key in keys if key.tenant == by.tenant and matching.may_admit(key)),
            next_cursor=cursors.after(found, limit),
        )


def _require_within(by: Principal, key: Key) -> None:
    """Reading a secret is as good as being granted what its key may do."""
    try:
        by.require_grantable(key.permissions, key.scope)
    except ForbiddenError:
        raise ForbiddenError(
            "no key can read the secret of one that may do more than itself",
            fix="Use a provisioning key that holds the permissions and the scope of that key.",
        ) from None


def _require_serving(key: Key, version: Version, owner: Owner | None, now: datetime) -> None:
    state = stricter(key.state, version.state)
    if state is not KeyState.ACTIVE:
        raise IllegalTransitionError(f"the secret of a key that is {state.value} is not handed out")
    if key.is_expired(now):
        raise IllegalTransitionError("the secret of a key that has expired is not handed out")
    if owner is not None and owner.epoch != key.owner_epoch:
        raise IllegalTransitionError("the secret of a key whose owner was revoked is not handed out")


def row_filter(tenant: str, before: int | None, matching: KeyFilter) -> RowFilter:
    """What a ledger looks for, from a position on."""
    return RowFilter(
        tenant=tenant,
        before=before,
        owner=matching.owner,
        type=None if matching.type is None else matching.type.value,
        scope=None if matching.scope is None else matching.scope.value,
        state=None if matching.state is None else matching.state.value,
        tag=matching.tag,
        prefix=matching.prefix,
        expires_before=None if matching.expires_before is None else to_micros(matching.expires_before),
        unused_since=None if matching.unused_since is None else to_micros(matching.unused_since),
        q=matching.q,
    )


def _described(matching: KeyFilter) -> str:
    return json.dumps([None if value is None else str(value) for value in astuple(matching)])
