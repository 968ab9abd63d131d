"""Who may say by what policy keys are rotated."""

from __future__ import annotations

from keyturn.domain.permissions import grants_within
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.errors import ForbiddenError


def require_may_write(by: Principal) -> None:
    """ForbiddenError for who could not issue every key.

    What a policy does it does in the name of the system, to keys of any kind: those that it selects, those that come to
    be among these, and those that name it. So it takes what rotating any of them takes.
    """
    if not grants_within(by.permissions, ("*",)) or not by.scope.covers(KeyScope.FULL):
        raise ForbiddenError(
            "a policy rotates keys that this key could not issue",
            fix="Use a provisioning key of the scope full that holds *. To pause or delete a policy takes less.",
        )
