"""Listing keys: every filter, page by page, and cursors that are good for nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError
from keyturn.key_store import KeyPage, SecureKeyStore
from tests.fakes import BEGINNING, Process, Site
from tests.services.samples import on_both

WANTED: list[tuple[dict[str, Any], str]] = [
    ({}, "fedcba"),
    ({"owner": "acme"}, "db"),
    ({"owner": "nobody"}, ""),
    ({"type": KeyType.HMAC}, "c"),
    ({"type": KeyType.API_TOKEN}, "fedba"),
    ({"scope": KeyScope.FULL}, "b"),
    ({"state": KeyState.ACTIVE}, "fdcb"),
    ({"state": KeyState.SUSPENDED}, "a"),
    ({"state": KeyState.COMPROMISED}, "e"),
    ({"tag": "red"}, "ba"),
    ({"tag": "blue"}, "b"),
    ({"prefix": "acme_live"}, "d"),
    ({"expires_before": BEGINNING + timedelta(days=2)}, "f"),
    ({"expires_before": BEGINNING + timedelta(days=1)}, ""),
    ({"expires_before": BEGINNING + timedelta(days=3)}, "fd"),
    ({"unused_since": BEGINNING + timedelta(minutes=1)}, "fedcba"),
    ({"unused_since": BEGINNING}, "fedca"),
    ({"q": "Second"}, "b"),
    ({"q": "SECOND"}, "b"),
    ({"q": "acm"}, "db"),
    ({"q": "%"}, ""),
    ({"owner": "acme", "tag": "red"}, "b"),
    ({"owner": "acme", "state": KeyState.SUSPENDED}, ""),
]


@pytest.fixture
def names(ours: Process, shop: SecureKeyStore) -> dict[str, str]:
    """Six keys of all kinds, and one of another tenant: what each is called, by its id."""
    keys = {
        "a": ours.issue(name="first", tags=("red",)),
        "b": ours.issue(name="second", owner="acme", key_scope=KeyScope.FULL, tags=("red", "blue")),
        "c": ours.issue(key_type=KeyType.HMAC),
        "d": ours.issue(owner="acme", prefix="acme_live", expires_in=2 * 86_400),
        "e": ours.issue(name="5"),
        "f": ours.issue(expires_in=86_400),
    }
    ours.store("other").store_key(ours.make(owner="acme", name="second", tags=("red",), expires_in=60))
    shop.suspend_key(keys["a"].key_id)
    shop.revoke_key(keys["e"].key_id, RevocationReason.KEY_COMPROMISE)
    assert shop.authenticate(keys["b"].secret)
    ours.node.recorder.flush()
    return {key.key_id: name for name, key in keys.items()}


def shown(page: KeyPage, names: dict[str, str]) -> str:
    return "".join(names[key.key_id] for key in page.items)


@on_both
def test_a_list_has_what_its_filter_says_newest_first(
    ours: Process, shop: SecureKeyStore, names: dict[str, str]
) -> None:
    found = {str(wanted): shown(shop.list_keys(**wanted), names) for wanted, _ in WANTED}
    assert found == {str(wanted): expected for wanted, expected in WANTED}


def test_a_part_of_an_id_finds_the_key(shop: SecureKeyStore, names: dict[str, str]) -> None:
    for key_id, name in names.items():
        assert shown(shop.list_keys(q=key_id[5:20].swapcase()), names) == name


def walk(shop: SecureKeyStore, limit: int, **wanted: Any) -> list[list[str]]:
    """The ids of every page."""
    pages, cursor = [], None
    while True:
        page = shop.list_keys(limit=limit, cursor=cursor, **wanted)
        pages.append([key.key_id for key in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


@on_both
@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_show_each_key_once(ours: Process, shop: SecureKeyStore, limit: int) -> None:
    stored = shop.store_keys([ours.make(owner="acme") for _ in range(7)])
    shop.store_keys([ours.make() for _ in range(2)])
    pages = walk(shop, limit, owner="acme")
    assert [key_id for page in pages for key_id in page] == [key.key_id for key in reversed(stored)]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1], "a last page is not empty"


def test_pages_show_each_key_once_while_others_come_and_change(ours: Process, shop: SecureKeyStore) -> None:
    keys = [ours.issue() for _ in range(10)]
    first = shop.list_keys(limit=4)
    ours.issue()
    shop.update_key(keys[0].key_id, name="changed")
    shop.revoke_key(keys[3].key_id)
    rest = shop.list_keys(limit=100, cursor=first.next_cursor)
    shown_ids = [key.key_id for key in (*first.items, *rest.items)]
    assert shown_ids == [key.key_id for key in reversed(keys)]
    assert rest.items[-1].name == "changed"


def test_a_list_without_keys_is_empty(shop: SecureKeyStore) -> None:
    assert shop.list_keys() == KeyPage(items=(), next_cursor=None)


def test_a_page_has_a_hundred_keys_when_nobody_says_otherwise(ours: Process, shop: SecureKeyStore) -> None:
    shop.store_keys([ours.make() for _ in range(101)])
    page = shop.list_keys()
    assert len(page.items) == 100
    assert page.next_cursor is not None
    assert len(shop.list_keys(limit=1_000).items) == 101


@pytest.mark.parametrize("limit", [0, -1, 1_001, True, 1.0, "10", None])
def test_a_limit_is_a_number_from_one_to_a_thousand(shop: SecureKeyStore, limit: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.list_keys(limit=limit)
    assert caught.value.field == "limit"


@pytest.mark.parametrize("name", ["owner", "tag", "prefix", "q"])
@pytest.mark.parametrize("value", ["x" * 257, "nul\x00"])
def test_a_filter_that_nothing_can_match_is_refused(shop: SecureKeyStore, name: str, value: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.list_keys(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name


# Cursors


@pytest.fixture
def cursor(ours: Process, shop: SecureKeyStore) -> str:
    """A cursor of the default tenant for the owner acme."""
    shop.store_keys([ours.make(owner="acme") for _ in range(3)])
    found = shop.list_keys(owner="acme", limit=1).next_cursor
    assert found is not None
    return found


def test_a_cursor_is_good_for_its_own_list_in_every_process(
    theirs: Process, shop: SecureKeyStore, cursor: str
) -> None:
    assert len(shop.list_keys(owner="acme", limit=2, cursor=cursor).items) == 2
    assert len(theirs.store().list_keys(owner="acme", cursor=cursor).items) == 2


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"owner": "other"}, {"owner": "acme", "tag": "red"}, {"tag": "acme"}, {"owner": "acme", "q": "a"},
        {"owner": "acme", "expires_before": BEGINNING}, {"owner": "acme", "state": KeyState.ACTIVE},
    ],
)  # fmt: skip
def test_a_cursor_of_another_list_is_refused(
    shop: SecureKeyStore, cursor: str, wanted: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.list_keys(cursor=cursor, **wanted)
    assert caught.value.field == "cursor"


def test_a_cursor_of_another_tenant_is_refused(ours: Process, cursor: str) -> None:
    with pytest.raises(InvalidInputError):
        ours.store("other").list_keys(owner="acme", cursor=cursor)


def test_a_cursor_that_was_altered_is_refused(shop: SecureKeyStore, cursor: str) -> None:
    altered = [
        cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(len(cursor) - 1)
    ]
    altered += ["", "A", "7", cursor[:-4], "=" * 60, "é" * 60, "A" * 100_000]
    for text in altered:
        with pytest.raises(InvalidInputError):
            shop.list_keys(owner="acme", cursor=text)


def test_listing_what_is_changed_meanwhile_shows_the_present(
    site: Site, ours: Process, theirs: Process
) -> None:
    key = ours.issue(name="old")
    ours.ledger.after("list_keys", lambda: theirs.update(key, name="new"))
    (listed,) = ours.store().list_keys().items
    assert listed.name == "new"
