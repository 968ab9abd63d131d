"""Where a request comes from, when proxies that are trusted by configuration say so.

A proxy appends the address that it saw to X-Forwarded-For; what stands before it, anybody may have written. So the
field is read from its right end, past proxies that are trusted, to the first address that is not: the client. From a
peer that is not trusted the field means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keyturn.domain.network import NetworkSet, check_address
from keyturn.errors import ConfigurationError


class TrustedProxies:
    """The proxies whose word counts: addresses and networks; none is trusted when there are none.

    >>> TrustedProxies(["10.0.0.0/8"]).client("10.0.0.1", ["198.51.100.7, 203.0.113.9, 10.0.0.2"])
    '203.0.113.9'
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        if isinstance(networks, str):
            raise ConfigurationError("trusted proxies are a list", fix='Write them as ["10.0.0.5"].')
        self._networks = NetworkSet(networks) if networks else None
        if self._networks is not None and any(text.endswith("/0") for text in self._networks.texts):
            raise ConfigurationError(
                "if everybody is a trusted proxy, every client says itself where it comes from",
                fix="Name the addresses of your proxies.",
            )

    def client(self, peer: str | None, forwarded_for: Iterable[str]) -> str | None:
        """The client's address: the peer's, or what the trusted proxy there has been told in X-Forwarded-For.

        InvalidInputError as for `named`.
        """
        named = self.named(peer, forwarded_for)
        return peer if named is None else named

    def named(self, peer: str | None, forwarded_for: Iterable[str]) -> str | None:
        """The rightmost address that is no trusted proxy's, or the leftmost where all of them are.

        None where the peer is not trusted, or sent no such field. InvalidInputError where it writes what is no list of
        addresses: an empty one as well, or the client would be taken for the proxy.
        """
        fields = list(forwarded_for) if self.trusts(peer) else []
        address = None
        for text in reversed(",".join(fields).split(",") if fields else []):
            address = check_address(text.strip(" \t"))
            if not self.trusts(address):
                break
        return address

    def trusts(self, address: str | None) -> bool:
        """Whether this address is a trusted proxy's."""
        return self._networks is not None and address is not None and self._networks.contains(address)
