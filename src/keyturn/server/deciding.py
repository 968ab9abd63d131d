"""Who calls: the provisioning key behind a request, and what it may do."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from keyturn.domain.key import KeyType
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import (
    ForbiddenError,
    IntegrityError,
    KeyturnError,
    StaleError,
    ThrottledError,
    UnauthenticatedError,
)
from keyturn.server.calls import note_caller
from keyturn.serving import deciding
from keyturn.serving.bearer import bearer_in
from keyturn.verifier.decision import Demand
from keyturn.verifier.entries import Entry

_CALLERS: Final = 1_024  # principals kept; a few services ask very often

ANY_TENANT: Final = Demand(tenant=None)
_TO_ADMIT: Final = Demand(tenant=None, is_use=False)


class Decider(deciding.Decider):
    """Decides for the requests of one event loop, and on who makes them."""

    async def principal(self, authorization: str, permission: str, ip: str | None) -> Principal:
        """Who calls, by the Authorization header; raises what the call is to be answered with."""
        verification = await self.decide(bearer_of(authorization), ANY_TENANT, ip)
        note_caller(verification)
        return principal_of(verification, permission)

    async def admit(self, authorization: str, permission: str, ip: str | None) -> None:
        """As `principal`, for a caller whose body is still to come: no use of the key, and the last word on nobody.

        Until all of the body is there the key may have been revoked, so `principal` must be asked then.
        """
        verification = await self.decide(bearer_of(authorization), _TO_ADMIT, ip)
        note_caller(verification)
        principal_of(verification, permission)


def bearer_of(authorization: str) -> str:
    """The token of an Authorization header; UnauthenticatedError where there is none."""
    token = bearer_in(authorization)
    if not token:
        raise UnauthenticatedError("the call carries no provisioning key")
    return token


def principal_of(verification: Verification, permission: str) -> Principal:
    """The caller behind a valid provisioning key that holds `permission`; else the error to answer with."""
    caller = verification.presented
    if not verification or not isinstance(caller, Entry) or caller.type is not KeyType.PROVISIONING:
        raise _refusal(verification)
    return _permitted(caller.key_id, caller.tenant, caller.permissions, caller.scope, permission)


@lru_cache(maxsize=_CALLERS)
def _permitted(
    key_id: str, tenant: str, permissions: tuple[str, ...], scope: KeyScope, permission: str
) -> Principal:
    principal = Principal(actor=f"key:{key_id}", tenant=tenant, permissions=permissions, scope=scope)
    principal.require(permission)
    return principal


def _refusal(verification: Verification) -> KeyturnError:
    match verification.reason:
        case Code.STALE:
            return StaleError("this node has not read the log recently enough to decide on the caller's key")
        case Code.INTEGRITY_FAILED:
            return IntegrityError("the caller's key is not stored as it was written")
        case Code.THROTTLED:
            return ThrottledError("too many keys from this address were refused")
        case Code.IP_DENIED:
            return ForbiddenError(
                "the caller's key may not be used from this address",
                fix="Call from an address that its allowed_ips name, or change them with another key.",
            )
        case _:
            # Why is not said: whoever holds a revoked key learns nothing of it here.
            return UnauthenticatedError("the provisioning key is not valid")
