"""Lists of keys: their order, their pages, their filters, and cursors that are good for nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from keyturn import KeyScope, KeyType
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.spec import KeySpec
from tests.contract.waiting import until
from tests.http.raw import Answer
from tests.http.served import Served

_NUMBERS: Final = count(1)


class Lister:
    """A caller in a tenant of its own, where nobody else issues keys."""

    def __init__(self, served: Served) -> None:
        self.tenant = f"lists-{next(_NUMBERS)}"
        self.served = served
        self.key = served.tenant(self.tenant)

    def call(self, **query: object) -> Answer:
        return self.served.call("GET", f"/v1/keys?{urlencode(query)}", key=self.key)

    def page(self, **query: object) -> dict[str, Any]:
        page = self.call(**query).ok()
        assert page.keys() == {"items", "next_cursor"}
        return dict(page)

    def names(self, **query: object) -> list[str | None]:
        """The names of the keys on the only page."""
        page = self.page(**query)
        assert page["next_cursor"] is None
        return [item["name"] for item in page["items"]]

    def walk(self, **query: object) -> Iterator[list[dict[str, Any]]]:
        """The pages, one after the other."""
        page = self.page(**query)
        yield page["items"]
        while page["next_cursor"] is not None:
            page = self.page(cursor=page["next_cursor"], **query)
            yield page["items"]

    def issue(self, **wanted: object) -> dict[str, Any]:
        return self.served.issue(key=self.key, **wanted)

    def act(self, key: Mapping[str, Any], act: str, **body: object) -> None:
        self.served.call("POST", f"/v1/keys/{key['key_id']}/{act}", body, key=self.key).ok()


@pytest.fixture
def lister(served: Served) -> Lister:
    return Lister(served)


# -- order and pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9, 1_000])
def test_pages_hold_every_key_once_newest_first_and_end_with_the_last_one(lister: Lister, limit: int) -> None:
    keys = [lister.issue(name=f"{number}") for number in range(7)]
    pages = list(lister.walk(limit=limit))
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit
    listed = [item for page in pages for item in page]
    expected = [{name: key[name] for name in key.keys() - {"key", "public_key"}} for key in reversed(keys)]
    assert listed[:-1] == expected
    assert listed[-1]["type"] == "provisioning"  # whoever lists was there first


def test_a_page_has_100_keys_where_nobody_says_otherwise(lister: Lister) -> None:
    specs = [KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, name=f"{number}") for number in range(201)]
    lister.served.issue_beside(specs, lister.tenant)
    pages = list(lister.walk())
    assert [len(page) for page in pages] == [100, 100, 2]
    names = [item["name"] for page in pages for item in page]
    assert names == [f"{number}" for number in reversed(range(201))] + [None]


def test_a_list_of_nothing_is_a_list(lister: Lister) -> None:
    assert lister.page(owner="nobody") == {"items": [], "next_cursor": None}


def test_keys_that_come_or_change_between_two_pages_shift_nothing(lister: Lister) -> None:
    keys = [lister.issue(name=f"{number}") for number in range(5)]
    listed: list[str] = []
    for page in lister.walk(limit=2, type="api_token"):
        listed += [item["name"] for item in page]
        lister.issue(name="newer")
        lister.act(keys[0], "suspend" if len(listed) == 2 else "resume" if len(listed) == 4 else "revoke")
    assert listed == ["4", "3", "2", "1", "0"]


def test_a_page_may_be_of_another_size_than_the_one_before(lister: Lister) -> None:
    for number in range(5):
        lister.issue(name=f"{number}")
    first = lister.page(limit=1)
    second = lister.page(limit=3, cursor=first["next_cursor"])
    assert [item["name"] for item in first["items"] + second["items"]] == ["4", "3", "2", "1"]


@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "-1",
        "1001",
        "9" * 30,
        "abc",
        "",
        "1.5",
        "1e2",
        "0x10",
        "nan",
        "null",
        "true",
        "\x00",
        "\uff11\uff16",
    ],
)
def test_a_limit_is_a_whole_number_from_1_to_1000(varied: Lister, limit: str) -> None:
    varied.call(limit=limit).problem(422, "invalid_request", field="limit")


# -- filters ----------------------------------------------------------------------------------------------------------

FILTERS: Final[list[tuple[dict[str, str], set[str]]]] = [
    ({"owner": "acme"}, {"acme 1", "acme 2"}),
    ({"owner": "ACME"}, set()),
    ({"owner": "acm"}, set()),
    ({"owner": "é/🔑"}, {"é 100% _"}),
    ({"type": "api_token"}, {"acme 1", "acme 2", "é 100% _", "suspended", "deactivated", "compromised", "destroyed"}),
    ({"type": "hmac"}, {"signs"}),
    ({"type": "rsa"}, set()),
    ({"scope": "full"}, {"acme 2"}),
    ({"scope": "write"}, {"signs"}),
    ({"state": "active"}, {"acme 1", "acme 2", "é 100% _", "signs"}),
    ({"state": "suspended"}, {"suspended"}),
    ({"state": "deactivated"}, {"deactivated"}),
    ({"state": "compromised"}, {"compromised"}),
    ({"state": "destroyed"}, {"destroyed"}),
    ({"state": "pre_active"}, set()),
    ({"tag": "eu"}, {"acme 1", "é 100% _"}),
    ({"tag": "a b"}, {"é 100% _"}),
    ({"tag": "E"}, set()),
    ({"prefix": "acme_live"}, {"acme 1"}),
    ({"prefix": "acme"}, set()),
    ({"expires_before": "2100-01-01T00:00:00Z"}, {"acme 1"}),
    ({"expires_before": "2100-01-01T00:00:00.000001Z"}, {"acme 1", "acme 2"}),
    ({"expires_before": "2100-01-01T01:00:00+01:00"}, {"acme 1"}),
    ({"expires_before": "1970-01-01T00:00:00Z"}, set()),
    ({"q": "acme"}, {"acme 1", "acme 2"}),
    ({"q": "ACME 1"}, {"acme 1"}),
    ({"q": "%"}, {"é 100% _"}),
    ({"q": "_ "}, set()),
    ({"q": "% _"}, {"é 100% _"}),
    ({"q": "/🔑"}, {"é 100% _"}),
    ({"q": "'"}, set()),
    ({"q": "key_"}, {"acme 1", "acme 2", "é 100% _", "signs", "suspended", "deactivated", "compromised", "destroyed"}),
    ({"owner": "acme", "scope": "full"}, {"acme 2"}),
    ({"owner": "acme", "tag": "eu"}, {"acme 1"}),
    ({"owner": "acme", "tag": "us"}, set()),
    ({"tag": "eu", "state": "active", "type": "api_token", "prefix": "kt", "q": "é"}, {"é 100% _"}),
    ({"state": "suspended", "scope": "full"}, set()),
]  # fmt: skip


@pytest.fixture(scope="module")
def varied(served: Served) -> Lister:
    """A tenant with keys of every kind."""
    lister = Lister(served)
    lister.issue(
        name="acme 1", owner="acme", tags=["eu"], prefix="acme_live", expires_at="2099-12-31T23:59:59Z"
    )
    lister.issue(name="acme 2", owner="acme", scope="full", expires_at="2100-01-01T00:00:00Z")
    lister.issue(name="é 100% _", owner="é/🔑", tags=["eu", "a b"], scope="read_write")
    lister.issue(name="signs", type="hmac", scope="write")
    lister.act(lister.issue(name="suspended"), "suspend")
    lister.act(lister.issue(name="deactivated"), "revoke")
    lister.act(lister.issue(name="compromised"), "revoke", reason="keyCompromise")
    lister.act(lister.issue(name="destroyed"), "destroy")
    return lister


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[str(query) for query, _ in FILTERS])
def test_a_filter_finds_the_keys_that_meet_it(
    varied: Lister, query: dict[str, str], expected: set[str]
) -> None:
    found = [name for name in varied.names(**query) if name is not None]
    assert set(found) == expected
    assert len(found) == len(expected)
    one_by_one = [item["name"] for page in varied.walk(limit=1, **query) for item in page]
    assert [name for name in one_by_one if name is not None] == found


def test_a_key_is_found_by_a_part_of_its_id(varied: Lister) -> None:
    key = varied.page(owner="acme")["items"][0]
    assert varied.names(q=key["key_id"][4:20]) == [key["name"]]


def test_a_filter_sees_what_a_change_has_changed(lister: Lister) -> None:
    key = lister.issue(name="a", tags=["old"])
    assert lister.names(tag="old") == ["a"]
    path = f"/v1/keys/{key['key_id']}"
    lister.served.call("PATCH", path, {"tags": ["new"], "name": "b", "scope": "full"}, key=lister.key).ok()
    assert lister.names(tag="old") == []
    assert lister.names(tag="new") == lister.names(q="b", type="api_token") == ["b"]


def test_keys_are_found_that_nobody_has_used_since(lister: Lister) -> None:
    used, _ = lister.issue(name="used"), lister.issue(name="unused")
    before = used["created_at"]
    assert lister.names(unused_since=before, type="api_token") == ["unused", "used"]
    assert lister.served.verify(used["key"], key=lister.key)["valid"]
    until(lambda: lister.names(unused_since=before, type="api_token") == ["unused"])
    assert lister.names(unused_since="2100-01-01T00:00:00Z", type="api_token") == ["unused", "used"]


INVALID: Final = [
    *(("type", value) for value in ("", "API_TOKEN", "token")),
    *(("scope", value) for value in ("", "READ", "all")),
    *(("state", value) for value in ("", "revoked", "expired")),
    *(
        (name, value)
        for name in ("expires_before", "unused_since")
        for value in ("", "now", "0", "4102444800", "2100-01-01", "2100-01-01T00:00:00", "2100-01-01 00:00:00Z")
    ),
    *((name, value) for name in ("owner", "tag", "prefix", "q") for value in ("a" * 257, "\x00", "a\x00b")),
    *((name, "a") for name in ("Owner", "owners", "offset", "page", "key", "tenant", "sort", "order", "limit ", "")),
    ("cursor", ""),
    ("cursor", "a"),
    ("cursor", "\x00"),
    ("cursor", "A" * 1_000),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), INVALID, ids=[f"{name}={value!a:.20}" for name, value in INVALID])
def test_a_filter_that_makes_no_sense_is_refused_by_its_name(varied: Lister, name: str, value: str) -> None:
    varied.call(**{name: value}).problem(422, "invalid_request", field=name)


# -- cursors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cursor(lister: Lister) -> str:
    """A cursor for what follows the newest of two keys of acme's."""
    for number in range(2):
        lister.issue(name=f"{number}", owner="acme", tags=["a"])
    cursor = lister.page(owner="acme", limit=1)["next_cursor"]
    assert lister.names(owner="acme", cursor=cursor) == ["0"]
    return str(cursor)


def assert_refused(lister: Lister, cursor: str, **query: object) -> None:
    problem = lister.call(cursor=cursor, **query).problem(422, "invalid_request", field="cursor")
    assert "next_cursor" in problem["fix"]


def test_a_cursor_of_which_any_character_was_changed_is_refused(lister: Lister, cursor: str) -> None:
    for at, old in enumerate(cursor):
        assert_refused(lister, cursor[:at] + ("B" if old == "A" else "A") + cursor[at + 1 :], owner="acme")


def test_a_cursor_that_was_cut_off_is_refused(lister: Lister, cursor: str) -> None:
    for length in range(len(cursor)):
        assert_refused(lister, cursor[:length], owner="acme")


@pytest.mark.parametrize("more", [b"\x00", b"a", b"\xff" * 8, b"a" * 1_000])
def test_a_cursor_with_something_behind_it_is_refused(lister: Lister, cursor: str, more: bytes) -> None:
    assert_refused(lister, to_base64url(from_base64url(cursor) + more), owner="acme")


@pytest.mark.parametrize("more", ["=", "==", " ", "\n", "A", "-", "%", "é"])
def test_a_cursor_in_another_notation_is_refused(lister: Lister, cursor: str, more: str) -> None:
    assert_refused(lister, cursor + more, owner="acme")
    assert_refused(lister, more + cursor, owner="acme")


@pytest.mark.parametrize(
    "query",
    [{}, {"owner": "Acme"}, {"owner": "acme", "tag": "a"}, {"tag": "a"}, {"owner": "acme", "state": "active"},
     {"q": "acme"}, {"owner": "acme", "type": "api_token"}, {"owner": "acme", "scope": "read"}, {"prefix": "acme"},
     {"owner": "acme", "expires_before": "2100-01-01T00:00:00Z"}],
    ids=str,
)  # fmt: skip
def test_a_cursor_is_for_the_filters_that_it_was_given_for(
    lister: Lister, cursor: str, query: dict[str, str]
) -> None:
    assert_refused(lister, cursor, **query)


def test_a_cursor_is_for_the_tenant_that_it_was_given_to(served: Served, lister: Lister, cursor: str) -> None:
    other = Lister(served)
    other.issue(owner="acme")
    assert_refused(other, cursor, owner="acme")


def test_a_cursor_is_good_for_every_caller_of_its_tenant(served: Served, lister: Lister, cursor: str) -> None:
    another = served.issue(key=lister.key, type="provisioning", permissions=["keys.read"])["key"]
    page = served.call("GET", f"/v1/keys?{urlencode({'owner': 'acme', 'cursor': cursor})}", key=another).ok()
    assert [item["name"] for item in page["items"]] == ["0"]
