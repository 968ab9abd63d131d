"""Changes by name: what a caller says of a key, a policy or an endpoint is to become something else."""

from __future__ import annotations

from collections.abc import Mapping

from keyturn.errors import InvalidInputError, shown


def require_changes(changes: Mapping[str, object], changeable: frozenset[str]) -> None:
    """InvalidInputError where nothing is to change, or something that cannot."""
    if not changes:
        raise InvalidInputError(
            "there is nothing to change", fix=f"Name what shall change: {', '.join(sorted(changeable))}."
        )
    unknown = sorted(set(changes) - changeable)
    if unknown:
        raise InvalidInputError(
            f"{shown(unknown[0])} cannot be changed",
            field=unknown[0],
            fix=f"These can: {', '.join(sorted(changeable))}.",
        )
