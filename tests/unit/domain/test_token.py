import json
import re
import zlib
from pathlib import Path

import pytest

from keyturn.domain import token
from keyturn.domain.secret import Secret

ROOT = Path(__file__).parents[3]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "token.json").read_text())
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def failure_of(text: str) -> str | None:
    """Why a text is no token, read off docs/formats/token.md step by step, without the code under test."""
    if len(text) > 2_048:
        return "too_long"
    if any(ord(character) > 127 for character in text):
        return "not_ascii"
    if "_" not in text:
        return "no_separator"
    prefix, _, body = text.rpartition("_")
    if not 1 <= len(prefix) <= 32 or set(prefix) - set("abcdefghijklmnopqrstuvwxyz0123456789_"):
        return "prefix"
    if len(body) - 16 - 6 not in (22, 43, 688, 1_376):
        return "length"
    if set(body) - set(DIGITS):
        return "characters"
    number = 0
    for character in body[-6:]:
        number = number * 62 + DIGITS.index(character)
    return None if number == zlib.crc32(text[:-6].encode()) else "checksum"


def named(vectors: list[dict[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector["name"])


@named(VECTORS["valid"])
def test_a_token_is_built_of_its_parts_and_parsed_into_them(vector: dict[str, str]) -> None:
    prefix, credential_id, secret = vector["prefix"], vector["credential_id"], vector["secret"]
    assert token.build(prefix, credential_id, secret) == vector["token"]
    assert token.parse(vector["token"]) == token.ParsedToken(prefix, credential_id, Secret(secret))
    assert failure_of(vector["token"]) is None


@named(VECTORS["refused"])
def test_a_text_that_is_no_token_is_refused(vector: dict[str, str]) -> None:
    assert token.parse(vector["token"]) is None
    assert failure_of(vector["token"]) == vector["failure"]


def test_every_way_to_fail_has_a_vector() -> None:
    failures = {"too_long", "not_ascii", "no_separator", "prefix", "length", "characters", "checksum"}
    assert {vector["failure"] for vector in VECTORS["refused"]} == failures


def test_every_single_changed_character_is_refused() -> None:
    """CRC-32 finds every burst of up to 32 bits: no typing error in one character passes."""
    text = VECTORS["valid"][0]["token"]
    for place, right in enumerate(text):
        for wrong in DIGITS + "_-.":
            if wrong != right:
                assert token.parse(text[:place] + wrong + text[place + 1 :]) is None


@pytest.mark.parametrize("value", [None, 1, b"kt_", ["kt_"], object()])
def test_parsing_never_raises(value: object) -> None:
    assert token.parse(value) is None  # type: ignore[arg-type]


def test_a_long_text_is_refused_unread() -> None:
    assert token.parse("_" * 10_000_000) is None


@pytest.mark.parametrize(
    ("prefix", "credential_id", "secret"),
    [
        ("", "A" * 16, "b" * 43),
        ("a" * 33, "A" * 16, "b" * 43),
        ("Kt", "A" * 16, "b" * 43),
        ("kt", "A" * 15, "b" * 43),
        ("kt", "A" * 15, "b" * 44),
        ("kt", "A" * 17, "b" * 42),
        ("kt", "abc_" + "A" * 12, "b" * 47),
        ("kt", "A" * 16, "b" * 44),
        ("kt", "A" * 16, "b" * 42 + "-"),
        ("kt", "A" * 16, "b" * 42 + "é"),
    ],
)
def test_no_malformed_token_can_be_built(prefix: str, credential_id: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"format|ascii"):
        token.build(prefix, credential_id, secret)


def test_a_parsed_token_does_not_print_its_secret() -> None:
    vector = VECTORS["valid"][0]
    parsed = token.parse(vector["token"])
    assert vector["secret"] not in repr(parsed)
    assert vector["credential_id"] in repr(parsed)


@pytest.mark.parametrize(("bits", "characters"), token.SECRET_LENGTHS.items())
def test_a_secret_has_the_entropy_that_its_length_promises(bits: int, characters: int) -> None:
    """ASVS 11.5.1: at least 128 bits. The shortest length that has them, except for the two longest."""
    assert 62**characters >= 2**bits
    assert bits > 256 or 62 ** (characters - 1) < 2**bits


@named(VECTORS["valid"])
def test_a_scanner_finds_the_whole_token_in_a_text(vector: dict[str, str]) -> None:
    text = f'API_KEY="{vector["token"]}"\nsee https://example.com/?key={vector["token"]}&x=1'
    assert re.findall(token.SCANNER_PATTERN, text) == [vector["token"]] * 2


def test_a_scanner_takes_no_part_of_a_longer_word() -> None:
    text = VECTORS["valid"][0]["token"]
    for word in (text + "0", text + "_", "A" + text):
        assert re.findall(token.SCANNER_PATTERN, word) == []


def test_the_scanner_pattern_keeps_to_what_every_engine_knows() -> None:
    """RE2 knows no look-around and no repetition above 1,000."""
    assert "(?<" not in token.SCANNER_PATTERN
    assert "(?=" not in token.SCANNER_PATTERN
    assert max(int(count) for count in re.findall(r"\{(?:\d+,)?(\d+)\}", token.SCANNER_PATTERN)) <= 1_000


def test_the_documented_example_and_pattern_are_the_real_ones() -> None:
    page = (ROOT / "docs" / "formats" / "token.md").read_text()
    assert VECTORS["valid"][0]["token"] in page
    assert token.SCANNER_PATTERN in page
