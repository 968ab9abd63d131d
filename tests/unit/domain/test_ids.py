import pytest

from keyturn.domain import ids
from keyturn.errors import InvalidInputError

CHARACTERS = "0123456789ABCDEFabcdef"


@pytest.mark.parametrize("kind", ids.KINDS)
def test_an_id_is_its_kind_and_22_base62_characters(kind: str) -> None:
    built = ids.build(kind, CHARACTERS)
    assert built == f"{kind}_{CHARACTERS}"
    assert ids.is_id(kind, built)


def test_an_id_of_another_kind_is_not_this_kind() -> None:
    assert not ids.is_id(ids.KEY, ids.build(ids.OWNER, CHARACTERS))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key_",
        "key",
        CHARACTERS,
        f"key_{CHARACTERS}0",
        f"key_{CHARACTERS[1:]}",
        f"KEY_{CHARACTERS}",
        f"key-{CHARACTERS}",
        f"key_{CHARACTERS[:-1]}_",
        f"key_{CHARACTERS[:-1]}é",
        f"key_{CHARACTERS[:-1]}\n",
        f"key_{CHARACTERS}\n",
        f" key_{CHARACTERS}",
        f"key_{CHARACTERS}.1",
    ],
)
def test_what_only_resembles_an_id_is_none(text: str) -> None:
    assert not ids.is_id(ids.KEY, text)


@pytest.mark.parametrize(
    ("kind", "characters"), [("key", "short"), ("key", "_" * 22), ("jwk", CHARACTERS), ("", "")]
)
def test_no_malformed_id_can_be_built(kind: str, characters: str) -> None:
    with pytest.raises(ValueError, match="22 base62"):
        ids.build(kind, characters)


@pytest.mark.parametrize("number", [1, 3, 10, ids.MAX_VERSION])
def test_a_version_row_id_splits_into_what_it_was_made_of(number: int) -> None:
    key_id = ids.build(ids.KEY, CHARACTERS)
    row_id = ids.version_row_id(key_id, number)
    assert row_id == f"{key_id}.{number}"
    assert ids.split_version_row_id(row_id) == (key_id, number)


@pytest.mark.parametrize("number", [0, -1, ids.MAX_VERSION + 1])
def test_a_version_number_begins_at_one_and_fits_the_stores(number: int) -> None:
    with pytest.raises(ValueError, match="number from 1"):
        ids.version_row_id(ids.build(ids.KEY, CHARACTERS), number)


@pytest.mark.parametrize(
    "row_id",
    [
        f"key_{CHARACTERS}",
        f"key_{CHARACTERS}.",
        f"key_{CHARACTERS}.0",
        f"key_{CHARACTERS}.01",
        f"key_{CHARACTERS}.-1",
        f"key_{CHARACTERS}.+1",
        f"key_{CHARACTERS}.1\n",
        f"key_{CHARACTERS}.1.1",
        f"key_{CHARACTERS}.٣",
        f"key_{CHARACTERS}.2147483648",
        f"key_{CHARACTERS}.99999999999",
        f"own_{CHARACTERS}.1",
        "key_short.1",
    ],
)
def test_a_version_row_id_has_one_writing(row_id: str) -> None:
    with pytest.raises(InvalidInputError):
        ids.split_version_row_id(row_id)
