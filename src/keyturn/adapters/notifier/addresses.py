"""Which addresses notices may be sent to: public ones, and those that the operator allows.

A URL is chosen by whoever may make an endpoint, and the request is made from inside the operator's network. So a name
is resolved once, every address that it has is checked, and the connection goes to an address that was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from keyturn.adapters.notifier.connecting import Names, Resolve, resolved
from keyturn.domain.network import NetworkSet

_Address = IPv4Address | IPv6Address

# What ipaddress calls global and yet leads elsewhere: translations to IPv4 (RFC 6052, 8215, 3056, 4380, 4291), the
# anycast relays of 6to4 (RFC 7526), and what is on no public network though nobody has reserved it.
_TRANSLATED: Final = tuple(
    IPv6Network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96")
)
_NEVER: Final = tuple(
    ip_network(text)
    for text in ("192.88.99.0/24", "100.64.0.0/10", "192.0.0.0/24", "fec0::/10", "5f00::/16", "3fff::/20")
)


class BlockedAddressError(Exception):
    """A name leads to an address that notices must not be sent to."""


class AddressGuard:
    """Checks addresses.

    Args:
        allowed: networks that notices may go to, though they are not public, and without TLS.
        resolve: how names become addresses.
    """

    def __init__(self, allowed: Sequence[str] = (), resolve: Resolve = resolved) -> None:
        self._allowed = NetworkSet(allowed)
        self._names = Names(resolve)

    def addresses_of(self, host: str, port: int, deadline: float, *, is_encrypted: bool) -> Sequence[str]:
        """The addresses to connect to; OSError where there is none, BlockedAddressError where one must not be used.

        One address that is refused refuses the name: what is public with one look-up and private with the next is
        no mistake. TimeoutError where they do not come before `deadline`, by the monotonic clock.
        """
        addresses = self._names.addresses(host, port, deadline)
        if not addresses:
            raise OSError("the name has no address")
        for address in addresses:
            if not self._allowed.contains(address) and not (is_encrypted and is_public(address)):
                raise BlockedAddressError(
                    "the URL leads to an address that is not allowed"
                    if is_encrypted
                    else "without TLS, the URL has to lead to an address that is allowed"
                )
        return addresses


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet; False for what is none, and for one with a zone."""
    try:
        address: _Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _TRANSLATED):
            return False
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
    )
