import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from keyturn.domain.key import KeyLength, KeyType
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import MAX_LIFETIME, GeneratedKey, KeySpec, check_window, checked_policy, expiry
from keyturn.errors import InvalidInputError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 31, 12)
MICROSECOND = timedelta(microseconds=1)
ANY = {128, 256, 4_096, 8_192}
RSA = {3_072, 4_096, 8_192}
POSSIBLE = {
    KeyType.API_TOKEN: ANY,
    KeyType.PROVISIONING: ANY - {128},
    KeyType.HMAC: ANY,
    KeyType.RSA: RSA,
    KeyType.ECDSA: {256, 384, 521},
    KeyType.JWT: {256, 3_072, 4_096},
}


def spec_of(**values: Any) -> KeySpec:
    return KeySpec(**{"type": KeyType.API_TOKEN, "scope": KeyScope.READ, **values})


def refused(call: Callable[[], object]) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return caught.value


# Types and lengths


@pytest.mark.parametrize(
    ("key_type", "length"), list(product(POSSIBLE, KeyLength)), ids=lambda each: each.name
)
def test_a_length_that_a_type_does_not_have_is_refused_by_name(key_type: KeyType, length: KeyLength) -> None:
    if int(length) in POSSIBLE[key_type]:
        assert spec_of(type=key_type, length=length).length is length
        return
    error = refused(lambda: spec_of(type=key_type, length=length))
    assert str(error) == f"a key of type {key_type.value} has no length of {int(length)} bits"
    assert error.field == "length"
    assert error.fix == f"Use one of: {', '.join(map(str, sorted(POSSIBLE[key_type])))}."


def test_every_type_is_possible() -> None:
    assert set(POSSIBLE) == set(KeyType)


def test_a_key_that_may_manage_others_has_at_least_256_bits() -> None:
    assert refused(lambda: spec_of(type=KeyType.PROVISIONING, length=KeyLength.BITS_128)).field == "length"


# Policy


def test_a_specification_without_more_is_a_token_of_256_bits_that_may_do_nothing_special() -> None:
    spec = spec_of()
    assert (spec.length, spec.prefix) == (KeyLength.BITS_256, "kt")
    assert (spec.name, spec.owner, spec.not_before, spec.expires_at) == (None, None, None, None)
    assert (spec.permissions, spec.allowed_ips, spec.tags, spec.metadata) == ((), (), (), {})
    assert not spec.recoverable


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("owner", " ada"),
        ("owner", ".."),
        ("prefix", "Acme"),
        ("prefix", "a" * 33),
        ("permissions", ("documents..read",)),
        ("permissions", ("a", "a")),
        ("permissions", "read"),
        ("allowed_ips", ("203.0.113.0/33",)),
        ("allowed_ips", ("everywhere",)),
        ("metadata", {"a": 1.5}),
        ("metadata", {"a": "x" * 16_384}),
        ("tags", ("x", "x")),
        ("tags", ("",)),
        ("not_before", NAIVE),
        ("expires_at", NAIVE),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_name_of_its_field(field: str, value: object) -> None:
    error = refused(lambda: spec_of(**{field: value}))
    assert error.field == field
    assert isinstance(error, ValueError)


def test_addresses_are_kept_in_their_canonical_form() -> None:
    """Two writings of one network would be two networks to whoever compares them."""
    assert spec_of(allowed_ips=("2001:DB8::/32", "10.0.0.1/32")).allowed_ips == ("2001:db8::/32", "10.0.0.1")


def test_metadata_are_those_that_were_checked() -> None:
    given: dict[str, object] = {"plan": ["free"]}
    spec = spec_of(metadata=given)
    given["plan"] = 1.5
    assert spec.metadata == {"plan": ["free"]}


def test_a_specification_is_not_changed_after_it_was_checked() -> None:
    for name, value in (("scope", KeyScope.FULL), ("permissions", ("*",)), ("anything", 1)):
        with pytest.raises((AttributeError, TypeError)):
            setattr(spec_of(), name, value)


def test_a_specification_is_checked_again_when_it_is_changed() -> None:
    assert refused(lambda: replace(spec_of(), length=KeyLength.BITS_521)).field == "length"
    assert replace(spec_of(prefix="acme"), name="Nightly").prefix == "acme"


def test_a_key_that_is_not_presented_has_no_prefix() -> None:
    assert spec_of(type=KeyType.HMAC).prefix is None
    error = refused(lambda: spec_of(type=KeyType.HMAC, prefix="kt"))
    assert (str(error), error.field) == ("a key of type hmac has no prefix", "prefix")


def test_material_that_always_comes_back_is_not_asked_for_again() -> None:
    assert spec_of(recoverable=True).recoverable
    error = refused(lambda: spec_of(type=KeyType.HMAC, recoverable=True))
    assert error.field == "recoverable"
    assert error.fix == "Leave it out: hmac material always comes back."


def test_a_policy_is_checked_field_by_field_where_a_key_is_changed() -> None:
    checked = checked_policy(name="a", allowed_ips=("10.0.0.1/32",), metadata={"b": (1,)})
    assert checked == {
        "name": "a",
        "owner": None,
        "permissions": (),
        "allowed_ips": ("10.0.0.1",),
        "metadata": {"b": [1]},
        "tags": (),
        "profile": None,
        "rotation_policy_id": None,
        "published_for": None,
    }
    assert refused(lambda: checked_policy(tags=("a", "a"))).field == "tags"


def test_a_profile_is_for_the_keys_that_gateways_call_with() -> None:
    profile = Requirement(scope=KeyScope.WRITE)
    assert spec_of(type=KeyType.PROVISIONING, profile=profile).profile == profile
    for other in (KeyType.API_TOKEN, KeyType.HMAC):
        error = refused(lambda other=other: spec_of(type=other, profile=profile))  # type: ignore[misc]
        assert (str(error), error.field) == (f"a key of type {other.value} has no profile", "profile")


# Times


def test_a_key_ends_after_it_begins() -> None:
    check_window(NOON, NOON + MICROSECOND)
    check_window(NOON, None)
    check_window(None, NOON)
    for end in (NOON, NOON - MICROSECOND):
        error = refused(lambda end=end: check_window(NOON, end))  # type: ignore[misc]
        assert (str(error), error.field) == ("expires_at is not after not_before", "expires_at")


@pytest.mark.parametrize("name", ["not_before", "expires_at"])
def test_a_time_without_a_zone_is_refused(name: str) -> None:
    """It would mean another instant on each machine."""
    times = {"not_before": None, "expires_at": None, name: NAIVE}
    error = refused(lambda: check_window(times["not_before"], times["expires_at"]))
    assert (str(error), error.field) == (f"{name} has no time zone", name)


def test_a_lifetime_counts_from_now_in_seconds() -> None:
    assert expiry(NOON, 1, None) == NOON + timedelta(seconds=1)
    assert expiry(NOON, 86_400 * 30, None) == NOON + timedelta(days=30)
    assert expiry(NOON, None, NOON + MICROSECOND) == NOON + MICROSECOND
    assert expiry(NOON, None, None) is None


@pytest.mark.parametrize("expires_in", [0, -1, 1.0, 86_400.5, True, "60", timedelta(days=1)])
def test_a_lifetime_that_is_no_number_of_seconds_is_refused(expires_in: object) -> None:
    """Zero never means for ever, and no fraction is rounded."""
    assert refused(lambda: expiry(NOON, expires_in, None)).field == "expires_in"  # type: ignore[arg-type]


def test_a_lifetime_of_more_than_a_century_is_refused() -> None:
    """Milliseconds in place of seconds, for the most part."""
    century = 36_525 * 86_400
    assert expiry(NOON, century, None) == expiry(NOON, None, NOON + MAX_LIFETIME) == NOON + MAX_LIFETIME
    assert refused(lambda: expiry(NOON, century + 1, None)).field == "expires_in"
    assert refused(lambda: expiry(NOON, None, NOON + MAX_LIFETIME + MICROSECOND)).field == "expires_at"


def test_a_key_is_not_made_after_its_expiry() -> None:
    for past in (NOON, NOON - MICROSECOND):
        error = refused(lambda past=past: expiry(NOON, None, past))  # type: ignore[misc]
        assert (str(error), error.field) == ("expires_at is in the past", "expires_at")
    assert refused(lambda: expiry(NOON, None, NAIVE)).field == "expires_at"


def test_two_ways_to_say_when_a_key_ends_exclude_each_other() -> None:
    assert refused(lambda: expiry(NOON, 60, NOON + MICROSECOND)).field == "expires_in"


# A generated key


GENERATED = GeneratedKey(
    key_id="key_0123456789ABCDEFGHIJKL",
    spec=spec_of(scope=KeyScope.WRITE, expires_at=NOON),
    secret=Secret("kt_not-to-be-shown"),
    credential_id="0123456789ABCDEF",
    digest=bytes(32),
    created_at=NOON,
)


def test_a_generated_key_says_what_it_is_and_not_its_secret() -> None:
    assert (GENERATED.type, GENERATED.scope, GENERATED.expires_at) == (
        KeyType.API_TOKEN,
        KeyScope.WRITE,
        NOON,
    )
    assert "not-to-be-shown" not in f"{GENERATED}"
    assert "secret=Secret(***)" in repr(GENERATED)


def test_a_generated_key_is_stored_as_it_was_made() -> None:
    for name, value in (("secret", Secret("kt_another")), ("spec", spec_of(scope=KeyScope.FULL))):
        with pytest.raises(AttributeError):
            setattr(GENERATED, name, value)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_a_generated_key_does_not_leave_the_process_or_multiply(
    duplicate: Callable[[object], object],
) -> None:
    with pytest.raises(TypeError, match="never pickled"):
        duplicate(GENERATED)


def test_an_empty_prefix_is_not_the_default_one() -> None:
    with pytest.raises(InvalidInputError):
        KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, prefix="")


@pytest.mark.parametrize("year", [1960, 2300])
def test_a_time_that_no_row_can_hold_is_refused_with_its_field(year: int) -> None:
    with pytest.raises(InvalidInputError) as refused:
        KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, not_before=datetime(year, 1, 1, tzinfo=UTC))
    assert refused.value.field == "not_before"


def test_recoverable_is_yes_or_no() -> None:
    with pytest.raises(InvalidInputError):
        KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, recoverable="no")  # type: ignore[arg-type]
