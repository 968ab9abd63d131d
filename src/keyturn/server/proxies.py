"""Where a request to the server comes from, when a proxy that is trusted by configuration says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keyturn.domain import forwarded
from keyturn.errors import InvalidInputError
from keyturn.server.exchange import Field, RefusedRequestError, Scope, address_of, client_of

FORWARDED_FOR: Final = b"x-forwarded-for"
_PEER: Final = "keyturn.peer"  # in a scope whose client is not the connection's other end


class TrustedProxies(forwarded.TrustedProxies):
    """The same, for requests over ASGI, and for the bare head of one."""

    def place(self, scope: Scope) -> None:
        """Put the client's address into a request's scope, where a trusted proxy names it.

        RefusedRequestError where that proxy writes what is no list of addresses.
        """
        client = self.client_behind(client_of(scope), scope["headers"])
        if client is not None:
            scope[_PEER] = scope["client"]
            scope["client"] = (client, 0)

    def client_behind(self, peer: str | None, headers: Iterable[Field]) -> str | None:
        """The client's address by the fields of a head, as `named`; RefusedRequestError as for `place`."""
        if not self.trusts(peer):
            return None
        try:
            return self.named(
                peer, [value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR]
            )
        except InvalidInputError:
            raise _malformed() from None


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
