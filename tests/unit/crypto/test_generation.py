import re
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from keyturn.crypto.digests import token_digest
from keyturn.crypto.generation import generate_material, new_key_id
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.domain import ids, token
from keyturn.domain.bytestext import from_base64url
from keyturn.domain.key import KeyLength, KeyType
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import KeySpec

TOKENS = [KeyType.API_TOKEN, KeyType.PROVISIONING]
LENGTHS = [(KeyLength(bits), characters) for bits, characters in token.SECRET_LENGTHS.items()]


def spec_of(key_type: KeyType, **more: Any) -> KeySpec:
    return KeySpec(type=key_type, scope=KeyScope.READ, **more)


def is_all_different(items: Iterable[object]) -> bool:
    drawn = list(items)
    return len(set(drawn)) == len(drawn)


def test_a_key_id_is_one_and_no_two_are_alike() -> None:
    drawn = [new_key_id() for _ in range(10_000)]
    assert all(ids.is_id(ids.KEY, key_id) for key_id in drawn)
    assert is_all_different(drawn)


@pytest.mark.parametrize(
    ("key_type", "length", "characters"),
    [
        (key_type, length, characters)
        for key_type in TOKENS
        for length, characters in LENGTHS
        if (key_type, int(length)) != (KeyType.PROVISIONING, 128)
    ],
)
def test_a_tokens_secret_has_the_characters_that_its_length_needs(
    key_type: KeyType, length: KeyLength, characters: int
) -> None:
    material = generate_material(spec_of(key_type, length=length, prefix="acme_live"))
    parsed = token.parse(material.secret.reveal())
    assert parsed is not None
    assert (parsed.prefix, parsed.credential_id) == ("acme_live", material.credential_id)
    assert len(parsed.secret) == characters
    assert material.digest == token_digest(material.secret.reveal())


def test_nothing_of_one_token_tells_anything_of_the_next() -> None:
    """The handle is public: were the secret to follow from it, or from the token before, it would be none."""
    drawn = [generate_material(spec_of(KeyType.API_TOKEN)) for _ in range(1_000)]
    parsed = [token.parse(material.secret.reveal()) for material in drawn]
    secrets = [each.secret.reveal() for each in parsed if each is not None]
    handles = [material.credential_id or "" for material in drawn]
    assert is_all_different(handles + secrets)
    assert not any(handle in secret for handle, secret in zip(handles, secrets, strict=True))


@pytest.mark.parametrize("bits", [128, 256, 4_096, 8_192])
def test_hmac_material_has_as_many_bytes_as_its_length_says(bits: int) -> None:
    material = generate_material(spec_of(KeyType.HMAC, length=KeyLength(bits)))
    assert len(from_base64url(material.secret.reveal())) * 8 == bits
    assert (material.credential_id, material.digest) == (None, None)


def test_hmac_material_is_drawn_anew_each_time() -> None:
    drawn = [
        generate_material(spec_of(KeyType.HMAC, length=KeyLength.BITS_128)).secret.reveal()
        for _ in range(1_000)
    ]
    assert is_all_different(drawn)


@pytest.mark.parametrize("key_type", KeyType)
def test_every_type_is_made_without_a_length(key_type: KeyType) -> None:
    material = generate_material(spec_of(key_type))
    assert material.secret.reveal()
    assert (material.digest is None) is not key_type.is_token
    assert (material.public_key is None) is (key_type in (*TOKENS, KeyType.HMAC))


def test_rsa_keys_come_from_whoever_has_made_them_ahead() -> None:
    asked: list[int] = []
    ahead = make_rsa_key(3_072)

    def take(bits: int) -> bytes:
        asked.append(bits)
        return ahead

    assert generate_material(spec_of(KeyType.RSA), take) == generate_material(spec_of(KeyType.RSA), take)
    assert asked == [3_072, 3_072]


def test_other_threads_run_while_an_rsa_key_is_made() -> None:
    """It takes seconds: were the interpreter lock held meanwhile, no verification would be answered."""
    done, turns = threading.Event(), 0

    def make() -> None:
        try:
            for _ in range(3):
                make_rsa_key(4_096)
        finally:
            done.set()

    maker = threading.Thread(target=make)
    maker.start()
    while not done.wait(0.001):
        turns += 1
    maker.join()
    assert turns > 20, "the lock is let go only between keys"


def test_material_does_not_print_its_secret() -> None:
    for key_type in (KeyType.API_TOKEN, KeyType.HMAC, KeyType.ECDSA):
        material = generate_material(spec_of(key_type))
        assert material.secret.reveal() not in repr(material)
        assert re.search(r"secret=Secret\(\*\*\*\)", repr(material))
