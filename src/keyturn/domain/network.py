"""Addresses and networks from which a key may be used, compared as numbers and never as text.

    NetworkSet(("10.0.0.0/8", "2001:db8::1")).contains("10.1.2.3")      # True

An IPv4-mapped IPv6 address (`::ffff:10.1.2.3`) is the IPv4 address that it stands for, in the list and in a request, so
`::/0` means every IPv6 address and no IPv4 one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from keyturn.errors import InvalidInputError, shown

MAX_ADDRESS_CHARACTERS: Final = 45  # ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255
MAX_CACHED_ADDRESSES: Final = 4_096  # addresses come from outside: without a bound they could fill the memory
_MAPPED_BITS: Final = 96  # ::ffff:0:0/96, RFC 4291, section 2.5.5.2
# ipaddress also takes netmasks, in two senses, and leading zeros; a list of allowed networks should have one reading.
_PREFIX_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_FIX: Final = "Write an address (203.0.113.9, 2001:db8::1) or a network (203.0.113.0/24, 2001:db8::/32)."

_Network = IPv4Network | IPv6Network


def parse_network(text: str) -> str:
    """The one canonical text of an address or network, v4 or v6; that of a single address has no prefix length.

    InvalidInputError for anything else: bits set outside the mask, a netmask, a zone id, a name.
    """
    return _text(_network(text))


class NetworkSet:
    """Networks, compiled once. An empty set contains no address: where there is no restriction, have no set."""

    __slots__ = ("_addresses", "_networks", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        networks = [_network(text) for text in texts]
        self.texts: Final = tuple(_text(network) for network in networks)
        self._addresses: Final = frozenset(
            (n.version, int(n.network_address)) for n in networks if n.prefixlen == n.max_prefixlen
        )
        wider = [network for network in networks if network.prefixlen < network.max_prefixlen]
        self._networks: Final = {
            version: tuple((int(n.netmask), int(n.network_address)) for n in wider if n.version == version)
            for version in (4, 6)
        }

    def contains(self, ip: str) -> bool:
        """Whether the address lies in one of the networks; False for what is no address, or one with a zone id."""
        address = (
            _address(ip) if len(ip) <= MAX_ADDRESS_CHARACTERS else None
        )  # longer ones would fill the cache
        if address is None:
            return False
        version, number = address
        for mask, network in self._networks[version]:
            if number & mask == network:
                return True
        return address in self._addresses

    def __eq__(self, other: object) -> bool:
        return self.texts == other.texts if isinstance(other, NetworkSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"NetworkSet({self.texts!r})"


def check_address(text: str) -> str:
    """`text`, when it is an address, v4 or v6, without a zone id; InvalidInputError otherwise."""
    if type(text) is not str or len(text) > MAX_ADDRESS_CHARACTERS or _address(text) is None:
        raise InvalidInputError(
            f"not an address: {shown(text)}",
            field="ip",
            fix="Write the client's address: 203.0.113.9, 2001:db8::1.",
        )
    return text


@lru_cache(maxsize=MAX_CACHED_ADDRESSES)
def _address(text: str) -> tuple[int, int] | None:
    """Version and number of an address; None for anything else. Cached: clients come back, and parsing takes 2 µs."""
    if "%" in text:
        return None
    try:
        address = _unmapped(ip_address(text))
    except ValueError:
        return None
    return address.version, int(address)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _network(text: str) -> _Network:
    if not isinstance(text, str) or len(text) > MAX_ADDRESS_CHARACTERS + len("/128"):
        raise InvalidInputError("not an address or a network", field="allowed_ips", fix=_FIX)
    address, slash, length = text.partition("/")
    if "%" in address:
        raise InvalidInputError(
            "a zone id has a meaning on one machine only",
            field="allowed_ips",
            fix="Leave out '%' and what follows.",
        )
    if slash and _PREFIX_LENGTH.fullmatch(length) is None:
        raise InvalidInputError("after the '/' stands a number of bits", field="allowed_ips", fix=_FIX)
    try:
        network = ip_network(text, strict=False)
        given = int(ip_address(address))
    except ValueError:
        raise InvalidInputError(
            f"not an address or a network: {shown(text)}", field="allowed_ips", fix=_FIX
        ) from None
    if int(network.network_address) != given:
        right = _text(_unmapped_network(network))
        raise InvalidInputError(
            f"{text} has bits set outside its mask; the network is {right}",
            field="allowed_ips",
            fix=f"Write {right} for the network, or {_unmapped(ip_address(address))} for the one address.",
        )
    return _unmapped_network(network)


def _unmapped_network(network: _Network) -> _Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _text(network: _Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
