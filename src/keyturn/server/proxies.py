"""Where a request comes from, when a proxy that is trusted by configuration says so.

A proxy appends the address that it saw to X-Forwarded-For; what stands before it, anybody may have written. So the
field is read from its right end, past proxies that are trusted, to the first address that is not: the client. From a
peer that is not trusted the field means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from keyturn.domain.network import NetworkSet, check_address
from keyturn.errors import InvalidInputError
from keyturn.server.exchange import Field, RefusedRequestError, Scope, address_of, client_of

FORWARDED_FOR: Final = b"x-forwarded-for"
_PEER: Final = "keyturn.peer"  # in a scope whose client is not the connection's other end


class TrustedProxies:
    """The proxies whose word counts: addresses and networks; none is trusted when there are none."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = NetworkSet(networks) if networks else None

    def trusts(self, address: str | None) -> bool:
        """Whether this address is a trusted proxy's."""
        return self._networks is not None and address is not None and self._networks.contains(address)

    def place(self, scope: Scope) -> None:
        """Put the client's address into a request's scope, where a trusted proxy names it.

        RefusedRequestError where that proxy writes what is no list of addresses.
        """
        if self._networks is None:
            return
        client = self.client_behind(client_of(scope), scope["headers"])
        if client is not None:
            scope[_PEER] = scope["client"]
            scope["client"] = (client, 0)

    def client_behind(self, peer: str | None, headers: Iterable[Field]) -> str | None:
        """The rightmost address that is no trusted proxy's, or the leftmost where all of them are.

        None where the peer is not trusted, or names nobody. RefusedRequestError as for `place`.
        """
        if not self.trusts(peer):
            return None
        values = [value for name, value in headers if name == FORWARDED_FOR]
        if not values:
            return None
        address = ""
        for text in reversed(b",".join(values).decode("latin-1").split(",")):
            try:
                address = check_address(text.strip(" \t"))
            except InvalidInputError:
                raise _malformed() from None
            if not self.trusts(address):
                break
        return address


def peer_of(scope: Scope) -> str | None:
    """The address at the other end of the connection, whoever the client is."""
    return address_of(scope.get(_PEER, scope["client"]))


def forwarded_client_of(scope: Scope) -> str | None:
    """The client's address, where a trusted proxy names it."""
    return client_of(scope) if _PEER in scope else None


def _malformed() -> RefusedRequestError:
    return RefusedRequestError(
        400,
        "malformed_forwarded_for",
        "the proxy's X-Forwarded-For is no list of addresses",
        "Have the proxy append the client's address, without a port: 203.0.113.9 or 2001:db8::1.",
    )
