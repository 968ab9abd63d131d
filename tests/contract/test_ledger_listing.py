"""What listing keys promises, on every adapter."""

from __future__ import annotations

import pytest

from keyturn.ports.ledger import Ledger, RowFilter
from tests.contract.ledger_samples import change_of, ids_of, key_row, plain_row, use_of, version_row

ODD_TEXTS = [
    "100%",
    "a_b",
    "axb",
    "it's",
    'say "hi"',
    "back\\slash",
    "äöü",
    "鍵🔑",
    "{}[]",
    "; DROP TABLE rows",
]


def listed(ledger: Ledger, **wanted: object) -> list[str]:
    """The ids that a filter finds in the default tenant, or in the one that it names."""
    return ids_of(ledger.list_keys(RowFilter(**{"tenant": "default", **wanted}), 100))  # type: ignore[arg-type]


@pytest.fixture
def keys(ledger: Ledger) -> Ledger:
    """Five keys, the oldest first, with rows around them that no list must show."""
    for row in (
        key_row("key_1", owner="ann", type="hmac", scope="write", tags=["red"], name="First"),
        key_row("key_2", owner="bob", state="suspended", tags=["red", "blue"], expires_at=1_000),
        key_row("key_3", owner="ann", prefix="acme_live", expires_at=2_000, name="third"),
        key_row("key_4", state="revoked", tags=["redder"], expires_at=500),
        key_row("key_5", owner="ann", scope="write", tags=["blue"]),
    ):
        ledger.commit(change_of(row, version_row(row.id, 1, f"credential of {row.id}")))
    ledger.commit(change_of(key_row("key_6", tenant="other", owner="ann", tags=["red"], expires_at=1)))
    ledger.commit(change_of(plain_row("own_ann")))
    return ledger


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "54321"),
        ({"tenant": "other", "owner": "ann"}, "6"),
        ({"tenant": "none"}, ""),
        ({"owner": "ann"}, "531"),
        ({"owner": "an"}, ""),
        ({"owner": "ANN"}, ""),
        ({"type": "hmac"}, "1"),
        ({"scope": "write"}, "51"),
        ({"state": "active"}, "531"),
        ({"state": "revoked"}, "4"),
        ({"tag": "red"}, "21"),
        ({"tag": "re"}, ""),
        ({"tag": "blue"}, "52"),
        ({"prefix": "acme_live"}, "3"),
        ({"prefix": "acme"}, ""),
        ({"expires_before": 1_001}, "42"),
        ({"expires_before": 1_000}, "4"),
        ({"q": "fir"}, "1"),
        ({"q": "THIRD"}, "3"),
        ({"q": "EY_4"}, "4"),
        ({"q": "Bob"}, "2"),
        ({"q": "red"}, ""),
        ({"q": ""}, "54321"),
        ({"owner": "ann", "scope": "write", "tag": "blue", "q": "5", "state": "active"}, "5"),
        ({"tag": "red", "state": "suspended"}, "2"),
        ({"type": "api_token", "state": "revoked"}, "4"),
        ({"owner": "bob", "type": "hmac"}, ""),
        ({"before": 3}, "21"),
        ({"before": 5, "owner": "ann"}, "31"),
        ({"before": 2, "tag": "red"}, "1"),
        ({"before": 5, "state": "active", "type": "api_token"}, "3"),
        ({"before": 4, "state": "suspended"}, "2"),
    ],
)
def test_a_filter_finds_what_it_says_newest_first(
    keys: Ledger, wanted: dict[str, object], found: str
) -> None:
    assert listed(keys, **wanted) == [f"key_{last}" for last in found]


def test_a_list_is_as_long_as_its_limit(keys: Ledger) -> None:
    for wanted in (RowFilter(tenant="default"), RowFilter(tenant="default", tag="red")):
        assert len(keys.list_keys(wanted, 2)) == 2
        assert len(keys.list_keys(wanted, 1)) == 1


def test_filters_see_a_changed_key_as_it_is_now(keys: Ledger) -> None:
    keys.commit(
        change_of(key_row("key_1", 2, owner="bob", type="hmac", state="revoked", tags=["green", "blue"]))
    )
    assert listed(keys, owner="ann") == ["key_5", "key_3"]
    assert listed(keys, owner="bob") == ["key_2", "key_1"]
    assert listed(keys, state="revoked") == ["key_4", "key_1"]
    assert listed(keys, tag="red") == ["key_2"]
    assert listed(keys, tag="blue") == ["key_5", "key_2", "key_1"]
    assert listed(keys, tag="green") == ["key_1"]
    assert listed(keys, q="first") == []
    assert listed(keys, type="hmac") == ["key_1"]


def test_unused_since_keeps_keys_with_no_use_at_or_after(keys: Ledger) -> None:
    keys.record_uses([use_of("key_1", last_at=100), use_of("key_1", version=2, last_at=300)])
    keys.record_uses([use_of("key_2", last_at=200), use_of("key_3", code="revoked", last_at=900)])
    assert listed(keys, unused_since=300) == ["key_5", "key_4", "key_3", "key_2"]
    assert listed(keys, unused_since=301) == ["key_5", "key_4", "key_3", "key_2", "key_1"]
    assert listed(keys, unused_since=200) == ["key_5", "key_4", "key_3"]
    assert listed(keys, unused_since=200, owner="ann") == ["key_5", "key_3"]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_every_character_of_a_search_is_literal(ledger: Ledger, text: str) -> None:
    for number, name in enumerate(ODD_TEXTS):
        ledger.commit(change_of(key_row(f"key-{number}", name=f"<{name}>", owner=name, tags=[name])))
    expected = [f"key-{ODD_TEXTS.index(text)}"]
    assert listed(ledger, q=text) == expected
    assert listed(ledger, owner=text) == expected
    assert listed(ledger, tag=text) == expected
    assert ids_of(ledger.list_owned("default", text, "", 10)) == expected


def test_a_search_disregards_ascii_case_and_no_other(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a", name="Été ABC")))
    assert listed(ledger, q="Té aB") == ["key_a"]
    assert listed(ledger, q="été") == []


def test_pages_show_each_key_once_while_others_are_added(ledger: Ledger) -> None:
    present = [f"key_{number:02}" for number in range(20)]
    for key in present:
        ledger.commit(change_of(key_row(key)))
    seen: list[str] = []
    before = None
    while page := ledger.list_keys(RowFilter(tenant="default", before=before), 3):
        seen += ids_of(page)
        before = page[-1].created
        ledger.commit(change_of(key_row(f"late {len(seen)}"), key_row(seen[-1], 2)))
    assert seen == present[::-1]


def test_an_owners_keys_come_in_the_order_of_their_ids(ledger: Ledger) -> None:
    for key in ("key_b", "key_C", "key_a", "key_é"):
        ledger.commit(change_of(key_row(key, owner="ann", state="revoked" if key == "key_a" else "active")))
    ledger.commit(change_of(key_row("key_0", owner="bob"), key_row("key_1"), plain_row("own_ann")))
    ledger.commit(change_of(key_row("key_2", owner="ann", tenant="other")))
    assert ids_of(ledger.list_owned("default", "ann", "", 10)) == ["key_C", "key_a", "key_b", "key_é"]
    assert ids_of(ledger.list_owned("default", "ann", "", 2)) == ["key_C", "key_a"]
    assert ids_of(ledger.list_owned("default", "ann", "key_a", 10)) == ["key_b", "key_é"]
    assert ids_of(ledger.list_owned("other", "ann", "", 10)) == ["key_2"]
    assert ledger.list_owned("default", "ann", "key_é", 10) == []


def test_expired_keys_are_the_active_ones_of_every_tenant(ledger: Ledger) -> None:
    ledger.commit(
        change_of(
            key_row("key_d", expires_at=100),
            key_row("key_c", expires_at=99, tenant="other"),
            key_row("key_b", expires_at=101),
            key_row("key_a", expires_at=1, state="suspended"),
            key_row("key_e"),
            key_row("key_f", expires_at=5),
        )
    )
    assert ids_of(ledger.list_expired(100, "", 10)) == ["key_c", "key_d", "key_f"]
    assert ids_of(ledger.list_expired(100, "", 2)) == ["key_c", "key_d"]
    assert ids_of(ledger.list_expired(100, "key_c", 10)) == ["key_d", "key_f"]
    assert ledger.list_expired(4, "", 10) == []
    ledger.commit(change_of(key_row("key_f", 2, expires_at=5, state="deactivated")))
    assert ids_of(ledger.list_expired(1_000, "key_d", 10)) == []
