import hmac
from itertools import product

import pytest

from keyturn.crypto.derivation import (
    MIN_PBKDF2_ITERATIONS,
    PBKDF2_ITERATIONS,
    derive_by_hkdf,
    derive_by_pbkdf2,
    hkdf,
)
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError

SALT = bytes(range(16))
MATERIAL = Secret(bytes(32))
FLOOR = MIN_PBKDF2_ITERATIONS  # the quickest that is allowed

# RFC 5869, appendices A.1 to A.3: material, salt, info, derived key.
HKDF_VECTORS = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("material", "salt", "info", "derived"), HKDF_VECTORS, ids=["A.1", "A.2", "A.3"])
def test_hkdf_is_that_of_rfc_5869(material: str, salt: str, info: str, derived: str) -> None:
    key = hkdf(
        bytes.fromhex(material),
        salt=bytes.fromhex(salt),
        info=bytes.fromhex(info),
        length=len(derived) // 2,
    )
    assert key.hex() == derived


def test_a_key_derived_by_hkdf_is_that_of_rfc_5869() -> None:
    material, salt, info, derived = HKDF_VECTORS[1]
    result = derive_by_hkdf(
        Secret(bytes.fromhex(material)), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=82
    )
    assert result.key == Secret(bytes.fromhex(derived))
    assert (result.method, result.salt.hex(), result.iterations) == ("hkdf-sha256", salt, None)


def pbkdf2(passphrase: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """RFC 8018, section 5.2, over HMAC-SHA-256, as its text says it."""
    derived = b""
    for block in range(1, -(-length // 32) + 1):
        u = hmac.digest(passphrase, salt + block.to_bytes(4, "big"), "sha256")
        total = int.from_bytes(u, "big")
        for _ in range(iterations - 1):
            u = hmac.digest(passphrase, u, "sha256")
            total ^= int.from_bytes(u, "big")
        derived += total.to_bytes(32, "big")
    return derived[:length]


def test_pbkdf2_is_that_of_the_standard() -> None:
    """No published vector has a salt and a count that are allowed here: a second implementation, which agrees with
    RFC 7914, section 11, stands between them.
    """
    first = (
        "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
    )
    second = "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
    assert pbkdf2(b"passwd", b"salt", 1, 64).hex() == first
    assert pbkdf2(b"Password", b"NaCl", 80_000, 32).hex() == second
    derived = derive_by_pbkdf2(Secret("pässphrase"), salt=SALT, iterations=FLOOR, length=48)
    assert derived.key.reveal_bytes() == pbkdf2("pässphrase".encode(), SALT, FLOOR, 48)


def test_a_derived_key_says_all_that_deriving_it_again_needs() -> None:
    first = derive_by_pbkdf2(Secret("passphrase"), iterations=FLOOR)
    assert (first.method, first.iterations, len(first.salt)) == ("pbkdf2-hmac-sha256", FLOOR, 16)
    again = derive_by_pbkdf2(Secret("passphrase"), salt=first.salt, iterations=FLOOR)
    assert again == first
    assert derive_by_pbkdf2(Secret("Passphrase"), salt=first.salt, iterations=FLOOR).key != first.key


def test_a_derived_key_does_not_print() -> None:
    derived = derive_by_hkdf(MATERIAL, info=b"test", salt=SALT)
    assert "Secret(***)" in repr(derived)
    assert derived.key.reveal_bytes().hex() not in repr(derived)


def test_a_passphrase_is_stretched_600_000_times_unless_another_count_is_named() -> None:
    """OWASP Password Storage and ASVS 5.0, appendix C."""
    assert PBKDF2_ITERATIONS == 600_000
    assert derive_by_pbkdf2(Secret("passphrase")).iterations == 600_000


@pytest.mark.parametrize("iterations", [-1, 0, 1, 1_000, 99_999, 10_000_001, 2**31])
def test_too_few_and_endlessly_many_iterations_are_refused(iterations: int) -> None:
    """Fewer than 100,000 fall too quickly; a stored count beyond ten millions would stall whoever reads it."""
    with pytest.raises(InvalidInputError, match="100,000 to 10,000,000") as refused:
        derive_by_pbkdf2(Secret("passphrase"), iterations=iterations)
    assert (refused.value.field, refused.value.fix) == ("iterations", "Leave it out to use 600,000.")


def test_one_hundred_thousand_iterations_are_the_least() -> None:
    assert FLOOR == 100_000
    assert derive_by_pbkdf2(Secret("passphrase"), iterations=100_000).iterations == 100_000


def test_each_derivation_has_a_salt_of_its_own() -> None:
    """SP 800-132, section 5.1: 128 random bits."""
    derived = [derive_by_hkdf(MATERIAL, info=b"test") for _ in range(1_000)]
    assert {len(each.salt) for each in derived} == {16}
    assert len({each.salt for each in derived}) == 1_000
    assert len({each.key.reveal_bytes() for each in derived}) == 1_000
    first, second = (derive_by_pbkdf2(Secret("passphrase"), iterations=FLOOR) for _ in range(2))
    assert first.salt != second.salt
    assert first.key != second.key


@pytest.mark.parametrize("salt", [b"", b"salt", bytes(15)])
def test_a_salt_below_128_bits_is_refused(salt: bytes) -> None:
    with pytest.raises(InvalidInputError, match="16 bytes"):
        derive_by_hkdf(MATERIAL, info=b"test", salt=salt)
    with pytest.raises(InvalidInputError, match="16 bytes") as refused:
        derive_by_pbkdf2(Secret("passphrase"), salt=salt)
    assert refused.value.field == "salt"


def test_purpose_salt_and_material_each_give_another_key() -> None:
    """SP 800-108, section 7: no two purposes share a key."""
    keys = {
        derive_by_hkdf(Secret(material), info=info, salt=salt).key.reveal_bytes()
        for material, info, salt in product((bytes(32), bytes(33)), (b"a", b"b"), (SALT, SALT[::-1]))
    }
    assert len(keys) == 8


def test_a_derived_key_has_112_bits_at_least_and_what_hkdf_can_give_at_most() -> None:
    """SP 800-132 and RFC 5869, section 2.3."""
    assert len(derive_by_hkdf(MATERIAL, info=b"test").key) == 32
    assert len(derive_by_pbkdf2(Secret("passphrase"), iterations=FLOOR).key) == 32
    assert len(hkdf(bytes(32), salt=SALT, info=b"test")) == 32
    for length in (14, 255 * 32):
        assert len(derive_by_hkdf(MATERIAL, info=b"test", length=length).key) == length


@pytest.mark.parametrize("length", [-1, 0, 13, 255 * 32 + 1])
def test_a_derived_key_of_another_length_is_refused(length: int) -> None:
    says = f"14 to 8160 bytes, not {length}$"
    with pytest.raises(InvalidInputError, match=says) as refused:
        derive_by_hkdf(MATERIAL, info=b"test", length=length)
    assert refused.value.field == "length"
    with pytest.raises(InvalidInputError, match=says):
        derive_by_pbkdf2(Secret("passphrase"), iterations=FLOOR, length=length)


def test_what_a_person_can_remember_is_no_key_material() -> None:
    """HKDF does not slow down a guesser."""
    assert derive_by_hkdf(Secret(bytes(16)), info=b"test").method == "hkdf-sha256"
    for material in (b"", b"passphrase", bytes(15)):
        with pytest.raises(InvalidInputError, match="at least 16 bytes") as refused:
            derive_by_hkdf(Secret(material), info=b"test")
        assert (refused.value.field, "PBKDF2" in refused.value.fix) == ("material", True)


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="protects nothing") as refused:
        derive_by_pbkdf2(Secret(""))
    assert refused.value.field == "passphrase"


def test_a_derived_key_keeps_what_it_was_derived_with() -> None:
    derived = derive_by_hkdf(MATERIAL, info=b"test")
    for name in ("key", "salt", "iterations", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(derived, name, SALT)
