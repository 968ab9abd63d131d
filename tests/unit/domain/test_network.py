import pytest

from keyturn.domain import network
from keyturn.domain.network import NetworkSet, parse_network
from keyturn.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9/32", "203.0.113.9"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("2001:0db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_a_network_has_one_writing(text: str, canonical: str) -> None:
    assert parse_network(text) == canonical
    assert parse_network(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "right", "address"),
    [
        ("10.0.0.1/8", "10.0.0.0/8", "10.0.0.1"),
        ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1"),
        ("::ffff:10.0.0.1/104", "10.0.0.0/8", "10.0.0.1"),
    ],
)
def test_bits_outside_the_mask_are_refused_and_the_right_network_is_named(
    text: str, right: str, address: str
) -> None:
    """Somebody who wrote 10.0.0.1/8 meant either one address or sixteen million."""
    with pytest.raises(InvalidInputError) as refused:
        parse_network(text)
    assert str(refused.value).endswith(f"the network is {right}")
    assert address in refused.value.fix
    assert refused.value.field == "allowed_ips"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/ 8",
        "10.0.0.0/٨",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "2001:db8::/129",
        "10.0.0",
        "10",
        "010.0.0.1",
        "0x0a.0.0.1",
        "10.0.0.256",
        " 10.0.0.1",
        "10.0.0.1\n",
        "10.0.0.1:80",
        "[2001:db8::1]",
        "2001:db8:::1",
        "\u0661\u0660.0.0.1",
        "localhost",
        "*",
        "1" * 1_000,
    ],
)
def test_what_is_no_address_or_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_network(text)
    assert refused.value.field == "allowed_ips"


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::%1/64", "fe80::/64%1"])
def test_a_zone_id_is_refused(text: str) -> None:
    """RFC 4007, section 11: a zone id means something on one machine only."""
    with pytest.raises(InvalidInputError):
        parse_network(text)


@pytest.mark.parametrize("value", [None, 167772161, b"10.0.0.1", 10.0])
def test_a_number_is_not_taken_for_an_address(value: object) -> None:
    with pytest.raises(InvalidInputError):
        parse_network(value)  # type: ignore[arg-type]


OFFICE = NetworkSet(("10.0.0.0/8", "203.0.113.9", "2001:db8::/32", "2001:db9::1"))


@pytest.mark.parametrize(
    "ip",
    [
        "10.0.0.0",
        "10.255.255.255",
        "203.0.113.9",
        "::ffff:10.1.2.3",
        "::FFFF:0a01:0203",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:0DB8:0000::1",
        "2001:db9:0:0:0:0:0:1",
    ],
)
def test_an_address_in_the_list_is_contained_however_it_is_written(ip: str) -> None:
    """Others compare these lists as strings."""
    assert OFFICE.contains(ip)


@pytest.mark.parametrize(
    "ip", ["9.255.255.255", "11.0.0.0", "203.0.113.8", "203.0.113.90", "2001:db9::2", "::10.0.0.1"]
)
def test_an_address_outside_the_list_is_not_contained(ip: str) -> None:
    assert not OFFICE.contains(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "",
        "10.0.0",
        "10.0.0.1 ",
        "10.0.0.1/32",
        "010.0.0.1",
        "10.0.0.1:443",
        "[2001:db8::1]",
        "2001:db8::1%eth0",
        "unknown",
        "10.0.0.1, 8.8.8.8",
        "\ud800",
        "10." * 100_000,
    ],
)
def test_what_is_no_address_is_not_contained_even_where_every_address_is(ip: str) -> None:
    assert not NetworkSet(("0.0.0.0/0", "::/0")).contains(ip)


def test_addresses_that_callers_send_cannot_fill_the_memory() -> None:
    before = network._address.cache_info()
    assert not OFFICE.contains("1" * 46)
    assert network._address.cache_info() == before
    assert before.maxsize == network.MAX_CACHED_ADDRESSES


def test_every_ipv6_address_does_not_mean_every_ipv4_address() -> None:
    assert not NetworkSet(("::/0",)).contains("10.0.0.1")
    assert not NetworkSet(("::/0",)).contains("::ffff:10.0.0.1")
    assert not NetworkSet(("0.0.0.0/0",)).contains("::1")


def test_an_address_of_one_version_is_not_the_same_number_of_the_other() -> None:
    assert not NetworkSet(("0.0.0.1", "10.0.0.0/8")).contains("::1")
    assert not NetworkSet(("::1",)).contains("0.0.0.1")


def test_an_empty_set_contains_no_address() -> None:
    assert not NetworkSet(()).contains("10.0.0.1")


def test_a_set_with_a_malformed_network_cannot_be_made() -> None:
    with pytest.raises(InvalidInputError):
        NetworkSet(("10.0.0.0/8", "nonsense"))


def test_sets_of_the_same_networks_are_equal() -> None:
    assert NetworkSet(("::ffff:10.0.0.0/104",)) == NetworkSet(("10.0.0.0/8",))
    assert hash(NetworkSet(("10.0.0.0/8",))) == hash(NetworkSet(("10.0.0.0/8",)))
    assert NetworkSet(("10.0.0.0/8",)) != NetworkSet(("10.0.0.0/9",))
    assert repr(NetworkSet(("10.0.0.1/32",))) == "NetworkSet(('10.0.0.1',))"
