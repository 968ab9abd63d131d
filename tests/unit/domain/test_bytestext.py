import string

import pytest

from keyturn.domain.bytestext import from_base64url, to_base64url

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
        (b"\xfb\xef\xff", "--__"),
        (bytes(32), "A" * 43),
    ],
)
def test_bytes_have_the_text_of_rfc_4648_without_padding(raw: bytes, text: str) -> None:
    """Section 10, in the alphabet of section 5."""
    assert to_base64url(raw) == text
    assert from_base64url(text) == raw


def test_every_byte_comes_back_at_every_place() -> None:
    for byte in range(256):
        for raw in (
            bytes([byte]),
            bytes([byte, 0]),
            bytes([0, byte]),
            bytes([byte, 0, 0]),
            bytes([0, 0, byte]),
        ):
            assert from_base64url(to_base64url(raw)) == raw


def test_one_value_has_one_text() -> None:
    """Else a digest, or a wrapped key, could be written in a second way that means the same."""
    for length, whole in ((2, 16), (3, 4)):
        last = [character for character in ALPHABET if is_taken("A" * (length - 1) + character)]
        assert last == list(ALPHABET[::whole])


def is_taken(text: str) -> bool:
    try:
        from_base64url(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "Zg==",
        "Zg=",
        "Zm9v=",
        "=",
        "Zh",
        "Zm9",
        "+/+/",
        "a+b_",
        "Zm 9",
        " Zm9v",
        "Zm9v\n",
        "Zm\n9v",
        "Zm9v!",
        "Zm9é",
        "\uff3am9v",
        "\ud800AAA",
    ],
    ids=ascii,
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)


def test_what_is_refused_is_not_repeated() -> None:
    """It may be part of a secret."""
    with pytest.raises(ValueError, match="base64url") as refused:
        from_base64url("a secret!")
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__
