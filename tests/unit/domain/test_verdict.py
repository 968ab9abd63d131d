from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code, KeyCheck, Verification

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY_ID = "key_0123456789ABCDEFGHIJKL"


@dataclass(frozen=True)
class Found:
    """A version of a key, as a verifier finds it."""

    key_id: str = KEY_ID
    version: int = 3
    owner: str | None = "ada"
    scope: KeyScope = KeyScope.READ_WRITE
    permissions: tuple[str, ...] = ("documents.*",)
    metadata: Mapping[str, object] = field(default_factory=lambda: {"plan": ["pro"]})
    expires_at: datetime | None = NOON


FOUND = Found()


@pytest.mark.parametrize("code", Code)
def test_a_verification_is_true_only_when_it_is_valid(code: Code) -> None:
    """Even with a key behind it: a refused key is named, and refused."""
    for verification in (Verification(code, "log:1", FOUND), Verification(code, "log:1")):
        assert bool(verification) is verification.valid is (code is Code.VALID)
        assert verification.code == code.value
        assert verification.reason is code


def test_the_codes_are_those_of_the_contract() -> None:
    """Programs branch on them: a value that was ever answered stays."""
    assert {code.value for code in Code} >= {
        "valid",
        "malformed",
        "not_found",
        "not_yet_valid",
        "expired",
        "suspended",
        "revoked",
        "insufficient_scope",
        "insufficient_permissions",
        "ip_denied",
        "rate_limited",
        "credits_exhausted",
        "throttled",
        "stale",
        "integrity_failed",
    }
    assert all(code.value == code.name.lower() for code in Code)


def test_a_verification_tells_whose_key_it_was() -> None:
    verification = Verification(Code.EXPIRED, "log:7", FOUND)
    assert verification.presented is FOUND
    assert (verification.key_id, verification.version) == (KEY_ID, 3)
    assert (verification.owner, verification.scope) == ("ada", "read_write")
    assert verification.permissions == ("documents.*",)
    assert verification.metadata == {"plan": ["pro"]}
    assert verification.expires_at == NOON
    assert verification.as_of == "log:7"


def test_metadata_are_given_away_as_a_copy() -> None:
    """The key behind an answer goes on serving others: what one caller does to its answer must stay with it."""
    given = Verification(Code.VALID, "log:7", FOUND).metadata
    assert isinstance(given, dict)
    given["plan"].append("free")
    given["role"] = "admin"
    assert Verification(Code.VALID, "log:7", FOUND).metadata == {"plan": ["pro"]}


def test_a_verification_of_nothing_that_is_known_tells_nothing() -> None:
    """An unknown id, a wrong secret and another tenant's token look alike."""
    verification = Verification(Code.NOT_FOUND, "log:7")
    for value in (
        verification.presented,
        verification.key_id,
        verification.version,
        verification.owner,
        verification.scope,
        verification.expires_at,
    ):
        assert value is None
    assert verification.permissions == ()
    assert verification.metadata == {}
    assert verification.as_of == "log:7"


def test_a_verification_prints_its_code_and_whose_it_was() -> None:
    assert repr(Verification(Code.VALID, "log:7", FOUND)) == (
        "Verification(code='valid', key_id='key_0123456789ABCDEFGHIJKL', as_of='log:7')"
    )
    assert repr(Verification(Code.STALE, "log:7")) == (
        "Verification(code='stale', key_id=None, as_of='log:7')"
    )


def test_what_a_verification_answers_is_not_assigned_by_mistake() -> None:
    """A line that meant to compare and assigned must fail, and admit nobody."""
    verification = Verification(Code.REVOKED, "log:7", FOUND)
    for name in ("valid", "code", "key_id", "owner", "anything"):
        with pytest.raises(AttributeError):
            setattr(verification, name, True)


@pytest.mark.parametrize("valid", [True, False])
def test_a_check_is_as_true_as_it_is_valid(valid: bool) -> None:
    """A bare tuple of two would be true whatever is in it."""
    check = KeyCheck(valid, "the reason")
    assert bool(check) is valid
    is_valid, message = check
    assert (is_valid, message) == (valid, "the reason")
    assert check == (valid, "the reason")
