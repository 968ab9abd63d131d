import inspect
import pickle
import re
from collections.abc import Iterator

import pytest

from keyturn import errors
from keyturn.errors import InvalidInputError, KeyturnError, ThrottledError, shown
from tests.unit.crypto.samples import vectors

ALL: list[type[KeyturnError]] = [
    error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, KeyturnError)
]
CODES = {
    "KeyturnError": "internal",
    "InvalidInputError": "invalid_request",
    "UnauthenticatedError": "unauthenticated",
    "ForbiddenError": "forbidden",
    "NotFoundError": "not_found",
    "ConflictError": "conflict",
    "PreconditionFailedError": "precondition_failed",
    "IdempotencyMismatchError": "idempotency_mismatch",
    "IllegalTransitionError": "illegal_transition",
    "NotRecoverableError": "not_recoverable",
    "ThrottledError": "throttled",
    "PoolEmptyError": "pool_empty",
    "IntegrityError": "integrity_failed",
    "StaleError": "stale",
    "StorageError": "storage_unavailable",
    "StorageFullError": "storage_full",
    "StorageBusyError": "storage_busy",
    "OutcomeUnknownError": "outcome_unknown",
    "KeysUnavailableError": "keys_unavailable",
    "ConfigurationError": "configuration",
    "SchemaError": "schema",
    "WrongKekError": "wrong_kek",
}
each = pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)


def drawn() -> Iterator[tuple[str, str | None]]:
    """Each error of the tree in the module's docstring, and its parent there."""
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ]*(?:[├└]── )?)(\w+Error)\b", line)
        if match:
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            yield match[2], path[-2] if depth else None


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    real = {error.__name__: error.__bases__[0] for error in ALL}
    tree = dict(drawn())
    assert tree == {name: parent.__name__ if parent in ALL else None for name, parent in real.items()}
    assert "InvalidInputError (also ValueError)" in (errors.__doc__ or "")


def test_codes_keep_their_names_for_good() -> None:
    """They are what programs branch on."""
    assert {error.__name__: error.code for error in ALL} == CODES


def test_no_two_errors_share_a_code() -> None:
    assert len({error.code for error in ALL}) == len(ALL)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code) for error in ALL)


@each
def test_everything_that_is_raised_on_purpose_is_caught_by_one_name(error: type[KeyturnError]) -> None:
    with pytest.raises(KeyturnError, match=r"^what happened$") as caught:
        raise error("what happened")
    assert caught.value.fix == error.default_fix


@each
def test_an_error_says_what_to_do_and_the_raiser_may_say_it_better(error: type[KeyturnError]) -> None:
    assert error("what happened", fix="Do this.").fix == "Do this."
    assert error("what happened", fix="").fix == ""
    assert error.default_fix == "" or re.fullmatch(r"[A-Z'].*[.]", error.default_fix)


@each
def test_an_error_survives_the_way_from_another_process(error: type[KeyturnError]) -> None:
    """A process pool pickles what its workers raise."""
    sent = error("what happened", fix="Do this.")
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is error
    assert (str(received), vars(received)) == ("what happened", vars(sent))


@pytest.mark.parametrize("value", ["", "read", "x" * 32, "é", "a\nb", 256, None, ["a"]])
def test_what_was_sent_is_shown_on_one_line_of_ascii(value: object) -> None:
    """ASVS 16.4.1: a message cannot forge a line of the log."""
    text = shown(value)
    assert text.isascii()
    assert text.isprintable()
    assert text == ascii(value)


@pytest.mark.parametrize(
    "value", ["x" * 33, "k" * 43, vectors("token")["valid"][5]["token"], b"k" * 32, ["x" * 31]]
)
def test_what_may_be_a_secret_is_never_repeated(value: object) -> None:
    """What stands in the wrong place is often a key; the shortest token has 46 characters."""
    assert shown(value) == f"a text of {len(ascii(value)) - 2} characters"
    assert InvalidInputError("refused", field=str(value)).field == ""


@pytest.mark.parametrize("bits", [33, 20_000])
def test_a_number_of_any_length_can_be_refused(bits: int) -> None:
    assert shown(2**bits - 1) == shown(1 - 2**bits) == f"a number of {bits:,} bits"


def test_a_field_is_named_as_long_as_it_has_a_short_name() -> None:
    assert InvalidInputError("refused", field="x" * 32).field == "x" * 32


def test_an_item_of_a_batch_is_named_with_its_field() -> None:
    for field in ("items.0", "items.17.scope", "items.999.allowed_ips"):
        assert InvalidInputError("refused", field=field).field == field
    assert InvalidInputError("refused", field="items.17.pQ3vT9xLm2Rk7Zc8Yb1WdE").field == ""


def test_invalid_input_is_also_a_value_error_and_names_its_field() -> None:
    """The contract: a token where a key_id belongs raises ValueError."""
    with pytest.raises(ValueError, match="too long"):
        raise InvalidInputError("too long", field="name")
    assert InvalidInputError("too long", field="name").field == "name"
    assert InvalidInputError("too long").field == ""


def test_a_throttled_caller_learns_how_long_to_wait() -> None:
    assert ThrottledError("slowly", retry_after=30).retry_after == 30
    assert ThrottledError("slowly").retry_after == 1


def test_nothing_but_invalid_input_is_a_value_error() -> None:
    """`except ValueError` around a parsing step must not swallow a broken seal."""
    value_errors = {error.__name__ for error in ALL if issubclass(error, ValueError)}
    assert value_errors == {"InvalidInputError"}


@pytest.mark.parametrize(
    "secret", ["pQ3vT9xLm2Rk7Zc8Yb1WdE", "correct horse", "CORRECTHORSE", "0123456789abcdef01234567"]
)
def test_the_shortest_secrets_are_not_repeated(secret: str) -> None:
    """128 random bits have 22 characters, and a passphrase at least 12."""
    assert secret not in shown(secret)
    assert InvalidInputError("refused", field=secret).field == ""


def test_a_misspelt_name_is_repeated() -> None:
    assert shown("permissionss") == "'permissionss'"
    assert shown("documents.readd") == "'documents.readd'"
