"""A store that was closed decides nothing any more: what it knew grows old, and nobody tells it what changed."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any, Final

import pytest

from keyturn.errors import StorageError
from keyturn.key_store import SecureKeyStore
from tests.fakes import Process

CALLS: Final = sorted(
    name
    for name, value in vars(SecureKeyStore).items()
    if inspect.isfunction(value) and not name.startswith("_") and name != "close"
)


def call_of(store: SecureKeyStore, name: str, given: dict[str, Any]) -> Callable[[], object]:
    """The call with what it cannot do without."""
    method = getattr(store, name)
    parameters = inspect.signature(method).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return lambda: method(**{name: given.get(name, "anything") for name in needed})


@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_a_closed_store_says_that_it_is_closed(ours: Process, name: str) -> None:
    key, other = ours.issue(), ours.make()
    shop = ours.store()
    assert shop.authenticate(key.secret)
    call = call_of(
        shop,
        name,
        {"token": key.secret, "key_id": key.key_id, "key": other, "keys": [other], "owner": "acme"},
    )
    shop.close()
    for _ in range(2):
        with pytest.raises(StorageError, match="the store is closed") as caught:
            call()
        assert "again" in caught.value.fix
    shop.close()


def test_there_are_calls() -> None:
    assert {"authenticate", "verify_key", "revoke_key", "store_keys", "get_usage_statistics"} <= set(CALLS)


def test_a_store_that_is_closed_while_others_verify_answers_or_says_so(ours: Process) -> None:
    key, shop, answers = ours.issue(), ours.store(), []
    has_begun, is_over = threading.Event(), threading.Event()

    def verify() -> None:
        while not is_over.is_set():
            try:
                answers.append(shop.authenticate(key.secret).code)
            except StorageError as error:
                answers.append(str(error))
            has_begun.set()

    threads = [threading.Thread(target=verify) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert has_begun.wait(20)
    shop.close()
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(answers) <= {"valid", "the store is closed", "the ledger is closed", "stale"}
    with pytest.raises(StorageError):
        shop.authenticate(key.secret)
