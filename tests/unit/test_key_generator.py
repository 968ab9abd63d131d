import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPrivateNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from keyturn import GeneratedKey, KeyLength, KeyPolicy, KeyScope, KeyType, Secret, SecureKeyGenerator
from keyturn.crypto.digests import token_digest
from keyturn.crypto.key_pairs import private_der, private_pem
from keyturn.domain import ids, token
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.key import Algorithm
from keyturn.domain.spec import UNSAID, KeySpec
from keyturn.errors import InvalidInputError
from tests.unit.crypto.samples import scripted

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOKENS = (KeyType.API_TOKEN, KeyType.PROVISIONING)
LENGTHS = (128, 256, 4_096, 8_192)
POSSIBLE = [
    (key_type, length)
    for key_type, length in product((*TOKENS, KeyType.HMAC), LENGTHS)
    if (key_type, length) != (KeyType.PROVISIONING, 128)
]


class StoppedClock:
    """A Clock that stands still."""

    def now(self) -> datetime:
        return NOON

    def nanos(self) -> int:
        return 0

    def steady(self) -> float:
        return 0.0


GENERATOR = SecureKeyGenerator(clock=StoppedClock())


def refused(call: Callable[[], object]) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return caught.value


def parsed(key: GeneratedKey) -> token.ParsedToken:
    found = token.parse(key.secret.reveal())
    assert found is not None
    return found


# One key


def test_a_key_is_made_with_no_more_than_the_contract_shows() -> None:
    key = SecureKeyGenerator().generate_api_key(
        key_type=KeyType.API_TOKEN, key_scope=KeyScope.READ_WRITE, expires_in=86_400 * 30
    )
    assert (key.type, key.scope) == (KeyType.API_TOKEN, KeyScope.READ_WRITE)
    assert ids.is_id(ids.KEY, key.key_id)
    assert key.expires_at is not None
    assert abs(key.expires_at - key.created_at - timedelta(days=30)) < timedelta(seconds=60)


def test_a_key_may_do_as_little_as_possible_unless_more_is_asked_for() -> None:
    key = GENERATOR.generate_api_key()
    assert (key.type, key.scope, key.expires_at) == (KeyType.API_TOKEN, KeyScope.READ, None)
    assert (key.spec.permissions, key.spec.recoverable) == ((), False)
    assert key.secret.reveal().startswith("kt_")


def test_a_key_has_all_that_was_asked_for() -> None:
    key = GENERATOR.generate_api_key(
        KeyType.PROVISIONING,
        KeyScope.FULL,
        60,
        length=4_096,
        name="Nightly",
        owner="ada",
        prefix="acme_live",
        permissions=["keys.*"],
        allowed_ips=["203.0.113.0/24"],
        metadata={"plan": "pro"},
        tags=["ci"],
        recoverable=True,
        not_before=NOON,
    )
    spec = key.spec
    assert (spec.type, spec.scope, spec.length) == (KeyType.PROVISIONING, KeyScope.FULL, KeyLength.BITS_4096)
    assert (spec.name, spec.owner, spec.prefix) == ("Nightly", "ada", "acme_live")
    assert (spec.permissions, spec.allowed_ips, spec.tags) == (("keys.*",), ("203.0.113.0/24",), ("ci",))
    assert (spec.metadata, spec.recoverable) == ({"plan": "pro"}, True)
    assert (spec.not_before, spec.expires_at, key.created_at) == (NOON, NOON + timedelta(minutes=1), NOON)


@pytest.mark.parametrize(("key_type", "length"), POSSIBLE, ids=lambda each: getattr(each, "name", each))
def test_every_possible_type_and_length_is_made_and_whole(key_type: KeyType, length: int) -> None:
    key = GENERATOR.generate_api_key(key_type, length=length)
    assert key.spec.length == length
    assert GENERATOR.verify_key_integrity(key)
    if key_type.is_token:
        assert len(parsed(key).secret) == token.SECRET_LENGTHS[length]
        assert (key.credential_id, key.digest) == (
            parsed(key).credential_id,
            token_digest(key.secret.reveal()),
        )
    else:
        assert len(from_base64url(key.secret.reveal())) * 8 == length
        assert (key.credential_id, key.digest) == (None, None)


@pytest.mark.parametrize(
    ("key_type", "length"),
    [pair for pair in product((*TOKENS, KeyType.HMAC), map(int, KeyLength)) if pair not in POSSIBLE],
    ids=lambda each: getattr(each, "name", each),
)
def test_an_impossible_type_and_length_are_refused_by_name(key_type: KeyType, length: int) -> None:
    error = refused(lambda: GENERATOR.generate_api_key(key_type, length=length))
    assert str(error) == f"a key of type {key_type.value} has no length of {length} bits"
    assert (error.field, error.fix[:11]) == ("length", "Use one of:")
    assert refused(lambda: GENERATOR.generate_batch(2, key_type, length=length)).field == "length"


@pytest.mark.parametrize("length", [0, -256, 1, 192, 255, 512, 1_024, 10**9, "256", True])
def test_a_length_that_no_type_has_is_refused_with_those_there_are(length: Any) -> None:
    error = refused(lambda: GENERATOR.generate_api_key(length=length))
    assert str(error) == f"there is no key length of {length!r} bits"
    assert error.fix == "Use one of: 128, 256, 384, 521, 2048, 3072, 4096, 8192."


PAIRS = [
    (KeyType.RSA, None, "PS256"),
    (KeyType.RSA, 3_072, "PS512"),
    (KeyType.ECDSA, None, "ES256"),
    (KeyType.ECDSA, 384, "ES384"),
    (KeyType.ECDSA, 521, "ES512"),
    (KeyType.JWT, None, "EdDSA"),
    (KeyType.JWT, 256, "ES256"),
    (KeyType.JWT, 3_072, "PS256"),
    (KeyType.JWT, None, "RS256"),
]


@pytest.mark.parametrize(("key_type", "length", "algorithm"), PAIRS)
def test_every_kind_of_pair_is_made_and_whole(key_type: KeyType, length: int | None, algorithm: str) -> None:
    key = GENERATOR.generate_api_key(key_type, length=length, algorithm=algorithm)
    assert key.spec.algorithm is Algorithm(algorithm)
    check = GENERATOR.verify_key_integrity(key)
    assert (check.valid, check.message) == (True, "the key pair is whole")
    private: Any = load_pem_private_key(key.secret.reveal().encode(), None)
    assert key.public_key == private.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert isinstance(private, Ed25519PrivateKey) or private.key_size == key.spec.length


@pytest.mark.parametrize(
    ("key_type", "length", "chosen"),
    [
        (KeyType.RSA, None, (3_072, "PS256")),
        (KeyType.RSA, 4_096, (4_096, "PS256")),
        (KeyType.ECDSA, None, (256, "ES256")),
        (KeyType.ECDSA, 384, (384, "ES384")),
        (KeyType.ECDSA, 521, (521, "ES512")),
        (KeyType.JWT, None, (256, "EdDSA")),
        (KeyType.JWT, 3_072, (3_072, "PS256")),
        (KeyType.HMAC, None, (256, "HS256")),
        (KeyType.HMAC, 8_192, (8_192, "HS256")),
    ],
)
def test_what_is_not_said_is_chosen_and_is_never_pkcs1(
    key_type: KeyType, length: int | None, chosen: tuple[int, str]
) -> None:
    spec = KeySpec(type=key_type, scope=KeyScope.READ, length=UNSAID if length is None else KeyLength(length))
    assert spec.algorithm is not None
    assert (int(spec.length), spec.algorithm.value) == chosen


@pytest.mark.parametrize(
    ("key_type", "more", "field", "message"),
    [
        (KeyType.RSA, {"algorithm": "RS256"}, "algorithm", "a key of type rsa has no algorithm RS256"),
        (KeyType.RSA, {"length": 2_048}, "length", "a key of type rsa has no length of 2048 bits"),
        (KeyType.RSA, {"length": 256}, "length", "a key of type rsa has no length of 256 bits"),
        (KeyType.ECDSA, {"algorithm": "ES384", "length": 256}, "length", "no length of 256 bits with ES384"),
        (KeyType.JWT, {"algorithm": "ES512"}, "algorithm", "a key of type jwt has no algorithm ES512"),
        (KeyType.JWT, {"algorithm": "HS256", "length": 128}, "length", "no length of 128 bits with HS256"),
        (KeyType.JWT, {"algorithm": "none"}, "algorithm", "there is no algorithm 'none'"),
        (KeyType.HMAC, {"algorithm": "HS512"}, None, ""),
        (KeyType.HMAC, {"algorithm": "HS512", "length": 256}, "length", "no length of 256 bits with HS512"),
        (
            KeyType.API_TOKEN,
            {"algorithm": "HS256"},
            "algorithm",
            "a key of type api_token has no algorithm HS256",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    key_type: KeyType, more: dict[str, Any], field: str | None, message: str
) -> None:
    if field is None:
        assert GENERATOR.generate_api_key(key_type, **more).spec.length == 4_096
        return
    error = refused(lambda: GENERATOR.generate_api_key(key_type, **more))
    assert message in str(error)
    assert error.field == field
    assert error.fix


def test_a_damaged_pair_is_told() -> None:
    key, other = GENERATOR.generate_api_key(KeyType.ECDSA), GENERATOR.generate_api_key(KeyType.ECDSA)
    text = key.secret.reveal()
    curve = GENERATOR.generate_api_key(KeyType.ECDSA, length=384)
    for damaged, message in (
        (replace(key, secret=other.secret), "belongs to another public key"),
        (replace(key, public_key=other.public_key), "belongs to another public key"),
        (replace(key, secret=curve.secret, public_key=curve.public_key), "of another kind or length"),
        (replace(key, secret=Secret(text[:-40])), "has been damaged"),
        (replace(key, secret=Secret(text.replace("PRIVATE", "PUBLIC"))), "has been damaged"),
        (replace(key, secret=Secret("AAAA")), "has been damaged"),
    ):
        check = GENERATOR.verify_key_integrity(damaged)
        assert not check
        assert message in check.message


def test_a_private_key_that_only_names_the_right_public_key_is_told() -> None:
    key = GENERATOR.generate_api_key(KeyType.RSA)
    whole = load_pem_private_key(key.secret.reveal_bytes(), None)
    assert isinstance(whole, RSAPrivateKey)
    n = whole.private_numbers()
    other = RSAPrivateNumbers(n.p, n.q, n.d + 2, n.dmp1 + 2, n.dmq1 + 2, n.iqmp, n.public_numbers)
    forged = private_pem(private_der(other.private_key(unsafe_skip_rsa_key_validation=True)))
    assert "does not sign for its public key" in message_of(replace(key, secret=forged))


@pytest.mark.parametrize("value", ["api_token", "read", 1, None, KeyLength.BITS_256])
def test_a_type_or_scope_of_another_kind_is_refused_with_an_example(value: Any) -> None:
    error = refused(lambda: GENERATOR.generate_api_key(value))
    assert (error.field, error.fix) == ("key_type", "Use KeyType.API_TOKEN, for example.")
    error = refused(lambda: GENERATOR.generate_api_key(key_scope=value))
    assert (error.field, error.fix) == ("key_scope", "Use KeyScope.READ, for example.")


@pytest.mark.parametrize("field", ["permissions", "allowed_ips", "tags"])
def test_one_text_is_not_taken_for_a_list_of_its_letters(field: str) -> None:
    values: dict[str, Any] = {field: "read"}
    error = refused(lambda: GENERATOR.generate_api_key(**values))
    assert (error.field, error.fix) == (field, "Put 'read' into a list.")
    assert refused(lambda: GENERATOR.generate_batch(2, **values)).field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires_in", 0),
        ("expires_in", 1.5),
        ("expires_at", NOON),
        ("expires_at", datetime(2026, 2, 1)),
        ("not_before", datetime(2026, 2, 1)),
        ("name", ""),
        ("owner", "a" * 257),
        ("prefix", "UPPER"),
        ("permissions", ["a..b"]),
        ("allowed_ips", ["300.0.0.1"]),
        ("metadata", {"a": 0.5}),
        ("tags", ["a", "a"]),
        ("algorithm", 5),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_field(field: str, value: object) -> None:
    values: dict[str, Any] = {field: value}
    assert refused(lambda: GENERATOR.generate_api_key(**values)).field == field


def test_what_is_refused_draws_no_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is checked before anything is made."""
    monkeypatch.setattr(os, "urandom", scripted())
    later = NOON + timedelta(days=1)
    assert refused(lambda: GENERATOR.generate_api_key(expires_in=60, expires_at=later)).field == "expires_in"
    assert refused(lambda: GENERATOR.generate_batch(2, prefix="UPPER")).field == "prefix"


# Many keys


def test_ten_thousand_keys_are_all_different() -> None:
    keys = GENERATOR.generate_batch(10_000, key_scope=KeyScope.WRITE, owner="ada", prefix="acme", tags=["ci"])
    assert len(keys) == 10_000
    for part in (
        lambda key: key.key_id,
        lambda key: key.credential_id,
        lambda key: key.secret.reveal(),
        lambda key: parsed(key).secret.reveal(),
        lambda key: key.digest,
    ):
        assert len({part(key) for key in keys}) == 10_000
    assert all(key.spec == keys[0].spec for key in keys)
    assert (keys[0].spec.owner, keys[0].spec.tags, keys[0].scope) == ("ada", ("ci",), KeyScope.WRITE)
    assert all(GENERATOR.verify_key_integrity(key) for key in keys[::100])


def test_the_characters_of_tokens_are_uniform_together_and_at_each_place() -> None:
    """A chi-square test with 61 degrees of freedom: its mean is 61, its standard deviation 11.

    By chance it exceeds 200 less than once in 10^15 runs. Taking bytes modulo 62 gives more than 3,500 over all places
    together; a place at which a single character is missing gives about 220 by itself.
    """
    keys = GENERATOR.generate_batch(10_000)
    drawn = [key.secret.reveal()[len("kt_") : -token.CHECKSUM_LENGTH] for key in keys]
    assert {len(text) for text in drawn} == {16 + 43}
    for characters in ("".join(drawn), *map("".join, zip(*drawn, strict=True))):
        seen, expected = Counter(characters), len(characters) / 62
        assert set(seen) <= set(DIGITS)
        assert sum((seen[digit] - expected) ** 2 for digit in DIGITS) / expected < 200


@pytest.mark.parametrize("count", [0, -1, 10_001, 1.0, "2", None, True])
def test_a_batch_has_one_to_ten_thousand_keys(count: Any) -> None:
    error = refused(lambda: GENERATOR.generate_batch(count))
    assert (str(error), error.field) == ("a batch has 1 to 10,000 keys", "count")
    assert len(GENERATOR.generate_batch(1)) == 1


def test_the_keys_of_a_batch_end_together() -> None:
    keys = GENERATOR.generate_batch(3, expires_in=60)
    assert {key.expires_at for key in keys} == {NOON + timedelta(minutes=1)}


def test_the_keys_of_a_batch_are_what_one_key_may_be() -> None:
    said: KeyPolicy = {
        "name": "ci", "owner": "ada", "prefix": "acme", "permissions": ("documents.read",), "allowed_ips": ("::1",),
        "metadata": {"plan": "pro"}, "tags": ("ci",), "recoverable": True, "not_before": NOON,
        "expires_at": NOON + timedelta(hours=1),
    }  # fmt: skip
    alone = GENERATOR.generate_api_key(**said)
    assert [key.spec for key in GENERATOR.generate_batch(2, **said)] == [alone.spec] * 2
    gateway: KeyPolicy = {"profile": {"scope": "read"}}
    (key,) = GENERATOR.generate_batch(1, KeyType.PROVISIONING, **gateway)
    assert key.spec == GENERATOR.generate_api_key(KeyType.PROVISIONING, **gateway).spec
    (pair,) = GENERATOR.generate_batch(1, KeyType.JWT, algorithm="ES256")
    assert pair.spec.algorithm is Algorithm.ES256


@pytest.mark.parametrize(
    "make",
    [
        GENERATOR.generate_api_key,
        partial(GENERATOR.generate_batch, 2),
        partial(GENERATOR.import_token, "a" * 32),
        partial(GENERATOR.import_token_hash, "ab" * 32),
        partial(GENERATOR.import_key_pair, "pem", KeyType.RSA),
    ],
    ids=["one", "batch", "token", "hash", "pair"],
)
def test_a_misspelt_name_is_refused_and_not_left_out(make: Any) -> None:
    """A key that was to end would go on for ever."""
    with pytest.raises(TypeError, match="expire_at"):
        make(expire_at=NOON)


# Damage


def swapped(text: str, at: int) -> str:
    """`text` with another base62 character at one place."""
    other = "0" if text[at] != "0" else "1"
    return text[:at] + other + text[at + 1 :]


def message_of(key: GeneratedKey) -> str:
    check = GENERATOR.verify_key_integrity(key)
    assert not check
    assert not check.valid
    assert key.secret.reveal() not in check.message or not len(key.secret)
    return check.message


KEY = GENERATOR.generate_api_key(prefix="acme")
OTHER = GENERATOR.generate_api_key(prefix="acme")
TEXT = KEY.secret.reveal()


def test_a_whole_token_is_found_whole() -> None:
    assert GENERATOR.verify_key_integrity(KEY) == (True, "the token is whole")


def test_a_character_changed_anywhere_in_a_token_is_noticed() -> None:
    for at in range(len(TEXT)):
        assert "malformed" in message_of(replace(KEY, secret=Secret(swapped(TEXT, at))))


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT[1:],
        TEXT + "0",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        TEXT.replace("_", ""),
        TEXT * 2,
    ],
    ids=[
        "nothing",
        "cut off",
        "beginning lost",
        "longer",
        "line end",
        "space",
        "capitals",
        "no separator",
        "twice",
    ],
)
def test_a_token_damaged_on_the_way_is_noticed(text: str) -> None:
    assert "malformed" in message_of(replace(KEY, secret=Secret(text)))


def test_a_well_formed_token_that_is_another_one_is_noticed() -> None:
    """A checksum is no proof: everyone can compute it."""
    assert "whose digest was kept" in message_of(replace(KEY, secret=OTHER.secret))
    reforged = token.build("acme", parsed(KEY).credential_id, parsed(OTHER).secret.reveal())
    assert "whose digest was kept" in message_of(replace(KEY, secret=Secret(reforged)))


@pytest.mark.parametrize(
    "digest",
    [None, b"", bytes(32), OTHER.digest, KEY.digest and KEY.digest[:-1]],
    ids=["none", "empty", "zeros", "another", "short"],
)
def test_a_digest_that_was_lost_or_damaged_is_noticed(digest: bytes | None) -> None:
    assert "whose digest was kept" in message_of(replace(KEY, digest=digest))


def test_a_handle_or_prefix_of_another_key_is_noticed() -> None:
    for handle in (None, "", OTHER.credential_id, swapped(KEY.credential_id or "", 3)):
        assert "another key's handle" in message_of(replace(KEY, credential_id=handle))
    assert "prefix" in message_of(replace(KEY, spec=replace(KEY.spec, prefix="acme_live")))


@pytest.mark.parametrize("length", LENGTHS)
def test_material_that_was_cut_or_mangled_is_noticed(length: int) -> None:
    key = GENERATOR.generate_api_key(KeyType.HMAC, length=length)
    assert GENERATOR.verify_key_integrity(key) == (True, "the material is whole")
    text, raw = key.secret.reveal(), from_base64url(key.secret.reveal())
    for damaged in (
        "",
        text[:-1],
        text + "A",
        text + "=",
        text + "\n",
        "+" + text[1:],
        to_base64url(raw[1:]),
    ):
        assert message_of(replace(key, secret=Secret(damaged))) == "the material has been damaged"
    other = KeyLength.BITS_128 if length > 128 else KeyLength.BITS_256
    assert not GENERATOR.verify_key_integrity(replace(key, spec=replace(key.spec, length=other)))


# Derivation


def test_a_key_is_derived_from_a_passphrase_with_what_is_recommended() -> None:
    derived = GENERATOR.derive_key("correct horse battery staple")
    assert (derived.method, derived.iterations, len(derived.salt)) == ("pbkdf2-hmac-sha256", 600_000, 16)
    assert len(derived.key) == 32


@pytest.mark.parametrize("material", ["k" * 32, b"k" * 32, Secret("k" * 32)], ids=["text", "bytes", "secret"])
def test_a_key_is_derived_again_with_the_salt_it_came_with(material: Secret | str | bytes) -> None:
    first = GENERATOR.derive_key(material, method="hkdf", info=b"backup")
    again = GENERATOR.derive_key(material, method="hkdf", info=b"backup", salt=first.salt)
    assert again == first
    assert GENERATOR.derive_key(material, method="hkdf", info=b"backup").key != first.key
    assert GENERATOR.derive_key(material, method="hkdf", info=b"export", salt=first.salt).key != first.key


@pytest.mark.parametrize("length", [14, 32, 64, 255 * 32])
def test_a_derived_key_has_the_length_that_was_asked_for(length: int) -> None:
    assert len(GENERATOR.derive_key(b"k" * 32, method="hkdf", info=b"a", length=length).key) == length


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("iterations", {"iterations": 99_999}),
        ("iterations", {"iterations": 1}),
        ("iterations", {"iterations": 10_000_001}),
        ("passphrase", {"material": ""}),
        ("salt", {"salt": b"salt"}),
        ("length", {"length": 13, "iterations": 100_000}),
        ("length", {"length": 255 * 32 + 1, "method": "hkdf", "info": b"a"}),
        ("length", {"length": 0, "method": "hkdf", "info": b"a"}),
        ("info", {"method": "hkdf"}),
        ("material", {"method": "hkdf", "info": b"a", "material": "short"}),
        ("salt", {"method": "hkdf", "info": b"a", "salt": b""}),
        ("iterations", {"iterations": 10**5_000}),
        ("material", {"material": 5}),
        ("material", {"material": "\ud800"}),
        ("method", {"method": "md5"}),
        ("method", {"method": "PBKDF2"}),
    ],
)
def test_a_derivation_that_would_be_weak_or_unclear_is_refused(field: str, values: dict[str, Any]) -> None:
    error = refused(lambda: GENERATOR.derive_key(**{"material": "k" * 32, **values}))
    assert error.field == field


def test_a_refused_passphrase_is_not_repeated() -> None:
    error = refused(lambda: GENERATOR.derive_key("hunter2", method="hkdf", info=b"a"))
    assert "hunter2" not in f"{error}{error.fix}"
    assert error.fix == "Use PBKDF2 for passphrases; HKDF does not slow down a guesser."


def test_a_generator_keeps_nothing_of_what_it_makes() -> None:
    generator = SecureKeyGenerator(clock=StoppedClock())
    before = dict(vars(generator))
    generator.generate_batch(10)
    assert vars(generator) == before


def test_a_token_damaged_into_no_text_is_noticed() -> None:
    generator = SecureKeyGenerator()
    key = generator.generate_api_key()
    assert not generator.verify_key_integrity(
        replace(key, secret=Secret(b"\xff" + key.secret.reveal_bytes()))
    )


# For the edge


def test_what_the_edge_is_given_decides_and_cannot_be_presented() -> None:
    key = GENERATOR.generate_api_key(
        key_scope=KeyScope.READ_WRITE, owner="acme", permissions=["documents.*"], expires_in=60,
        allowed_ips=["203.0.113.0/24"], metadata={"plan": "pro"},
    )  # fmt: skip
    row = GENERATOR.export_key_for_supabase(key)
    assert row == {
        "key_id": key.key_id, "version": 1, "type": "api_token", "algorithm": None, "credential_id": key.credential_id,
        "digest": sha256(key.secret.reveal().encode()).hexdigest(), "public_key": None, "owner": "acme",
        "scope": ["read", "write"], "permissions": ["documents.*"], "allowed_ips": ["203.0.113.0/24"],
        "rate_limits": [], "metadata": {"plan": "pro"}, "created_at": "2026-01-31T12:00:00.000000Z", "not_before": None,
        "expires_at": "2026-01-31T12:01:00.000000Z",
    }  # fmt: skip
    assert key.secret.reveal() not in json.dumps(row)


def test_only_a_generated_key_is_looked_at_or_exported() -> None:
    nothing: Any = None
    for call in (GENERATOR.export_key_for_supabase, GENERATOR.verify_key_integrity):
        assert "generate_api_key" in refused(lambda call=call: call(nothing)).fix  # type: ignore[misc]


def test_of_a_pair_the_edge_is_given_the_public_key_and_of_a_shared_secret_nothing() -> None:
    row = GENERATOR.export_key_for_supabase(GENERATOR.generate_api_key(KeyType.ECDSA))
    assert str(row["public_key"]).startswith("-----BEGIN PUBLIC KEY-----")
    assert "PRIVATE" not in json.dumps(row)
    for key_type in (KeyType.HMAC, KeyType.JWT):
        shared = GENERATOR.generate_api_key(key_type, algorithm="HS256")
        with pytest.raises(InvalidInputError):
            GENERATOR.export_key_for_supabase(shared)
