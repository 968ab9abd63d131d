"""However many keys are due at once, a scheduler holds a page of them, and goes on."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Final

import pytest

from tests.contract.ledger_stores import sqlite_store
from tests.fakes import Site
from tests.services.rotating import DAY
from tests.services.test_scheduling import due_keys

FEW: Final = 200
MANY: Final = 1_000
PAGE: Final = 25
_PER_KEY: Final = (
    800  # bytes that stay for each: the floor's marks, and the log's chain as far back as is remembered
)


def worked_off(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Rotate so many in one run; the bytes that were in use at most beside those that stay, and these."""
    monkeypatch.setattr("keyturn.rotation.scheduler._PAGE", PAGE)
    store = sqlite_store(folder / f"{count}.db")
    store.initialise()
    site = Site.on(store)
    process = site.process()
    due_keys(process, count)
    site.clock.pass_time(DAY)
    gc.collect()
    tracemalloc.start()
    begun = 0
    for event in process.node.rotation.scheduler.work():
        begun += event.type == "rotation_started"
    gc.collect()
    stay, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    site.close()
    assert begun == count
    return most - stay, stay


def test_memory_does_not_grow_with_the_number_of_keys_that_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (few, _), (many, stay) = (worked_off(tmp_path, count, monkeypatch) for count in (FEW, MANY))
    assert many < 1.5 * few + 100_000
    assert stay < _PER_KEY * MANY
