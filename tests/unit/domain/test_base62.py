import string

import pytest

from keyturn.domain.base62 import ALPHABET, encode, is_base62


def test_the_alphabet_is_digits_then_capitals_then_small_letters() -> None:
    """The order is part of the token format: another one gives another checksum."""
    assert string.digits + string.ascii_uppercase + string.ascii_lowercase == ALPHABET


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (0, 1, "0"),
        (0, 6, "000000"),
        (61, 1, "z"),
        (62, 2, "10"),
        (2**32 - 1, 6, "4gfFC3"),
        (62**22 - 1, 22, "z" * 22),
    ],
)
def test_numbers_are_written_most_significant_digit_first_and_padded(
    number: int, width: int, text: str
) -> None:
    assert encode(number, width) == text


@pytest.mark.parametrize(("number", "width"), [(-1, 6), (62, 1), (62**6, 6), (1, 0)])
def test_a_number_that_does_not_fit_is_refused_rather_than_cut(number: int, width: int) -> None:
    with pytest.raises(OverflowError):
        encode(number, width)


@pytest.mark.parametrize("text", ["", " ", "a b", "a_b", "a-b", "é", "٣", "²", "a\n", "\ud800"])
def test_nothing_but_ascii_letters_and_digits_is_base62(text: str) -> None:
    assert not is_base62(text)
    assert is_base62(ALPHABET)
