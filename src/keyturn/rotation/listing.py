"""Going through the policies of a store, and through the keys that may be due under one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypedDict

from keyturn.domain.key import KeyType
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.policy_bodies import policy_from
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact

_PAGE: Final = 200


class Listing(TypedDict, total=False):
    """Which list of keys of the tenant: those that name the policy, or those of a type that name none."""

    policy_id: str
    type: str


def listings_of(policy: RotationPolicy) -> list[Listing]:
    """The lists in which all keys are that the policy may be for."""
    types = () if policy.keys is None else policy.keys.types or tuple(KeyType)
    return [Listing(policy_id=policy.policy_id), *(Listing(type=each.value) for each in types)]


def policies_of(ledger: Ledger, intact: Intact, tenant: str | None) -> Iterator[KeptPolicy]:
    """The policies of a tenant, or of all, that can be read and are not deleted: newest first, a page at a time."""
    before = None
    while rows := ledger.list_policies(tenant, before, _PAGE):
        before = rows[-1].created
        for kept in intact.read(rows, policy_from):
            if tenant in (None, kept.tenant) and not kept.is_deleted:
                yield kept
