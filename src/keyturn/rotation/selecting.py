"""Which keys a policy is for."""

from __future__ import annotations

from keyturn.domain.key import Key
from keyturn.domain.rotation.policy import RotationPolicy


def is_selected(policy: RotationPolicy, key: Key) -> bool:
    """Whether the policy is for this key: it names it, or names none and is among those that the policy selects."""
    if key.rotation_policy_id is not None:
        return key.rotation_policy_id == policy.policy_id
    return policy.keys is not None and policy.keys.admits(key)
