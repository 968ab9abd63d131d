"""Many who change one store at once: each change is under a sealed head when its call returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.fakes import Process, Site
from tests.services.samples import on_both

WRITERS: Final = 4
CHANGES: Final = 15  # of each


def is_vouched_for(process: Process) -> bool:
    """Whether the key that this process issues is, as soon as it is issued."""
    key = process.issue()
    sealed = process.ledger.inner.sealed_head()
    (row,) = process.ledger.inner.read([key.key_id])
    assert sealed is not None
    assert row is not None
    return sealed.position >= row.position


@on_both
def test_what_several_processes_change_at_once_is_vouched_for(site: Site) -> None:
    processes = [site.process() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        turns = [pool.submit(is_vouched_for, process) for _ in range(CHANGES) for process in processes]
        assert all(turn.result() for turn in turns)
    assert site.process().node.records.log.position == WRITERS * CHANGES + 1


@on_both
def test_what_several_threads_change_at_once_is_vouched_for_by_fewer_writes(
    site: Site, ours: Process
) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(lambda _: is_vouched_for(ours), range(WRITERS * CHANGES)))
    assert ours.ledger.calls["seal_head"] < WRITERS * CHANGES
    assert site.process().node.records.log.position == WRITERS * CHANGES + 1
