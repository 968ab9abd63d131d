"""In whose name a code's secret is handed out, and whether they could still hand it out themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import LIBRARY_ACTOR, LOCAL_ACTOR, Principal
from keyturn.domain.rotation.pick_up import PickUp
from keyturn.errors import ForbiddenError, NotFoundError
from keyturn.issuing.keys import Keys, Together

ROTATE: Final = "rotation.rotate"
_VERSIONS: Final = 100  # the newest, among which is the one that made a code, as few days as it lives
_KEY: Final = "key:"


def maker_of(keys: Keys, pick_up: PickUp, now: datetime) -> Principal:
    """Who made a code, with what they hold now; ForbiddenError for a key that could not make it any more.

    That is one which is not in service, lacks the permission, or had a secret in wrong hands since: what it made by
    then may have been made by somebody else.
    """
    if pick_up.actor in (LOCAL_ACTOR, LIBRARY_ACTOR):
        return Principal(actor=pick_up.actor, tenant=pick_up.tenant)
    try:
        found = _found(keys, pick_up)
    except NotFoundError:
        raise _is_no_maker() from None
    if not _is_in_service(found, now) or _was_exposed(found, pick_up.created_at):
        raise _is_no_maker()
    key = found.key
    maker = Principal(
        actor=pick_up.actor, tenant=pick_up.tenant, permissions=key.permissions, scope=key.scope
    )
    maker.require(ROTATE)
    return maker


def _found(keys: Keys, pick_up: PickUp) -> Together:
    if not pick_up.actor.startswith(_KEY):
        raise _is_no_maker()
    key = keys.get(pick_up.tenant, pick_up.actor.removeprefix(_KEY))
    newest = key.newest_version
    return keys.together(key.tenant, key.key_id, range(max(1, newest - _VERSIONS + 1), newest + 1))


def _is_in_service(found: Together, now: datetime) -> bool:
    key = found.key
    is_usable = found.is_in_service(found.versions[key.version], now) and not found.is_owner_revoked
    return key.type is KeyType.PROVISIONING and is_usable


def _was_exposed(found: Together, since: datetime) -> bool:
    """Whether a version is known to be in wrong hands since a time, be the key in service with another by now."""
    return any(
        version.state is KeyState.COMPROMISED and version.state_changed_at >= since
        for version in found.versions.values()
    )


def _is_no_maker() -> ForbiddenError:
    return ForbiddenError("who made the code could not make it any more", fix="Ask for another one.")
