"""Key sets while the store is away: given out for as long as a cache might have kept them, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.principal import Principal
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


def asked(key_sets: KeySets, tenant: str = "default") -> tuple[bytes, int]:
    found, seconds = asyncio.run(key_sets.of(tenant))
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


def test_nobody_waits_for_what_has_changed_in_other_tenants(
    ours: Process, theirs: Process, key_sets: KeySets
) -> None:
    noisy = Principal(actor="library", tenant="noisy")
    make = partial(ours.make, key_type=KeyType.JWT, key_scope=KeyScope.FULL, published_for=60, owner="ada")
    keys = [theirs.node.issuer.issue(make(), noisy) for _ in range(80)]
    kid = issue(theirs)
    for tenant in ("default", "noisy"):
        asked(key_sets, tenant)
    for key in keys:
        theirs.node.updater.update(key.key_id, noisy, {"name": "a"})
    theirs.node.lifecycle.revoke_owner("ada", noisy)
    theirs.store().revoke_key(kid.partition(".")[0], "keyCompromise")
    ours.clock.pass_time(2)
    before = ours.ledger.calls["read"]
    assert asked(key_sets) == (b'{"keys":[]}', CACHE_SECONDS)
    assert ours.ledger.calls["read"] - before <= 5
    body, seconds = asked(key_sets, "noisy")
    assert (body.count(b'"kid"'), seconds) == (80, CACHE_SECONDS)
    ours.clock.pass_time(60)
    assert asked(key_sets, "noisy")[0].count(b'"kid"') == 0


def test_a_set_is_not_current_while_what_has_changed_is_being_looked_for(
    ours: Process, theirs: Process, key_sets: KeySets
) -> None:
    kid = issue(ours)
    asked(key_sets)
    theirs.store().revoke_key(kid.partition(".")[0], "keyCompromise")
    published, seen = ours.node.published, []
    ours.catch_up()
    ours.ledger.before("read", lambda: seen.append(published.is_current("default")))
    assert asked(key_sets)[0] == b'{"keys":[]}'
    assert seen == [False]
