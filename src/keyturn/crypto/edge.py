"""What a verifier at the edge may hold of a key: enough to decide, and nothing that could be presented."""

from __future__ import annotations

from keyturn.crypto.key_pairs import public_pem
from keyturn.domain.instants import rfc3339
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import InvalidInputError


def edge_row(key: GeneratedKey) -> dict[str, object]:
    """The row of a generated key, as JSON values; InvalidInputError for a key whose secret verifies."""
    spec = key.spec
    if key.digest is None and key.public_key is None:
        raise InvalidInputError(
            f"what verifies a {spec.type.value} key is its secret",
            field="key",
            fix="Verify its signatures with Keyturn, or use a key pair.",
        )
    return {
        "key_id": key.key_id,
        "version": 1,
        "type": spec.type.value,
        "algorithm": None if spec.algorithm is None else spec.algorithm.value,
        "credential_id": key.credential_id,
        "digest": None if key.digest is None else key.digest.hex(),
        "public_key": None if key.public_key is None else public_pem(key.public_key),
        "owner": spec.owner,
        "scope": sorted(action.value for action in spec.scope.actions),
        "permissions": list(spec.permissions),
        "allowed_ips": list(spec.allowed_ips),
        "rate_limits": [],
        "metadata": dict(spec.metadata),
        "created_at": rfc3339(key.created_at),
        "not_before": None if spec.not_before is None else rfc3339(spec.not_before),
        "expires_at": None if spec.expires_at is None else rfc3339(spec.expires_at),
    }
