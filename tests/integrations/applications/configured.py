"""What an application under test is told by its environment, and what it says of a Verification."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from keyturn import Verification

# The URL and the options of the guard.
OPTIONS: Final[dict[str, Any]] = json.loads(os.environ["GUARD"])
URL: Final[str] = OPTIONS.pop("url")

# By path: what the route requires.
ROUTES: Final[dict[str, dict[str, Any]]] = {
    "/any": {},
    "/read": {"scope": "read"},
    "/write": {"scope": "write"},
    "/documents": {"permissions": "documents.read"},
}


def said(key: Verification) -> dict[str, Any]:
    """What the application knows of who called it."""
    return {
        "code": key.code,
        "key_id": key.key_id,
        "owner": key.owner,
        "scope": key.scope,
        "permissions": list(key.permissions),
        "metadata": dict(key.metadata),
        "pid": os.getpid(),
    }
