"""What a route requires of a key beside its being valid."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from keyturn.domain.scope import KeyScope, parse_scope
from keyturn.verifier.decision import Demand

_MAX_DEMANDS: Final = 4_096  # requirements come from programs, not from clients; the bound is for mistakes


class Required(NamedTuple):
    """A scope that the key's must cover, and a query that its permissions must meet; None requires nothing."""

    scope: KeyScope | None = None
    permissions: str | None = None

    @classmethod
    def of(cls, scope: KeyScope | str | None, permissions: str | None) -> Required:
        """A requirement, checked where it is written; InvalidInputError for one that makes no sense."""
        required = cls(parse_scope(scope) if isinstance(scope, str) else scope, permissions)
        required.demand("default")
        return required

    def demand(self, tenant: str) -> Demand:
        """The same, as the verifier takes it."""
        return _demand(tenant, self)


@lru_cache(maxsize=_MAX_DEMANDS)
def _demand(tenant: str, required: Required) -> Demand:
    return Demand.of(tenant=tenant, scope=required.scope, permissions=required.permissions)
