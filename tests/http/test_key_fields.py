"""Each field of a key over HTTP: what is taken, to the last character that is allowed, and what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from keyturn.domain.instants import parse_rfc3339, rfc3339
from tests.http.served import METADATA, Served

CENTURY: Final = 36_525 * 86_400  # seconds
CHANGEABLE: Final = frozenset({"name", "scope", "permissions", "allowed_ips", "metadata", "tags", "not_before",
                               "expires_at", "expires_in", "profile"})  # fmt: skip


def in_(**time: float) -> str:
    return rfc3339(datetime.now(UTC) + timedelta(**time))


def nested(depth: int) -> object:
    """An object of so many levels."""
    return {} if depth == 1 else {"a": nested(depth - 1)}


def sized(size: int) -> dict[str, str]:
    """An object of so many bytes of canonical JSON."""
    return {"a": "é" * ((size - 8) // 2) + "a" * (size % 2)}


# What is answered is what was sent, where there is no second value.
TEXTS: Final = (
    "a",
    "a b",
    "a" * 256,
    "é" * 256,
    "日本",
    "a\u200db",
    "🔑",
    "%00",
    "<b>",
    "'; --",
    "\\",
    '"',
    "key_1",
)
TAKEN: Final[list[tuple[str, Any] | tuple[str, Any, Any]]] = [
    *(("name", text) for text in TEXTS),
    ("name", None),
    *(("owner", text) for text in (*TEXTS, "a/b", "...", "https://id.test/?a=b#c")),
    ("owner", None),
    *(("prefix", text) for text in ("a", "0", "_", "a_b", "a" * 32)),
    ("prefix", None, "kt"),
    *(("type", name) for name in ("api_token", "provisioning")),
    *(("scope", name) for name in ("read", "write", "admin", "read_write", "full")),
    *(("length", bits) for bits in (128, 256, 4_096, 8_192)),
    ("length", None, 256),
    *(("recoverable", value) for value in (True, False)),
    ("permissions", []),
    ("permissions", ["*"]),
    ("permissions", ["a", "a.*", "*.a", "*.*", "A_-9", "a.b.c.d.e.f.g.h", "a" * 128]),
    ("permissions", ["NOT.a", "or", "b", "a"]),
    ("permissions", [f"p{number}" for number in range(256)]),
    ("allowed_ips", []),
    ("allowed_ips", ["203.0.113.9", "203.0.113.0/24", "0.0.0.0/0", "::/0", "2001:db8::1"]),
    ("allowed_ips", ["203.0.113.9/32", "2001:DB8:0::1/128"], ["203.0.113.9", "2001:db8::1"]),
    ("allowed_ips", ["::ffff:203.0.113.9", "::ffff:10.0.0.0/104"], ["203.0.113.9", "10.0.0.0/8"]),
    ("allowed_ips", [f"203.0.113.{number}" for number in range(64)]),
    ("metadata", {}),
    ("metadata", {"": "", "a": None, "b": [True, False, 0, -(2**53) + 1, 2**53 - 1], "é": {"🔑": "\u0001\u2028"}}),
    ("metadata", {"a" * 128: 1}),
    ("metadata", nested(8)),
    ("metadata", sized(16_384)),
    ("tags", []),
    ("tags", ["a", "A", "é", "a b", "🔑" * 64]),
    ("tags", [f"tag {number}" for number in range(64)]),
    ("profile", None),
    ("not_before", None),
    ("not_before", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
    ("not_before", "2120-02-29T23:59:59.999999Z"),
    ("expires_at", None),
    ("expires_at", "2100-01-01T00:00:00Z", "2100-01-01T00:00:00.000000Z"),
    ("expires_at", "2100-01-01t02:30:00.123456789+02:30", "2100-01-01T00:00:00.123456Z"),
    ("expires_at", "2099-12-31T23:59:59.9-00:00", "2099-12-31T23:59:59.900000Z"),
]  # fmt: skip

BAD_TEXTS: Final = ("", " ", " a", "a ", "\ta", "a\nb", "a\x00", "\x1b[31m", "\x7f", "a\x85", "a\u2028b", "\u200b",
                    "a\u202eb", "\ufeffa", "\ud800", "a\udc00", "a\uffff")  # fmt: skip
NO_TEXTS: Final[tuple[object, ...]] = (0, 1.5, True, [], ["a"], {}, {"a": "b"})
NO_LISTS: Final[tuple[object, ...]] = (
    None,
    "a",
    1,
    True,
    {},
    {"a": "b"},
    [None],
    [1],
    [["a"]],
    [{}],
    [""],
    ["a", 1],
)
NO_INSTANTS: Final[tuple[object, ...]] = (
    0, 1.5, True, [], {}, "", "now", "4102444800", "2100-01-01", "2100-01-01T00:00:00", "2100-01-01 00:00:00Z",
    "2100-01-01T00:00Z", "2100-02-29T00:00:00Z", "2100-01-01T24:00:00Z", "2100-12-31T23:59:60Z", "1969-12-31T23:59:59Z",
    "2100-01-01T00:00:00+24:00", "2100-01-01T00:00:00.0000000000Z", "2100-01-01T00:00:00z\n",
    "\uff12100-01-01T00:00:00Z", "+2100-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00",
    "\ud800",
)  # fmt: skip

REFUSED: Final[dict[str, list[Any]]] = {
    "type": [None, "", "API_TOKEN", "token", "RSA", "ed25519", "\ud800", *NO_TEXTS],
    "scope": [None, "", "READ", "read,write", "none", "\ud800", *NO_TEXTS],
    "length": [0, 1, -1, 255, 257, 384, 521, 2_048, 3_072, 2**63, 10**100, 256.5, 256.0, True, "256", [], {}],
    "name": [*BAD_TEXTS, "a" * 257, *NO_TEXTS],
    "owner": [*BAD_TEXTS, "a" * 257, ".", "..", *NO_TEXTS],
    "prefix": ["", "A", "a-b", "a b", "é", "a" * 33, "a\n", "\x00", "\ud800", *NO_TEXTS],
    "expires_in": [0, -1, CENTURY + 1, 2**63, 10**100, 1.5, 60.0, True, "60", [], {}],
    "expires_at": [*NO_INSTANTS, "1970-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z"],
    "not_before": [*NO_INSTANTS, "9999-12-31T23:59:59.999999Z"],
    "permissions": [
        *NO_LISTS, ["a" * 129], ["a.b.c.d.e.f.g.h.i"], ["a", "b", "a"], ["a..b"], [".a"], ["a."], ["a*"], ["**"],
        ["AND"],
        ["OR"], ["NOT"], ["a b"], ["é"], ["a\n"], ["\x00"], ["\ud800"], [f"p{number}" for number in range(257)],
    ],
    "allowed_ips": [
        *NO_LISTS, ["localhost"], ["203.0.113.999"], ["203.0.113"], ["203.0.113.09"], ["203.0.113.9/24"],
        ["203.0.113.0/255.255.255.0"], ["203.0.113.0/33"], ["203.0.113.0/-1"], ["203.0.113.0/"], ["/24"],
        ["fe80::1%eth0"], ["2001:db8::1/64"], ["2001:db8::/129"], ["203.0.113.9 "], ["203.0.113.9\x00"], ["\ud800"],
        ["1" * 10_000], ["203.0.113.9", "203.0.113.9/32"], ["203.0.113.9", "::ffff:203.0.113.9"],
        [f"203.0.113.{number}" for number in range(65)],
    ],
    "metadata": [
        None, "a", 1, True, [], [1], {"a": 1.5}, {"a": 1e300}, {"a": 2**53}, {"a": -(2**53)}, {"a": 10**400},
        {"a": "\x00"}, {"\x00": 1}, {"a": "\ud800"}, {"\udc00": 1}, {"a": [{"b": "\ud800"}]}, {"a" * 129: 1}, nested(9),
        {"a": [[[[[[[[]]]]]]]]}, sized(16_385),
    ],
    "tags": [
        *NO_LISTS, *([text] for text in BAD_TEXTS), ["a" * 65], ["a", "b", "a"],
        [f"tag {number}" for number in range(65)],
    ],
    "recoverable": [None, "true", "", 0, 1, [], {}],
    "profile": [
        "read", "", 0, True, [], ["read"], {}, {"scope": None}, {"scope": None, "permissions": None}, {"scope": ""},
        {"scope": "READ"}, {"scope": ["read"]}, {"scope": 1}, {"permissions": ""}, {"permissions": "a AND"},
        {"permissions": "a.*"}, {"permissions": ["a"]}, {"permissions": "a" * 1_025}, {"permissions": "\ud800"},
        {"scope": "read", "cost": 1}, {"scope": "read", "Permissions": "a"},
        {"scope": "read"},  # whole, but for a key that is no gateway's
    ],
}  # fmt: skip


def each(fields: Mapping[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}={value!a:.40}")
        for name, values in fields.items()
        for value in values
    ]


@pytest.fixture(scope="module")
def changing(served: Served) -> dict[str, Any]:
    """A key that tests change, or try to."""
    return served.issue(
        name="before", tags=["before"], metadata={"before": 1}, permissions=["before"], scope="write"
    )


@pytest.mark.parametrize("case", TAKEN, ids=[f"{case[0]}={case[1]!a:.40}" for case in TAKEN])
def test_a_value_within_bounds_is_taken_and_shown_as_it_was_given(
    served: Served, case: tuple[Any, ...]
) -> None:
    name, given, expected = case[0], case[1], case[-1]
    issued = served.issue(**{name: given})
    assert issued[name] == expected
    assert served.show(issued["key_id"]) == {name: issued[name] for name in METADATA}
    if name in CHANGEABLE:
        path = f"/v1/keys/{served.issue()['key_id']}"
        changed = served.call("PATCH", path, {name: given}).ok()
        assert changed[name] == expected
        assert served.call("GET", path).ok() == changed


@pytest.mark.parametrize(("name", "value"), each(REFUSED))
def test_a_value_out_of_bounds_is_refused_with_the_fields_name(
    served: Served, changing: dict[str, Any], name: str, value: object
) -> None:
    answers = [served.call("POST", "/v1/keys", {name: value})]
    if name in CHANGEABLE and not (value is None and name != "scope"):
        answers.append(served.call("PATCH", f"/v1/keys/{changing['key_id']}", {name: value}))
    for answer in answers:
        field = answer.problem(422, "invalid_request")["field"]
        assert field.split(".")[0] == name  # with its place in a list, where that is known


def test_what_is_refused_leaves_nothing_behind(served: Served, changing: dict[str, Any]) -> None:
    before = served.call("GET", "/v1/keys?limit=1000").ok()
    for case in each(REFUSED):
        name, value = case.values
        served.call("POST", "/v1/keys", {"tags": ["left"], name: value})
        if not (value is None and name != "scope"):
            body = {"tags": ["left"], name: value}
            served.call("PATCH", f"/v1/keys/{changing['key_id']}", body).any_problem()
    assert served.call("GET", "/v1/keys?limit=1000").ok() == before


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    "name",
    [
        "", "Name", "key_id", "key", "tenant", "state", "version", "secret", "allowed_ip", "ip", "permission",
        "rate_limits", "credits", "rotation", "__proto__", "é", "\x00", "a" * 32,
    ],
)  # fmt: skip
def test_an_unknown_field_is_refused_by_its_name(
    served: Served, changing: dict[str, Any], method: str, name: str
) -> None:
    path = "/v1/keys" if method == "POST" else f"/v1/keys/{changing['key_id']}"
    problem = served.call(method, path, {"name": "a", name: None}).problem(422, "invalid_request")
    assert problem["field"] == name


def test_a_name_that_may_be_a_secret_is_not_repeated(served: Served, changing: dict[str, Any]) -> None:
    for method, path in (("POST", "/v1/keys"), ("PATCH", f"/v1/keys/{changing['key_id']}")):
        for name in (changing["key"], "a" * 1_000):
            for body in ({name: None}, {"metadata": {name * 2: 1.5}}, {"permissions": [f"{name} "]}):
                answer = served.call(method, path, body)
                answer.any_problem()
                assert name.encode() not in answer.body


@pytest.mark.parametrize("name", ["type", "length", "owner", "prefix", "recoverable"])
def test_what_a_key_is_cannot_be_changed(served: Served, changing: dict[str, Any], name: str) -> None:
    served.call("PATCH", f"/v1/keys/{changing['key_id']}", {name: None}).problem(
        422, "invalid_request", field=name
    )


@pytest.mark.parametrize(
    "profile",
    [
        {"scope": "read", "permissions": None},
        {"scope": None, "permissions": "documents.read AND (a.b OR NOT c)"},
        {"scope": "full", "permissions": "a" * 128},
    ],
    ids=str,
)
def test_the_profile_of_a_gateways_key_is_shown_as_it_was_given(
    served: Served, profile: dict[str, Any]
) -> None:
    given = {name: value for name, value in profile.items() if value is not None}
    issued = served.issue(type="provisioning", profile=given)
    assert issued["profile"] == profile
    assert served.show(issued["key_id"])["profile"] == profile
    path = f"/v1/keys/{issued['key_id']}"
    assert served.call("PATCH", path, {"profile": {"scope": "admin"}}).ok()["profile"] == {
        "scope": "admin", "permissions": None
    }  # fmt: skip
    assert served.call("PATCH", path, {"name": "other"}).ok()["profile"]["scope"] == "admin"
    assert served.call("PATCH", path, {"profile": None}).ok()["profile"] is None


LARGEST: Final[Mapping[str, Any]] = {
    "name": "🔑" * 256, "owner": "🔐" * 256, "prefix": "p" * 32, "length": 8_192, "scope": "full", "recoverable": True,
    "permissions": [f"{number:0>128}" for number in range(256)], "metadata": sized(16_384),
    "allowed_ips": [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{number + 4_096:x}" for number in range(64)],
    "tags": [f"{number:0>64}" for number in range(64)],
}  # fmt: skip


def test_a_key_with_every_field_as_large_as_it_may_be_is_issued_changed_and_verified(served: Served) -> None:
    issued = served.issue(**LARGEST)
    assert LARGEST.items() <= issued.items()
    answer = served.verify(issued["key"], ip=LARGEST["allowed_ips"][63], scope="full")
    assert answer["valid"]
    assert {name: LARGEST[name] for name in ("owner", "permissions", "metadata")}.items() <= answer.items()
    changes = {name: value for name, value in LARGEST.items() if name in CHANGEABLE}
    changed = served.call("PATCH", f"/v1/keys/{issued['key_id']}", {**changes, "expires_in": CENTURY}).ok()
    assert changes.items() <= changed.items()


def test_a_key_has_at_most_64_kib_altogether(served: Served) -> None:
    tags = [f"{number:0>2}{'🏷' * 62}" for number in range(64)]
    served.call("POST", "/v1/keys", {**LARGEST, "tags": tags}).problem(422, "invalid_request")
    key = served.issue(**LARGEST)
    served.call("PATCH", f"/v1/keys/{key['key_id']}", {"tags": tags}).problem(422, "invalid_request")
    assert served.show(key["key_id"])["tags"] == LARGEST["tags"]


@pytest.mark.parametrize("seconds", [1, 60, 2_592_000, CENTURY])
def test_a_lifetime_is_in_seconds_from_now(served: Served, seconds: int) -> None:
    def assert_expires(expires_at: str, asked: datetime) -> None:
        begun = parse_rfc3339(expires_at) - timedelta(seconds=seconds)
        assert asked <= begun <= datetime.now(UTC)

    asked = datetime.now(UTC)
    assert_expires(served.issue(expires_in=seconds)["expires_at"], asked)
    lasting, asked = served.issue(), datetime.now(UTC)
    changed = served.call("PATCH", f"/v1/keys/{lasting['key_id']}", {"expires_in": seconds}).ok()
    assert_expires(changed["expires_at"], asked)


def test_a_window_has_one_end_and_it_comes_after_its_beginning(served: Served) -> None:
    key = served.issue(not_before=in_(days=1), expires_at=in_(days=2))
    path = f"/v1/keys/{key['key_id']}"
    both = {"expires_in": 60, "expires_at": in_(hours=1)}
    empty = {"not_before": "2100-01-01T00:00:00Z", "expires_at": "2100-01-01T00:00:00Z"}
    for answer in (
        served.call("POST", "/v1/keys", both),
        served.call("POST", "/v1/keys", empty),
        served.call("POST", "/v1/keys", {"not_before": in_(hours=2), "expires_in": 3_600}),
        served.call("PATCH", path, both),
        served.call("PATCH", path, empty),
        # Only one end is named, and the other is where it was.
        served.call("PATCH", path, {"not_before": in_(days=3)}),
        served.call("PATCH", path, {"expires_at": in_(hours=1)}),
        served.call("PATCH", path, {"expires_in": 60}),
    ):
        assert answer.problem(422, "invalid_request")["field"].startswith("expires_")
    assert served.show(key["key_id"]) == {name: key[name] for name in METADATA}


@pytest.mark.parametrize("length", [128, 256, 4_096, 8_192])
def test_a_key_that_signs_has_material_and_neither_prefix_nor_choice_of_coming_back(
    served: Served, length: int
) -> None:
    key = served.issue(type="hmac", length=length)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", key["key"])
    assert len(key["key"]) == -(-length // 6)
    assert key["prefix"] is None
    served.call("POST", "/v1/keys", {"type": "hmac", "prefix": "a"}).problem(
        422, "invalid_request", field="prefix"
    )
    served.call("POST", "/v1/keys", {"type": "hmac", "recoverable": True}).problem(
        422, "invalid_request", field="recoverable"
    )


@pytest.mark.parametrize(("length", "characters"), [(128, 22), (256, 43), (4_096, 688), (8_192, 1_376)])
def test_a_token_has_its_prefix_and_as_many_characters_as_its_length_asks_for(
    served: Served, length: int, characters: int
) -> None:
    for prefix in ("kt", "acme_live"):
        issued = served.issue(length=length, **({} if prefix == "kt" else {"prefix": prefix}))
        assert re.fullmatch(rf"{prefix}_[0-9A-Za-z]{{{16 + characters + 6}}}", issued["key"])
        assert issued["length"] == length


def test_a_provisioning_key_is_never_of_128_bits(served: Served) -> None:
    served.call("POST", "/v1/keys", {"type": "provisioning", "length": 128}).problem(
        422, "invalid_request", field="length"
    )
