"""The ledger that unit tests use keeps the port's contract: it passes the adapters' own suite.

What it leaves out is named: it has no schema, no files and no processes, and stores bodies that it does not look into.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

import pytest

from keyturn.ports.ledger import Ledger
from tests.contract import (
    test_ledger_answers,
    test_ledger_commit,
    test_ledger_listing,
    test_ledger_reading,
    test_ledger_reseal,
    test_ledger_uses,
)
from tests.unit.records.memory_ledger import MemoryStore

_LEFT_OUT: Final = {
    "test_initialising_again_keeps_everything",
    "test_a_log_id_is_sixteen_base62_characters",
    "test_a_store_that_was_never_initialised_is_refused_by_the_command_that_helps",
    "test_the_log_keeps_the_first_id_it_was_given",
    "test_what_cannot_be_stored_is_refused_whole",
    "test_a_search_disregards_ascii_case_and_no_other",
}
_SUITES: Final[tuple[ModuleType, ...]] = (
    test_ledger_answers, test_ledger_commit, test_ledger_listing, test_ledger_reading, test_ledger_reseal,
    test_ledger_uses,
)  # fmt: skip


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    return store.open()


keys = test_ledger_listing.keys

for _suite in _SUITES:
    globals().update({n: t for n, t in vars(_suite).items() if n.startswith("test_") and n not in _LEFT_OUT})


def test_all_that_is_left_out_is_there_to_be_left_out() -> None:
    assert {name for suite in _SUITES for name in vars(suite)} >= _LEFT_OUT
