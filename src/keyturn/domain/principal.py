"""Who makes a management call, in which tenant, and what they may do and hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.permissions import Grants, grants_within
from keyturn.domain.scope import KeyScope
from keyturn.errors import ForbiddenError

LOCAL_ACTOR: Final = "local"
LIBRARY_ACTOR: Final = "library"
SYSTEM_ACTOR: Final = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller. `actor` is what the log calls them: `key:<key_id>`, `local`, `library` or `system`."""

    actor: str
    tenant: str = DEFAULT_TENANT
    permissions: tuple[str, ...] = ("*",)
    scope: KeyScope = KeyScope.FULL

    def require(self, permission: str) -> None:
        """ForbiddenError unless the caller holds `permission`."""
        if not Grants(self.permissions).cover(permission):
            raise ForbiddenError(
                f"this key lacks the permission {permission}",
                fix=f"Use a provisioning key that holds {permission}.",
            )

    def require_other_than(self, key_id: str) -> None:
        """ForbiddenError where the caller is the key `key_id` itself: its bounds are not its own to move."""
        if self.actor == f"key:{key_id}":
            raise ForbiddenError(
                "no key changes its own policy",
                fix="Use another provisioning key that holds what this one does.",
            )

    def require_grantable(self, permissions: tuple[str, ...], scope: KeyScope) -> None:
        """ForbiddenError when the caller would hand on more than it holds."""
        if not grants_within(self.permissions, permissions):
            raise ForbiddenError(
                "no key can grant permissions that it lacks",
                fix="Ask for fewer permissions, or use a provisioning key that holds them all.",
            )
        if not self.scope.covers(scope):
            raise ForbiddenError(
                f"a key of scope {self.scope.value} cannot hand on the scope {scope.value}",
                fix=f"Ask for a scope within {self.scope.value}.",
            )
