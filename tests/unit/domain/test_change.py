import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyturn.domain.change import MAX_EVENTS, MAX_PUTS, ChangeSet, Event, EventType, Put, Require

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def put(row_id: str) -> Put:
    return Put(id=row_id, kind="key", tenant="default", revision=1, body={})


def event(*rows: str) -> Event:
    return Event(
        type=EventType.KEY_UPDATED, time=NOON, tenant="default", actor="local", subjects=(), rows=rows
    )


def test_a_change_may_be_an_event_alone() -> None:
    """That a secret was read is no change of a row, and belongs into the log."""
    changes = ChangeSet(events=(event(),))
    assert (changes.requires, changes.puts) == ((), ())
    assert changes.events[0].details == {}


def test_a_change_may_have_several_events_with_several_rows() -> None:
    changes = ChangeSet(
        requires=(Require("owner", 0),),
        puts=(put("a"), put("b"), put("c")),
        events=(event("c", "a"), event(), event("b")),
    )
    assert [each.rows for each in changes.events] == [("c", "a"), (), ("b",)]


@pytest.mark.parametrize(
    ("puts", "events"),
    [
        ((put("a"),), (event(),)),
        ((put("a"), put("b")), (event("a"),)),
        ((), (event("a"),)),
        ((put("a"),), (event("a", "b"),)),
        ((put("a"),), (event("b"),)),
        ((put("a"),), (event("a"), event("a"))),
        ((put("a"),), (event("a", "a"),)),
        ((put("a"), put("a")), (event("a"),)),
        ((put("a"), put("a")), (event("a", "a"),)),
    ],
    ids=[
        "named by none",
        "one named by none",
        "no put",
        "one put less",
        "another row",
        "named by two",
        "named twice by one",
        "put twice",
        "put and named twice",
    ],
)
def test_no_row_changes_without_its_entry_and_no_entry_tells_of_a_row_that_does_not(
    puts: tuple[Put, ...], events: tuple[Event, ...]
) -> None:
    """What makes the log complete: each put is named by exactly one event."""
    with pytest.raises(ValueError, match="exactly one event"):
        ChangeSet(puts=puts, events=events)


def test_a_change_without_an_event_is_refused() -> None:
    for puts in ((), (put("a"),)):
        with pytest.raises(ValueError, match="1 to 1000 events, not 0"):
            ChangeSet(puts=puts, events=())


def test_a_change_has_at_most_a_thousand_events() -> None:
    assert MAX_EVENTS == 1_000
    assert len(ChangeSet(events=(event(),) * 1_000).events) == 1_000
    with pytest.raises(ValueError, match="1 to 1000 events, not 1001"):
        ChangeSet(events=(event(),) * 1_001)


def test_a_change_has_at_most_4096_puts() -> None:
    assert MAX_PUTS == 4_096
    rows = [str(number) for number in range(4_097)]
    puts = tuple(map(put, rows))
    assert len(ChangeSet(puts=puts[:4_096], events=(event(*rows[:4_096]),)).puts) == 4_096
    with pytest.raises(ValueError, match="at most 4096 puts, not 4097"):
        ChangeSet(puts=puts, events=(event(*rows),))


def test_a_changed_change_is_checked_again() -> None:
    changes = ChangeSet(puts=(put("a"),), events=(event("a"),))
    with pytest.raises(ValueError, match="exactly one event"):
        replace(changes, puts=())


@pytest.mark.parametrize("value", [Require("a", 1), put("a"), event("a"), ChangeSet(events=(event(),))])
def test_what_was_checked_is_not_changed_before_it_is_written(value: object) -> None:
    for name in ("id", "rows", "puts", "events"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(value, name, ("b",))


def test_event_types_keep_their_names_for_good() -> None:
    """They stand in logs and in other people's programs."""
    assert {each.value for each in EventType} >= {
        "keyring_created",
        "key_created",
        "key_retrieved",
        "key_used",
        "key_updated",
        "key_suspended",
        "key_resumed",
        "key_revoked",
        "key_expired",
        "key_destroyed",
        "owner_revoked",
        "verify_failed",
        "integrity_failed",
    }
    assert all(each.value == each.name.lower() for each in EventType)


def test_every_event_type_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats" / "log-entry.md").read_text()
    assert {each.value for each in EventType} <= set(re.findall(r"`([a-z_]+)`", page))


def test_rows_that_come_beside_a_change_are_named_by_its_first_event() -> None:
    changes = ChangeSet(puts=(put("a"), put("b")), events=(event("a"), event("b")))
    more = changes.with_rows((put("c"), put("d")))
    assert [each.id for each in more.puts] == ["a", "b", "c", "d"]
    assert [each.rows for each in more.events] == [("a", "c", "d"), ("b",)]
    assert changes.with_rows(()) == changes


def test_a_row_that_comes_beside_a_change_is_put_once() -> None:
    with pytest.raises(ValueError, match="each row put once"):
        ChangeSet(puts=(put("a"),), events=(event("a"),)).with_rows((put("a"),))
