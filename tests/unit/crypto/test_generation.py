import re
from collections.abc import Iterable

import pytest

from keyturn.crypto.digests import token_digest
from keyturn.crypto.generation import generate_material, new_key_id
from keyturn.domain import ids, token
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.key import KeyLength, KeyType
from keyturn.errors import InvalidInputError

TOKENS = [KeyType.API_TOKEN, KeyType.PROVISIONING]
LENGTHS = [(KeyLength(bits), characters) for bits, characters in token.SECRET_LENGTHS.items()]


def is_all_different(items: Iterable[object]) -> bool:
    drawn = list(items)
    return len(set(drawn)) == len(drawn)


def test_a_key_id_is_one_and_no_two_are_alike() -> None:
    drawn = [new_key_id() for _ in range(10_000)]
    assert all(ids.is_id(ids.KEY, key_id) for key_id in drawn)
    assert is_all_different(drawn)


@pytest.mark.parametrize("key_type", TOKENS)
@pytest.mark.parametrize(("length", "characters"), LENGTHS)
def test_a_tokens_secret_has_the_characters_that_its_length_needs(
    key_type: KeyType, length: KeyLength, characters: int
) -> None:
    material = generate_material(key_type, length, "acme_live")
    parsed = token.parse(material.secret.reveal())
    assert parsed is not None
    assert (parsed.prefix, parsed.credential_id) == ("acme_live", material.credential_id)
    assert len(parsed.secret) == characters
    assert material.digest == token_digest(material.secret.reveal())


def test_nothing_of_one_token_tells_anything_of_the_next() -> None:
    """The handle is public: were the secret to follow from it, or from the token before, it would be none."""
    drawn = [generate_material(KeyType.API_TOKEN, KeyLength.BITS_256, "kt") for _ in range(1_000)]
    parsed = [token.parse(material.secret.reveal()) for material in drawn]
    secrets = [each.secret.reveal() for each in parsed if each is not None]
    handles = [material.credential_id or "" for material in drawn]
    assert is_all_different(handles + secrets)
    assert not any(handle in secret for handle, secret in zip(handles, secrets, strict=True))


@pytest.mark.parametrize("bits", [128, 256, 4_096, 8_192])
def test_hmac_material_has_as_many_bytes_as_its_length_says(bits: int) -> None:
    material = generate_material(KeyType.HMAC, KeyLength(bits), None)
    assert len(from_base64url(material.secret.reveal())) * 8 == bits
    assert (material.credential_id, material.digest) == (None, None)


def test_hmac_material_is_drawn_anew_each_time() -> None:
    drawn = [generate_material(KeyType.HMAC, KeyLength.BITS_128, None).secret.reveal() for _ in range(1_000)]
    assert is_all_different(drawn)


@pytest.mark.parametrize("key_type", [KeyType.RSA, KeyType.ECDSA, KeyType.JWT])
def test_a_type_that_is_not_made_is_refused_by_name(key_type: KeyType) -> None:
    with pytest.raises(InvalidInputError, match=f"makes no {key_type.value} keys") as refused:
        generate_material(key_type, KeyLength.BITS_256, None)
    assert refused.value.field == "type"


def test_material_does_not_print_its_secret() -> None:
    for key_type, prefix in ((KeyType.API_TOKEN, "kt"), (KeyType.HMAC, None)):
        material = generate_material(key_type, KeyLength.BITS_256, prefix)
        assert material.secret.reveal() not in repr(material)
        assert re.search(r"secret=Secret\(\*\*\*\)", repr(material))
