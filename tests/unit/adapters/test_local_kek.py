import os
import pickle
from functools import cache

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, IntegrityError, WrongKekError
from keyturn.ports.key_wrapper import MAX_WRAPPED_BYTES, KeyWrapper
from tests.unit.crypto.samples import SEALED, Vector, flipped, named, scripted

RAW = f"base64:{'A' * 43}="  # 32 zero bytes
PASSPHRASE = "passphrase:correct horse"
CONTEXT = {"keyturn-log": "0123456789ABCDEF", "keyturn-key": "dek-1"}
DEK = bytes(range(32))
FORM, ITERATIONS, SALT, CHECK, NONCE, CIPHERTEXT = 1, 2, 6, 22, 30, 42  # where each begins in a wrapped key
FAILURES = {"wrong_kek": WrongKekError, "integrity": IntegrityError}


@cache
def wrapper(setting: str) -> LocalKeyWrapper:
    """One for all tests of a setting, since stretching a passphrase takes its time."""
    return LocalKeyWrapper.from_setting(Secret(setting))


# What is wrapped


@named(SEALED["wrapped"])
def test_a_wrapped_key_comes_back(vector: Vector) -> None:
    """docs/formats/sealed.md, by an implementation of its own."""
    wrapped = bytes.fromhex(vector["wrapped"])
    assert wrapper(vector["setting"]).unwrap(wrapped, vector["context"]).hex() == vector["key"]


@named([vector for vector in SEALED["wrapped"] if vector["iterations"] in (0, 600_000)])
def test_a_key_is_wrapped_as_the_format_says(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "urandom", scripted(bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"]))
    )
    made = LocalKeyWrapper.from_setting(Secret(vector["setting"]))
    assert made.wrap(bytes.fromhex(vector["key"]), vector["context"]).hex() == vector["wrapped"]


@named(SEALED["wrapped_refused"])
def test_a_wrapped_key_that_is_not_this_one_is_refused(vector: Vector) -> None:
    with pytest.raises(FAILURES[vector["failure"]]):
        wrapper(vector["setting"]).unwrap(bytes.fromhex(vector["wrapped"]), vector["context"])


@pytest.mark.parametrize(
    "setting", [RAW, f"hex:{'ab' * 32}", PASSPHRASE], ids=["base64", "hex", "passphrase"]
)
def test_every_form_unwraps_what_it_wrapped_and_nothing_that_was_moved(setting: str) -> None:
    wrapping: KeyWrapper = wrapper(setting)
    wrapped = wrapping.wrap(DEK, CONTEXT)
    assert wrapping.unwrap(wrapped, CONTEXT) == DEK
    assert wrapping.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == DEK
    for moved in ({**CONTEXT, "keyturn-key": "dek-2"}, {**CONTEXT, "more": ""}, {}, {"keyturn-log": "dek-1"}):
        with pytest.raises(IntegrityError, match="altered or moved"):
            wrapping.unwrap(wrapped, moved)


def test_every_flipped_byte_of_a_wrapped_key_is_refused() -> None:
    """Byte by byte as IntegrityError, but for those by which a wrong KEK is known."""
    wrapped = wrapper(RAW).wrap(DEK, CONTEXT)
    refusals = []
    for other in flipped(wrapped):
        with pytest.raises((WrongKekError, IntegrityError)) as refused:
            wrapper(RAW).unwrap(other, CONTEXT)
        refusals.append(refused.type)
    as_another_kek = {FORM, *range(CHECK, NONCE)}
    assert {at for at, refusal in enumerate(refusals) if refusal is WrongKekError} == as_another_kek


def test_a_wrapped_key_cut_off_or_too_long_is_refused() -> None:
    wrapped = wrapper(RAW).wrap(DEK, CONTEXT)
    for length in range(len(wrapped)):
        with pytest.raises(IntegrityError):
            wrapper(RAW).unwrap(wrapped[:length], CONTEXT)
    for padding in (1, MAX_WRAPPED_BYTES, 10_000_000):
        with pytest.raises(IntegrityError):
            wrapper(RAW).unwrap(wrapped + bytes(padding), CONTEXT)


def test_no_wrapping_is_like_another() -> None:
    """SP 800-38D, section 8: each has a nonce of its own."""
    wrapped = [wrapper(RAW).wrap(DEK, CONTEXT) for _ in range(1_000)]
    assert len({each[NONCE:CIPHERTEXT] for each in wrapped}) == 1_000
    assert len({each[CIPHERTEXT:] for each in wrapped}) == 1_000
    assert {len(each) for each in wrapped} == {CIPHERTEXT + 32 + 16}


def test_two_installations_stretch_the_same_passphrase_with_different_salts() -> None:
    """So that a table made for one is worth nothing for another."""
    first, second = (LocalKeyWrapper.from_setting(Secret(PASSPHRASE)).wrap(DEK, CONTEXT) for _ in range(2))
    assert first[SALT:CHECK] != second[SALT:CHECK]
    assert first[CHECK:NONCE] != second[CHECK:NONCE]


def test_a_passphrase_is_stretched_as_much_as_is_recommended() -> None:
    wrapped = wrapper(PASSPHRASE).wrap(DEK, CONTEXT)
    assert wrapped[:2] == b"\x01\x02"
    assert int.from_bytes(wrapped[ITERATIONS:SALT], "big") == 600_000


# The KEK itself


@pytest.mark.parametrize(
    "setting",
    [
        f"base64:{'__-_' * 10}__8=",
        f"base64:{'//+/' * 10}//8=",
        f"base64:{'__-_' * 10}__8",
    ],
    ids=["URL-safe", "standard", "unpadded"],
)
def test_every_way_to_write_32_bytes_in_base64_is_taken(setting: str) -> None:
    """What `openssl rand -base64 32` writes, and what Keyturn itself writes, are the same key."""
    same = wrapper("hex:" + "ffffbf" * 10 + "ffff")
    assert wrapper(setting).unwrap(same.wrap(DEK, CONTEXT), CONTEXT) == DEK


def test_hexadecimal_is_taken_in_either_case() -> None:
    wrapped = wrapper("hex:" + "aB" * 32).wrap(DEK, CONTEXT)
    assert wrapper("hex:" + "Ab" * 32).unwrap(wrapped, CONTEXT) == DEK


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("", "no known form"),
        ("A" * 44, "no known form"),
        ("rot13:" + "A" * 44, "no known form"),
        ("HEX:" + "00" * 32, "no known form"),
        ("base64:", "32 bytes, not 0"),
        ("base64:" + "A" * 42, "32 bytes, not 31"),
        ("base64:" + "A" * 44, "32 bytes, not 33"),
        ("base64:" + "A" * 41, "not valid base64"),
        ("base64:" + "A" * 42 + "!", "not valid base64"),
        ("base64:" + "A" * 42 + "é", "not valid base64"),
        ("hex:", "32 bytes, not 0"),
        ("hex:" + "00" * 31, "32 bytes, not 31"),
        ("hex:" + "00" * 33, "32 bytes, not 33"),
        ("hex:" + "0" * 63, "not valid hex"),
        ("hex:" + "0g" * 32, "not valid hex"),
        ("passphrase:", "too short"),
        ("passphrase:elevenchars", "too short"),
    ],
)
def test_anything_but_the_three_forms_is_refused_with_what_to_use(setting: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        LocalKeyWrapper.from_setting(Secret(setting))
    assert "'base64:' or 'hex:' and 32 bytes, or 'passphrase:'" in refused.value.fix
    value = setting.partition(":")[2]
    assert not value or value not in f"{refused.value}{refused.value.fix}"


@pytest.mark.parametrize(
    "form", ["base64:" + "A" * 43, "hex:" + "00" * 32, "passphrase:correct horse battery"]
)
@pytest.mark.parametrize(
    ("end", "says"), [("\r", "a carriage return"), ("\n", "a line feed"), ("\0", "a NUL")]
)
def test_a_character_that_cannot_be_seen_is_named_and_not_taken_into_a_key(
    form: str, end: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as refused:
        LocalKeyWrapper.from_setting(Secret(form + end))
    assert refused.value.fix
    assert "battery" not in str(refused.value)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_kek_of_another_length_than_its_data_keys_is_refused(length: int) -> None:
    """OWASP Key Management, Key Strength 2: no weaker than what it protects."""
    with pytest.raises(ConfigurationError, match=f"32 bytes, not {length}"):
        LocalKeyWrapper(Secret(bytes(length)))


def test_a_wrong_kek_is_named_as_such_and_says_how_to_mend_it() -> None:
    wrapped = wrapper(RAW).wrap(DEK, CONTEXT)
    with pytest.raises(WrongKekError) as refused:
        wrapper("hex:" + "01" * 32).unwrap(wrapped, CONTEXT)
    assert refused.value.code == "wrong_kek"
    assert "KEY_STORE_ENCRYPTION_KEY" in refused.value.fix


def test_a_wrapper_gives_away_no_key() -> None:
    """OWASP Key Management, Storage 7."""
    wrapping = wrapper(PASSPHRASE)
    wrapped = wrapping.wrap(DEK, CONTEXT)
    assert wrapping.uri == "local"
    assert "correct horse" not in f"{wrapping!r}{wrapping}"
    assert DEK not in wrapped
    assert b"correct horse" not in wrapped
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(wrapping)


def test_the_check_value_tells_keks_apart_and_nothing_of_what_is_wrapped() -> None:
    """It stands in the open."""
    settings = (RAW, f"hex:{'ab' * 32}", PASSPHRASE)
    checks = {wrapper(setting).wrap(DEK, CONTEXT)[CHECK:NONCE] for setting in settings}
    assert len(checks) == 3
    assert wrapper(RAW).wrap(DEK[::-1], {})[CHECK:NONCE] in checks


def test_a_secret_that_is_no_text_is_refused_as_a_setting() -> None:
    """SecureKeyStore takes a Secret; its 32 bytes must not end up in a UnicodeDecodeError."""
    with pytest.raises(ConfigurationError):
        LocalKeyWrapper.from_setting(Secret(b"\xff" * 32))
