"""Bounded memory, in which nothing that the log has outdated is found again."""

from __future__ import annotations

import gc

import pytest

from keyturn.verifier.cache import DEFAULT_CAPACITY, MIN_CAPACITY, Cache
from keyturn.verifier.entries import NO_OWNER, Entry
from tests.unit.verifier.samples import OWNER_ROW, digest_of, entry_of, key_id_of

OTHER_OWNER = f"own_{1:022}"


def found(cache: Cache, number: int) -> Entry | None:
    """What the hot path finds for token `number`."""
    entry = cache.young.get(digest_of(number)) or cache.from_old(digest_of(number))
    return entry if entry is not None and entry.is_current else None


def filled(cache: Cache, *numbers: int) -> list[Entry]:
    entries = [entry_of(number) for number in numbers]
    for entry in entries:
        cache.put(entry)
    return entries


def test_an_entry_is_found_by_the_digest_of_its_token_and_by_its_credential_id() -> None:
    cache = Cache()
    (entry,) = filled(cache, 1)
    assert found(cache, 1) is entry
    assert cache.by_id(f"{1:016}") is entry
    assert (found(cache, 2), cache.by_id(f"{2:016}")) == (None, None)


@pytest.mark.parametrize("capacity", [-1, 0, 1])
def test_a_cache_for_less_than_two_is_refused(capacity: int) -> None:
    assert MIN_CAPACITY == 2
    with pytest.raises(ValueError, match="at least 2"):
        Cache(capacity)


@pytest.mark.parametrize("capacity", [2, 3, 10, 101])
def test_there_are_never_more_entries_than_the_capacity(capacity: int) -> None:
    cache, most = Cache(capacity), 0
    for number in range(5 * capacity):
        filled(cache, number)
        found(cache, number // 2)
        most = max(most, len(cache), len(cache.young) + len(cache._old.by_digest))
    assert capacity - 1 <= most <= capacity


def test_the_default_capacity_is_half_a_million() -> None:
    assert DEFAULT_CAPACITY == 500_000


def test_what_is_in_use_stays_while_what_is_not_goes() -> None:
    cache = Cache(10)
    filled(cache, 1, 2)
    for number in range(100, 200):
        assert found(cache, 1), "asked for all the time"
        filled(cache, number)
    assert found(cache, 1)
    assert not found(cache, 2)


def test_what_was_not_asked_for_during_a_whole_turn_goes() -> None:
    cache = Cache(10)
    filled(cache, *range(5))
    filled(cache, *range(100, 103))
    assert all(found(cache, number) for number in (0, 1)), "from the old generation"
    filled(cache, *range(200, 203))
    assert [number for number in range(5) if found(cache, number)] == [0, 1]


def test_a_hit_in_the_young_generation_writes_nothing() -> None:
    cache = Cache(10)
    filled(cache, 1, 2)
    before = list(cache.young)
    assert found(cache, 1)
    assert list(cache.young) == before


def test_a_credential_that_is_loaded_again_takes_no_more_room_and_is_the_newer_one() -> None:
    cache = Cache(10)
    filled(cache, 1, 2)
    (newer,) = filled(cache, 1)
    assert len(cache) == 2
    assert found(cache, 1) is newer
    cache.drop([key_id_of(1)])
    assert not newer.is_current


def test_an_entry_without_a_token_is_found_by_id_alone() -> None:
    cache = Cache()
    cache.put(entry_of(1, version={"digest": None}))
    assert cache.by_id(f"{1:016}") is not None
    assert not cache.young


# What the log says has changed


@pytest.mark.parametrize(
    "row", [key_id_of(1), f"{key_id_of(1)}.1", f"{key_id_of(1)}.2"], ids=["key", "own", "other"]
)
def test_a_change_of_a_key_or_of_any_version_drops_all_its_versions_and_no_other_key(row: str) -> None:
    cache = Cache()
    first = entry_of(1)
    second = entry_of(1, version={"number": 2, "credential_id": "2" * 16, "digest": digest_of(1_000)})
    cache.put(first)
    cache.put(second)
    (other,) = filled(cache, 2)
    cache.drop([row])
    assert not first.is_current
    assert not second.is_current
    assert cache.by_id("2" * 16) is None
    assert found(cache, 2) is other


def test_a_change_drops_a_key_from_both_generations() -> None:
    cache = Cache(4)
    old = entry_of(1)
    cache.put(old)
    filled(cache, 2)
    young = entry_of(1, version={"number": 2, "credential_id": "2" * 16, "digest": digest_of(1_000)})
    cache.put(young)
    assert old.digest not in cache.young
    cache.drop([key_id_of(1)])
    assert (old.is_current, young.is_current) == (False, False)


def test_a_key_whose_id_only_begins_alike_is_not_dropped() -> None:
    cache = Cache()
    entries = filled(cache, 1, 10, 100)
    cache.drop([key_id_of(1)])
    assert [entry.is_current for entry in entries] == [False, True, True]


def test_the_revocation_of_an_owner_drops_all_its_keys_and_no_others() -> None:
    cache = Cache(10)
    mine = [entry_of(number, standing=cache.owner_standing(OWNER_ROW)) for number in (1, 2, 3)]
    others = [
        entry_of(4, standing=cache.owner_standing(OTHER_OWNER)),
        entry_of(5, standing=cache.owner_standing(None)),
    ]
    for entry in (*mine, *others):
        cache.put(entry)
    cache.drop([OWNER_ROW])
    assert not any(entry.is_current for entry in mine)
    assert all(entry.is_current for entry in others)
    assert [number for number in range(1, 6) if found(cache, number)] == [4, 5]


def test_keys_that_are_loaded_after_their_owner_changed_are_current() -> None:
    cache = Cache()
    cache.put(entry_of(1, standing=cache.owner_standing(OWNER_ROW)))
    cache.drop([OWNER_ROW])
    cache.put(entry_of(1, standing=cache.owner_standing(OWNER_ROW)))
    assert found(cache, 1)
    cache.drop([OWNER_ROW])
    assert not found(cache, 1)


def test_keys_of_one_owner_share_its_standing_which_goes_with_the_last_of_them() -> None:
    cache = Cache(2)
    cache.put(entry_of(1, standing=cache.owner_standing(OWNER_ROW)))
    assert cache.owner_standing(OWNER_ROW) is cache.owner_standing(OWNER_ROW)
    assert list(cache._owners) == [OWNER_ROW]
    filled(cache, 2, 3, 4)
    gc.collect()
    assert not list(cache._owners), "as many owners as there are keys, whatever comes and goes"
    assert cache.owner_standing(None) is NO_OWNER


@pytest.mark.parametrize("rows", [[], ["keyring"], [key_id_of(99)], [OTHER_OWNER]])
def test_an_entry_of_the_log_that_names_none_of_a_keys_rows_leaves_it_warm(rows: list[str]) -> None:
    """A summary of uses names no row: if it emptied the cache, each minute would begin with a storm of reads."""
    cache = Cache()
    entry = entry_of(1, standing=cache.owner_standing(OWNER_ROW))
    cache.put(entry)
    cache.drop(rows)
    assert found(cache, 1) is entry
    assert NO_OWNER.is_current


def test_when_nothing_may_be_relied_on_nothing_is() -> None:
    cache = Cache(4)
    entries = filled(cache, 1, 2, 3)
    cache.drop(None)
    assert len(cache) == 0
    assert not any(entry.is_current for entry in entries), "also where somebody still holds one"
    assert not any(found(cache, number) for number in (1, 2, 3))
    (again,) = filled(cache, 1)
    assert found(cache, 1) is again


def test_a_dropped_entry_is_not_found_by_its_id() -> None:
    """Its absence is what makes a wrong secret, and a right one, be looked up again."""
    cache = Cache()
    filled(cache, 1)
    cache.drop([key_id_of(1)])
    assert cache.by_id(f"{1:016}") is None
