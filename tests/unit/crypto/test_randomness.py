import os
from collections import Counter

import pytest

from keyturn.crypto.randomness import random_base62, random_bytes
from tests.unit.crypto.samples import scripted

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("count", [0, 1, 22, 43, 688, 1_376, 5_000])
def test_as_many_characters_are_drawn_as_were_asked_for(count: int) -> None:
    text = random_base62(count)
    assert len(text) == count
    assert set(text) <= set(DIGITS)


@pytest.mark.parametrize("count", [0, 1, 16, 1_000])
def test_as_many_bytes_are_drawn_as_were_asked_for(count: int) -> None:
    assert len(random_bytes(count)) == count


def test_random_bytes_are_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASVS 11.5.1: nothing but the operating system's generator, and nothing done to what it gives."""
    monkeypatch.setattr(os, "urandom", scripted(b"0123456789abcdef"))
    assert random_bytes(16) == b"0123456789abcdef"


def test_each_character_stands_for_as_many_bytes_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of uniformity: of 256 equally likely bytes each character has four, and eight bytes have none."""
    every_byte = bytes(range(256))
    monkeypatch.setattr(os, "urandom", scripted(every_byte + bytes(248 + 248 // 16 + 8 - 256)))
    assert Counter(random_base62(248)) == Counter(DIGITS * 4)


def test_a_byte_that_stands_for_no_character_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    useless = bytes(range(248, 256))
    script = scripted(useless + b"\x3d\xff", useless + b"\xff", b"\xff\xf7" + useless[1:])
    monkeypatch.setattr(os, "urandom", script)
    assert random_base62(2) == "zz"


def test_characters_are_uniform_in_practice() -> None:
    """A chi-square test with 61 degrees of freedom, whose mean is 61 and whose standard deviation is 11.

    By chance it exceeds 200 less than once in 10^15 runs. Taking bytes modulo 62 without dropping any, the usual
    mistake, gives more than 4,000 on this many characters.
    """
    count = 620_000
    seen = Counter(random_base62(count))
    expected = count / 62
    assert sum((seen[digit] - expected) ** 2 for digit in DIGITS) / expected < 200


def test_no_draw_is_like_another() -> None:
    assert len({random_base62(22) for _ in range(10_000)}) == 10_000
    assert len({random_bytes(16) for _ in range(10_000)}) == 10_000
