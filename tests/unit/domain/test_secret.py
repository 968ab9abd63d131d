import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from keyturn.domain.secret import Secret

TEXT = "kt_a-secret-that-must-not-show"
SECRET = Secret(TEXT)


def print_of(value: object) -> str:
    out = io.StringIO()
    print(value, file=out)
    return out.getvalue()


WRITINGS: dict[str, Callable[[Any], str]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "print": print_of,
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret:>40} {secret=}",
    "format": lambda secret: "{} {:s} {!r:.3}".format(secret, secret, secret),  # noqa: UP032 - the old way, too
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "list": lambda secret: str([secret, (secret,), {"secret": secret}]),
    "pprint": pprint.pformat,
    "error": lambda secret: str(ValueError(secret)),
}


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS)
@pytest.mark.parametrize("secret", [SECRET, Secret(TEXT.encode())], ids=["text", "bytes"])
def test_a_secret_is_never_written_out(write: Callable[[Any], str], secret: Secret) -> None:
    written = write(secret)
    assert "secret-that" not in written
    assert TEXT[:3] not in written
    assert "***" in written


def test_a_secret_says_that_it_is_one() -> None:
    assert f"{SECRET}" == str(SECRET) == repr(SECRET) == "Secret(***)"


def test_a_secret_in_an_object_is_not_written_out_with_it() -> None:
    @dataclasses.dataclass
    class Holder:
        name: str
        secret: Secret

    assert str(Holder("a", SECRET)).endswith("secret=Secret(***))")


def test_a_secret_is_not_logged() -> None:
    logger, out = logging.Logger("test"), io.StringIO()  # noqa: LOG001 - one that no other test hears
    logger.addHandler(logging.StreamHandler(out))
    logger.error("refused %s %r", SECRET, {"secret": SECRET})
    assert out.getvalue() == "refused Secret(***) {'secret': Secret(***)}\n"


def test_a_traceback_with_its_variables_does_not_show_a_secret() -> None:
    """As error trackers write them down."""

    def fail(secret: Secret) -> None:
        raise ValueError(secret)

    try:
        fail(SECRET)
    except ValueError:
        error = traceback.TracebackException(*sys.exc_info(), capture_locals=True)
        shown = "".join(error.format())
    assert "secret = Secret(***)" in shown
    assert "secret-that" not in shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    """Nor anything that holds one: it would cross to another process, or into a cache on disk."""
    for value in (SECRET, [SECRET], {"key": SECRET}):
        with pytest.raises(TypeError, match="never pickled, copied or serialised"):
            pickle.dumps(value, protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied(duplicate: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="never pickled, copied or serialised"):
        duplicate(SECRET)


def test_what_holds_a_secret_is_not_copied_whole() -> None:
    @dataclasses.dataclass
    class Holder:
        secret: Secret

    for duplicate in (copy.deepcopy, dataclasses.asdict):
        with pytest.raises(TypeError, match="never pickled, copied or serialised"):
            duplicate(Holder(SECRET))


def test_a_secret_is_no_json() -> None:
    for value in (SECRET, {"key": SECRET}):
        with pytest.raises(TypeError, match="not JSON serializable"):
            json.dumps(value)


def test_a_secret_is_not_hashed() -> None:
    """In a set or a dict equal secrets could be found by trying, in a time that tells how close one came."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(SECRET)
    with pytest.raises(TypeError, match="unhashable"):
        assert {SECRET}


def test_a_secret_is_taken_for_neither_text_nor_bytes() -> None:
    conversions: list[Callable[[Any], object]] = [bytes, list, iter, int, "".join, b"".join, memoryview, open]
    for convert in conversions:
        with pytest.raises(TypeError):
            convert(SECRET)
    for operate in (lambda: SECRET + "", lambda: "" + SECRET, lambda: SECRET[0], lambda: "k" in SECRET):  # type: ignore[operator,index]
        with pytest.raises(TypeError):
            operate()


def test_a_secret_has_nowhere_to_put_or_find_a_value() -> None:
    assert not hasattr(SECRET, "__dict__")
    with pytest.raises(AttributeError):
        SECRET.note = "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["", "a", "pässwörd 🔑", "a\x00b\n"])
def test_text_comes_back_as_it_was(value: str) -> None:
    assert Secret(value).reveal() == value
    assert Secret(value).reveal_bytes() == value.encode()
    assert len(Secret(value)) == len(value.encode())


def test_bytes_come_back_as_they_were() -> None:
    every_byte = bytes(range(256))
    assert Secret(every_byte).reveal_bytes() == every_byte
    with pytest.raises(UnicodeDecodeError):
        Secret(every_byte).reveal()


def test_secrets_are_equal_when_their_bytes_are() -> None:
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != Secret("aa")
    assert Secret("") == Secret(b"")


@pytest.mark.parametrize("other", ["a", b"a", None, 1, ["a"]])
def test_a_secret_equals_nothing_that_is_none(other: object) -> None:
    """Or a secret could be compared with a plain text, in variable time, without anybody noticing."""
    assert Secret("a") != other
    assert other != Secret("a")


def test_secrets_have_no_order() -> None:
    with pytest.raises(TypeError, match="not supported"):
        sorted([Secret("b"), Secret("a")])  # type: ignore[type-var]


@pytest.mark.parametrize("value", [32, True, None, [1, 2], ["kt_"], object()])
def test_nothing_but_text_and_bytes_is_a_secret(value: Any) -> None:
    """bytes(32) are 32 zeros: a key derived from a PIN that was given as a number would be known to everybody."""
    with pytest.raises(TypeError):
        Secret(value)
