"""Key sets while the store is away: given out for as long as a cache might have kept them, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.publishing import CACHE_SECONDS
from keyturn.domain.scope import KeyScope
from keyturn.errors import StaleError, StorageError
from keyturn.server.jwks import KeySets
from tests.fakes import Process


@pytest.fixture
def key_sets(ours: Process) -> Iterator[KeySets]:
    sets = KeySets(ours.node.published, max_staleness=1.0)
    yield sets
    sets.close()


def issue(process: Process) -> str:
    key = process.issue(key_type=KeyType.JWT, key_scope=KeyScope.FULL, published_for=60)
    return f"{key.key_id}.1"


def asked(key_sets: KeySets) -> tuple[bytes, int]:
    found, seconds = asyncio.run(key_sets.of("default"))
    return found.body, seconds


def test_what_is_left_of_a_caches_time_is_what_the_set_may_be_kept_for(
    ours: Process, key_sets: KeySets
) -> None:
    kid = issue(ours)
    body, seconds = asked(key_sets)
    assert (kid.encode() in body, seconds) == (True, CACHE_SECONDS)
    ours.ledger.fail(StorageError("gone"))
    total = 0.0
    for passing in (0.5, 10, 200, 85):
        ours.clock.pass_time(passing)
        total += passing
        body, seconds = asked(key_sets)
        assert kid.encode() in body
        assert seconds + total <= CACHE_SECONDS + 1.0, (
            "no later than max_staleness after a set fetched before"
        )
        assert seconds >= CACHE_SECONDS - total - 1
    ours.clock.pass_time(CACHE_SECONDS - total)
    with pytest.raises(StaleError):
        asked(key_sets)
    ours.ledger.work_again()
    assert asked(key_sets)[1] == CACHE_SECONDS


def test_a_node_that_has_never_read_the_keys_gives_out_none(ours: Process, key_sets: KeySets) -> None:
    """An empty set would refuse every token there is."""
    issue(ours)
    ours.ledger.fail(StorageError("gone"), "list_published")
    with pytest.raises(StaleError):
        asked(key_sets)


def test_all_who_ask_at_once_share_one_look(ours: Process, key_sets: KeySets) -> None:
    issue(ours)

    async def many() -> list[object]:
        return await asyncio.gather(*(key_sets.of(f"t{number}") for number in range(200)))

    before = ours.ledger.calls["list_published"]
    assert len(asyncio.run(many())) == 200
    assert ours.ledger.calls["list_published"] - before <= 4
