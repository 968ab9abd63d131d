"""Processes that present the same imported token for the first time at once: one of them upgrades it, all are right."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
from pathlib import Path
from typing import Final

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from tests.contract.postgres_server import PostgresDatabase
from tests.imported import SLOW, TOKEN, WRONG
from tests.running_server import KEK, prepared_postgres

PROCESSES: Final = 4
_CONTEXT: Final = multiprocessing.get_context("spawn")
_Answers = multiprocessing.Queue


def _present(
    url: str, barrier: multiprocessing.synchronize.Barrier, answers: _Answers[tuple[str, ...]]
) -> None:
    with SecureKeyStore.open(url, KEK) as store:
        barrier.wait()
        answers.put(tuple(store.authenticate(token).code for token in (TOKEN, WRONG, TOKEN)))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An initialised store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'keys.db'}"
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    prepared_postgres(database)
    return database.app_url


@pytest.mark.parametrize("form", ["argon2id", "salted sha256 after hex"])
def test_processes_that_upgrade_at_once_do_it_once_and_all_answer(url: str, form: str) -> None:
    with SecureKeyStore.open(url, KEK) as store:
        key = store.store_key(SLOW[form](SecureKeyGenerator()))
        barrier, answers = _CONTEXT.Barrier(PROCESSES), _CONTEXT.Queue()
        processes = [
            _CONTEXT.Process(target=_present, args=(url, barrier, answers)) for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        found = [answers.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert found == [("valid", "not_found", "valid")] * PROCESSES
        types = [event.type for event in store.get_audit_log(key_id=key.key_id)]
        assert types.count("token_upgraded") == 1
        assert store.authenticate(TOKEN).key_id == key.key_id
        assert not store.authenticate(WRONG)
