import json
from collections.abc import Callable
from typing import Any

import pytest

from keyturn.domain import fields
from keyturn.errors import InvalidInputError

NUL = "\x00"
TEXT_CHECKS = [
    (fields.check_owner, "owner", 256),
    (fields.check_name, "name", 256),
    (fields.check_note, "note", 1_024),
    (fields.check_tag, "tags", 64),
]
texts = pytest.mark.parametrize(
    ("check", "field", "longest"), TEXT_CHECKS, ids=[name for _, name, _ in TEXT_CHECKS]
)
Check = Callable[[Any], object]


def refused(check: Check, value: object) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        check(value)
    assert caught.value.field
    return caught.value


@pytest.mark.parametrize("tenant", ["default", "a", "0", "acme-eu_1", "a" * 63, "systems"])
def test_a_tenant_is_a_short_plain_word(tenant: str) -> None:
    assert fields.check_tenant(tenant) == tenant


@pytest.mark.parametrize(
    "tenant",
    [
        "",
        "A",
        "Default",
        "-a",
        "_a",
        "a" * 64,
        "a b",
        "a.b",
        "a/b",
        "..",
        "é",
        "a\n",
        "a" + NUL,
        "*",
        None,
        1,
    ],
)
def test_a_malformed_tenant_is_refused(tenant: object) -> None:
    assert refused(fields.check_tenant, tenant).field == "tenant"


def test_the_installations_own_tenant_is_reserved() -> None:
    """GHSA-mwr2: reserved names are refused as they are compared, with no second spelling that gets through."""
    assert "reserved" in str(refused(fields.check_tenant, "system"))
    for spelling in ("System", "SYSTEM", "system ", "\uff53ystem"):
        refused(fields.check_tenant, spelling)


@texts
def test_text_up_to_its_bound_is_kept_as_written(check: Check, field: str, longest: int) -> None:
    for text in (
        "a",
        "Ünïcode 漢字 ✓",
        "A\u030a",
        "a/b?c#d%20",
        "\u0645\u06cc\u200c\u062e",
        "👩\u200d🚀",
        "x" * longest,
    ):
        assert check(text) == text


@texts
def test_text_that_is_empty_too_long_or_no_text_is_refused(check: Check, field: str, longest: int) -> None:
    for value in ("", "x" * (longest + 1), None, 1, b"a", ["a"]):
        assert refused(check, value).field == field


@texts
@pytest.mark.parametrize(
    "character",
    [
        NUL,
        "\n",
        "\r",
        "\t",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
        "\ud800",
        "\uffff",
    ],
    ids=ascii,
)
def test_text_that_could_forge_a_line_or_hide_is_refused(
    check: Check, field: str, longest: int, character: str
) -> None:
    """ASVS 16.4.1: nothing that callers send can break or disguise a line of the log."""
    for text in (character, f"a{character}b", f"a{character}"):
        assert refused(check, text).field == field


@texts
def test_text_with_a_space_at_an_end_is_refused(check: Check, field: str, longest: int) -> None:
    for text in (" a", "a ", " ", "\u00a0a", "a\u3000"):
        assert "space" in str(refused(check, text))


@pytest.mark.parametrize(
    "owner",
    [
        ".",
        "..",
        "x/../acme",
        "../acme",
        "acme/..",
        "acme/.",
        "./acme",
        "a/./b",
        "/..",
        "x\\..\\acme",
        "x\\../acme",
    ],
)
def test_an_owner_that_no_path_can_carry_is_refused(owner: str) -> None:
    """CVE-2026-3605: `..` in a path is resolved before the server sees it."""
    assert refused(fields.check_owner, owner).field == "owner"


@pytest.mark.parametrize(
    "owner", ["...", "a/b/c", "a/...", "a..b/.c", ".a", "a.", "https://id.test/u/1", "a\\b"]
)
def test_an_owner_may_hold_dots_and_slashes(owner: str) -> None:
    assert fields.check_owner(owner) == owner


@pytest.mark.parametrize("prefix", ["kt", "a", "_", "acme_live", "0", "a" * 32])
def test_a_prefix_is_up_to_32_small_letters_digits_and_underscores(prefix: str) -> None:
    assert fields.check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "A", "a-b", "a b", "a" * 33, "é", "a\n", "a" + NUL, None, 1])
def test_a_malformed_prefix_is_refused(prefix: object) -> None:
    assert refused(fields.check_prefix, prefix).field == "prefix"


LISTS = [
    (fields.check_tags, "tags", 64, "tag{}"),
    (fields.check_permissions, "permissions", 256, "documents.p{}"),
    (fields.check_networks, "allowed_ips", 64, "10.0.0.{}"),
]
lists = pytest.mark.parametrize(
    ("check", "field", "most", "shape"), LISTS, ids=[name for _, name, _, _ in LISTS]
)


@lists
def test_a_list_keeps_its_order_up_to_its_bound(check: Check, field: str, most: int, shape: str) -> None:
    items = [shape.format(number) for number in reversed(range(most))]
    assert check(items) == tuple(items)
    assert check(()) == ()
    assert refused(check, [*items, shape.format(most)]).field == field


@lists
def test_a_list_is_a_list_of_texts(check: Check, field: str, most: int, shape: str) -> None:
    for value in ("read", None, 1, {"a": 1}, {"a"}, [1], [None], [["a"]], [""]):
        assert refused(check, value).field == field


@lists
def test_the_same_item_twice_is_refused(check: Check, field: str, most: int, shape: str) -> None:
    assert "twice" in str(refused(check, [shape.format(1), shape.format(2), shape.format(1)]))


def test_networks_are_stored_in_one_writing_and_compared_in_it() -> None:
    assert fields.check_networks(["10.0.0.1/32", "2001:DB8::/32"]) == ("10.0.0.1", "2001:db8::/32")
    assert "twice" in str(refused(fields.check_networks, ["10.0.0.1", "::ffff:10.0.0.1"]))


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_metadata_are_returned_as_they_will_be_stored() -> None:
    assert fields.check_metadata({}) == {}
    given = {"b": [1, "ü", None, True, {"c": (2,)}], "a": "x\ny"}
    assert fields.check_metadata(given) == {"a": "x\ny", "b": [1, "ü", None, True, {"c": [2]}]}


def test_metadata_cannot_be_changed_after_they_were_checked() -> None:
    inner: dict[str, object] = {"plan": "pro"}
    checked = fields.check_metadata({"a": inner})
    inner["plan"] = 1.5
    assert checked == {"a": {"plan": "pro"}}


@pytest.mark.parametrize("value", [None, [], "{}", 1, [("a", 1)]])
def test_metadata_are_an_object(value: object) -> None:
    assert refused(fields.check_metadata, value).field == "metadata"


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, b"a", {1}, object(), {1: "a"}])
def test_metadata_hold_only_what_has_a_canonical_text(value: object) -> None:
    for metadata in ({"a": value}, {"a": [{"b": value}]}):
        assert refused(fields.check_metadata, metadata).field == "metadata"


@pytest.mark.parametrize("text", [NUL, "a\x00b", "\ud800", "a\udfff"], ids=ascii)
def test_metadata_hold_no_nul_and_no_half_characters(text: str) -> None:
    for metadata in ({"a": text}, {"a": [[text]]}, {text: 1}, {"a": {text: 1}}):
        assert refused(fields.check_metadata, metadata).field == "metadata"


def test_metadata_nest_eight_deep_and_no_deeper() -> None:
    assert fields.check_metadata(nested(8)) == nested(8)
    assert "8 deep" in str(refused(fields.check_metadata, nested(9)))
    refused(fields.check_metadata, nested(100_000))


def test_names_in_metadata_have_at_most_128_characters() -> None:
    assert fields.check_metadata({"a" * 128: 1})
    for metadata in ({"a" * 129: 1}, {"a": [{"a" * 129: 1}]}):
        assert "128" in str(refused(fields.check_metadata, metadata))


def test_metadata_have_at_most_16_kib_as_json() -> None:
    """Counted in the bytes that are stored: a character may take four of them."""
    room = 16_384 - len(json.dumps({"a": ""}, separators=(",", ":")))
    assert fields.check_metadata({"a": "x" * room})
    assert fields.check_metadata({"a": "é" * (room // 2)})
    for text in ("x" * (room + 1), "é" * (room // 2 + 1), "\n" * (room // 2 + 1)):
        assert "16,384" in str(refused(fields.check_metadata, {"a": text}))
