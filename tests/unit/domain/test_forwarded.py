"""The client's address is what a trusted proxy saw, and nothing that a client could have written."""

import pytest

from keyturn.domain.forwarded import TrustedProxies
from keyturn.errors import ConfigurationError, InvalidInputError

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::/64"])


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        # Nobody is told anything.
        ("203.0.113.9", [], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        (None, [], None),
        # A peer that is not trusted may write what it likes.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["nonsense"], "203.0.113.9"),
        (None, ["198.51.100.1"], None),
        # The rightmost that is not trusted counts; what stands before it does not.
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["nonsense,203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.7, 203.0.113.9, 10.0.0.3 ,10.0.0.2"], "203.0.113.9"),
        # A field that is there several times is one list.
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9, 10.0.0.2", "10.0.0.3"], "203.0.113.9"),
        # All are proxies: the first of them is as far as one can see.
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("2001:db8::1", ["2001:db8:1::9, 10.0.0.2"], "2001:db8:1::9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxys(
    peer: str | None, told: list[str], client: str | None
) -> None:
    assert PROXIES.client(peer, told) == client


@pytest.mark.parametrize(
    "told",
    [
        "",
        " ",
        ",",
        "unknown",
        "203.0.113.9,",
        "203.0.113.9:4711",
        "[2001:db8:1::9]",
        "a b",
        "203.0.113.9, _x",
    ],
)
def test_a_trusted_proxy_that_names_no_address_is_not_guessed_after(told: str) -> None:
    with pytest.raises(InvalidInputError):
        PROXIES.client("10.0.0.1", [told])


def test_nobody_is_trusted_unless_named() -> None:
    for nobody in (TrustedProxies(), TrustedProxies([])):
        assert nobody.client("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"


@pytest.mark.parametrize("networks", ["10.0.0.1", ["0.0.0.0/0"], ["10.0.0.1", "::/0"], ["::ffff:0.0.0.0/96"]])
def test_a_list_that_would_trust_everybody_is_refused(networks: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TrustedProxies(networks)
    assert refused.value.fix


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        TrustedProxies(["proxy.internal"])
