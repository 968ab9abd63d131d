from itertools import product

import pytest

from keyturn.domain.framing import framed


def parts_of(raw: bytes) -> list[str]:
    """The way back, which shows that nothing is lost."""
    parts = []
    while raw:
        end = 2 + int.from_bytes(raw[:2], "big")
        parts.append(raw[2:end].decode())
        raw = raw[end:]
    return parts


@pytest.mark.parametrize(
    ("parts", "raw"),
    [
        ((), b""),
        (("",), b"\0\0"),
        (("a",), b"\0\1a"),
        (("ab", "", "c"), b"\0\2ab\0\0\0\1c"),
        (("é",), b"\0\2\xc3\xa9"),
        (("a" * 258,), b"\1\2" + b"a" * 258),
    ],
)
def test_each_part_is_its_length_in_bytes_and_then_its_utf_8(parts: tuple[str, ...], raw: bytes) -> None:
    assert framed(*parts) == raw
    assert parts_of(raw) == list(parts)


def test_no_two_lists_of_parts_look_alike() -> None:
    """Else what is sealed for one tenant and key could be passed off as another tenant's other key."""
    texts = ["", "a", "b", "ab", "\0", "\0\1", "\0\1a"]
    lists = [parts for length in range(4) for parts in product(texts, repeat=length)]
    assert len({framed(*parts) for parts in lists}) == len(lists)


def test_a_part_of_more_bytes_than_its_length_can_say_is_refused() -> None:
    longest = "a" * 65_535
    assert parts_of(framed(longest, "b")) == [longest, "b"]
    for text in ("a" * 65_536, "é" * 32_768):
        with pytest.raises(OverflowError):
            framed(text)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        framed("\ud800")
