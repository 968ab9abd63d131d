"""The decision itself: a pure function of what is kept of a credential, what is asked of it, and the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.permission_query import AllOf, Query, names_that_suffice, parse_query
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code
from keyturn.errors import InvalidInputError
from keyturn.verifier.entries import Entry, scope_bits


@dataclass(frozen=True, slots=True)
class Demand:
    """What a credential must meet, beside being valid.

    Attributes:
        tenant: the namespace asked about; another tenant's credential is not found. None
            takes any, to learn whose it is.
        scope_bits: the actions that the key's scope must cover.
        query: the permissions that its grants must meet; None asks for none.
        sufficient: names that meet the query where they are granted as written.
        is_use: whether a yes counts as a use of the credential.
    """

    tenant: str | None = DEFAULT_TENANT
    scope_bits: int = 0
    query: Query | None = None
    sufficient: frozenset[str] = frozenset()
    is_use: bool = True

    @classmethod
    def of(
        cls, *, tenant: str = DEFAULT_TENANT, scope: KeyScope | None = None, permissions: str | None = None
    ) -> Demand:
        """A demand from its parts; InvalidInputError where the permission query does not parse."""
        if scope is not None and not isinstance(scope, KeyScope):
            raise InvalidInputError(
                "scope is a KeyScope", field="scope", fix="Use KeyScope.READ, for example."
            )
        if permissions is not None and not isinstance(permissions, str):
            raise InvalidInputError(
                "permissions is the text of a query",
                field="permissions",
                fix="Write it as one text: documents.read AND billing.read.",
            )
        queries = () if permissions is None else (parse_query(permissions),)
        return cls._from(tenant, 0 if scope is None else scope_bits(scope), queries)

    @classmethod
    def meeting(cls, tenant: str, requirements: Iterable[Requirement]) -> Demand:
        """A demand that asks for all of these together."""
        bits, queries = 0, []
        for requirement in requirements:
            if requirement.scope is not None:
                bits |= scope_bits(requirement.scope)
            if requirement.permissions is not None:
                queries.append(parse_query(requirement.permissions))
        return cls._from(tenant, bits, queries)

    @classmethod
    def _from(cls, tenant: str, bits: int, queries: Sequence[Query]) -> Demand:
        if not queries:
            return cls(tenant, bits)
        query = queries[0] if len(queries) == 1 else _together(queries)
        return cls(tenant, bits, query, names_that_suffice(query) or _NOTHING_GRANTED)


def _together(queries: Sequence[Query]) -> AllOf:
    """One AND of them all, as flat as it can be: names joined by AND cost the least."""
    parts = (query.operands if isinstance(query, AllOf) else (query,) for query in queries)
    return AllOf(tuple(operand for operands in parts for operand in operands))


NO_DEMAND: Final = Demand()
_NOTHING_GRANTED: Final = frozenset(("",))  # no grant is empty: such a query is looked at each time

# A member of an enumeration is looked up anew each time that it is named.
_VALID: Final = Code.VALID


def judge(entry: Entry, demand: Demand, ip: str | None, now: int) -> Code:
    """Whether the credential is good for the demand at `now` (nanoseconds since the epoch), coming from `ip`.

    The order is part of the contract: state, time, network, scope, permissions.
    """
    if entry.refusal is not None:
        return entry.refusal
    if now < entry.begins:
        return Code.NOT_YET_VALID
    if now >= entry.ends:
        return Code.EXPIRED
    # A restricted key presented from nowhere that is known is refused.
    if entry.networks is not None and (ip is None or not entry.networks.contains(ip)):
        return Code.IP_DENIED
    if demand.scope_bits & ~entry.scope_bits:
        return Code.INSUFFICIENT_SCOPE
    # Most grants are the very names that are asked for; patterns are looked at only where they are not.
    if (
        not demand.sufficient <= entry.grants.exact
        and demand.query is not None
        and not demand.query.is_met_by(entry.grants)
    ):
        return Code.INSUFFICIENT_PERMISSIONS
    return _VALID
