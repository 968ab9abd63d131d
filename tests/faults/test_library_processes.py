"""Processes that use the library on one store, with no thread and no hint: only the bound itself brings the news."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from tests.contract.postgres_server import PostgresDatabase
from tests.running_server import KEK, prepared_postgres

TRIALS: Final = 100
BOUND: Final = 0.2  # seconds
_CONTEXT: Final = multiprocessing.get_context("spawn")


class Refused(NamedTuple):
    """When (monotonic, the same for all processes) a key was last asked for and accepted, and when first refused."""

    last_valid_asked: float
    refused_at: float
    code: str


def _authenticate_until_refused(url: str, pipe: multiprocessing.connection.Connection) -> None:
    with SecureKeyStore.open(url, KEK, max_staleness=BOUND) as store:
        while (token := pipe.recv()) is not None:
            assert store.authenticate(token)
            pipe.send("warm")
            asked = last_valid = time.monotonic()
            while verification := store.authenticate(token):
                last_valid, asked = asked, time.monotonic()
            pipe.send(Refused(last_valid, time.monotonic(), verification.code))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An initialised store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'keys.db'}"
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    prepared_postgres(database)
    return database.app_url


@pytest.fixture
def other_process(url: str) -> Iterator[multiprocessing.connection.Connection]:
    """A process that authenticates each token it is sent until it is refused."""
    SecureKeyStore.open(url, KEK).close()
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_authenticate_until_refused, args=(url, theirs))
    process.start()
    theirs.close()
    yield ours
    ours.send(None)
    process.join(20)
    assert process.exitcode == 0


def test_a_revocation_holds_at_once_here_and_within_the_bound_in_the_other_process(
    url: str, other_process: multiprocessing.connection.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    generator, lags = SecureKeyGenerator(), []
    with SecureKeyStore.open(url, KEK, max_staleness=BOUND) as store:
        for _ in range(TRIALS):
            key = generator.generate_api_key()
            store.store_key(key)
            other_process.send(key.secret.reveal())
            assert other_process.recv() == "warm"
            store.revoke_key(key.key_id)
            revoked_at = time.monotonic()
            assert store.authenticate(key.secret).code == "revoked"
            refused = other_process.recv()
            assert refused.code == "revoked"
            assert refused.last_valid_asked <= revoked_at + BOUND
            lags.append(max(0.0, refused.refused_at - revoked_at))
    with capsys.disabled():
        percentiles = statistics.quantiles(lags, n=100)
        print(
            f"\n  revoked elsewhere until refused here, without hints, {TRIALS} trials: median"
            f" {percentiles[49] * 1e3:.0f} ms, 95 % {percentiles[94] * 1e3:.0f} ms, longest {max(lags) * 1e3:.0f} ms"
            f" of {BOUND * 1e3:.0f} ms allowed"
        )
