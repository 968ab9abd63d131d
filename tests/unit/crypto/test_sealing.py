import os

import pytest

from keyturn.crypto.keyring import Keyring
from keyturn.crypto.sealing import associated_data, open_material, seal_material
from keyturn.domain.key import KeyType
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError
from tests.unit.crypto.samples import (
    DEKS,
    LOG_ID,
    LOOKUP_KEY,
    SEALED,
    Vector,
    flipped,
    keyring,
    named,
    scripted,
)

KEY_ID = "key_0123456789ABCDEFGHIJKL"
PLACE = associated_data("default", KEY_ID, 1, KeyType.HMAC)
MATERIAL = Secret(bytes(range(32)))


def place_of(vector: Vector) -> bytes:
    return associated_data(vector["tenant"], vector["key_id"], vector["version"], KeyType(vector["type"]))


def refusal(sealed: bytes, aad: bytes = PLACE, held: Keyring | None = None) -> IntegrityError:
    with pytest.raises(IntegrityError) as refused:
        open_material(held or keyring(), sealed, aad)
    return refused.value


@named(SEALED["materials"])
def test_material_is_sealed_as_the_format_says(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/formats/sealed.md, by an implementation of its own."""
    assert place_of(vector).hex() == vector["aad"]
    monkeypatch.setattr(os, "urandom", scripted(bytes.fromhex(vector["salt"])))
    material = Secret(bytes.fromhex(vector["material"]))
    assert seal_material(keyring(vector["dek"]), material, place_of(vector)).hex() == vector["sealed"]


@named(SEALED["materials"])
def test_sealed_material_comes_back(vector: Vector) -> None:
    for primary in DEKS:
        opened = open_material(keyring(primary), bytes.fromhex(vector["sealed"]), place_of(vector))
        assert opened == Secret(bytes.fromhex(vector["material"]))


@named(SEALED["materials_refused"])
def test_material_that_was_altered_or_moved_is_refused(vector: Vector) -> None:
    refusal(bytes.fromhex(vector["sealed"]), place_of(vector))


def test_every_way_to_fail_has_a_vector_and_all_look_alike() -> None:
    """ASVS 11.2.5: who tries can't tell a wrong key from a wrong place or a broken byte."""
    failures = {"place", "commitment", "tag", "dek", "format", "length"}
    assert {vector["failure"] for vector in SEALED["materials_refused"]} == failures
    refused = [refusal(bytes.fromhex(v["sealed"]), place_of(v)) for v in SEALED["materials_refused"]]
    assert {(type(error), str(error), error.code, error.fix) for error in refused} == {
        (IntegrityError, "sealed material refused", "integrity_failed", IntegrityError.default_fix)
    }
    assert all(error.__cause__ is None and error.__suppress_context__ for error in refused)


def test_every_flipped_byte_is_refused_alike() -> None:
    """OWASP Key Management, Storage 6."""
    sealed = seal_material(keyring(), MATERIAL, PLACE)
    assert len(sealed) == 1 + 4 + 16 + 32 + 32 + 16
    assert {str(refusal(other)) for other in flipped(sealed)} == {"sealed material refused"}


def test_material_cut_off_at_any_length_is_refused() -> None:
    sealed = seal_material(keyring(), MATERIAL, PLACE)
    for length in range(len(sealed)):
        refusal(sealed[:length])


@pytest.mark.parametrize(
    "place",
    [
        associated_data("acme", KEY_ID, 1, KeyType.HMAC),
        associated_data("default", KEY_ID[:-1] + "M", 1, KeyType.HMAC),
        associated_data("default", KEY_ID, 2, KeyType.HMAC),
        associated_data("default", KEY_ID, 1, KeyType.API_TOKEN),
        b"",
    ],
    ids=["tenant", "key", "version", "type", "nowhere"],
)
def test_material_does_not_open_in_another_place(place: bytes) -> None:
    """PCI DSS 3.7.7: no key takes another's place."""
    refusal(seal_material(keyring(), MATERIAL, PLACE), place)


def test_no_two_places_are_written_alike() -> None:
    assert associated_data("a", "bc", 1, KeyType.HMAC) != associated_data("ab", "c", 1, KeyType.HMAC)
    assert associated_data("a", "b1", 1, KeyType.HMAC) != associated_data("a", "b", 11, KeyType.HMAC)


def test_material_does_not_open_under_other_data_keys() -> None:
    sealed = seal_material(keyring(1), MATERIAL, PLACE)
    swapped = Keyring({1: DEKS[2], 2: DEKS[1]}, 1, LOOKUP_KEY, LOG_ID)
    missing = Keyring({2: DEKS[2]}, 2, LOOKUP_KEY, LOG_ID)
    assert str(refusal(sealed, held=swapped)) == str(refusal(sealed, held=missing))


def test_material_of_a_retired_data_key_still_opens_and_the_primary_seals() -> None:
    old = seal_material(keyring(1), MATERIAL, PLACE)
    new = seal_material(keyring(2), MATERIAL, PLACE)
    assert (old[:5], new[:5]) == (b"\1\0\0\0\1", b"\1\0\0\0\2")
    assert open_material(keyring(2), old, PLACE) == open_material(keyring(1), new, PLACE) == MATERIAL


def test_each_sealing_has_a_salt_and_so_a_key_and_nonce_of_its_own() -> None:
    """ASVS 11.3.4. What is sealed twice cannot be told from two things."""
    sealed = [seal_material(keyring(), MATERIAL, PLACE) for _ in range(1_000)]
    assert len({each[5:21] for each in sealed}) == 1_000
    assert len({each[21:53] for each in sealed}) == 1_000
    assert len({each[53:] for each in sealed}) == 1_000


@pytest.mark.parametrize("length", [0, 1, 16, 1_024, 4_096])
def test_material_of_any_length_comes_back_whole(length: int) -> None:
    material = Secret(os.urandom(length))
    sealed = seal_material(keyring(), material, PLACE)
    assert open_material(keyring(), sealed, PLACE) == material
    assert len(sealed) == 53 + length + 16


def test_sealed_material_does_not_show_what_it_holds() -> None:
    material = Secret(b"a" * 64)
    sealed = seal_material(keyring(), material, PLACE)
    assert b"aaaa" not in sealed
    assert repr(open_material(keyring(), sealed, PLACE)) == "Secret(***)"
