"""What the log is told of verifications: bounded summaries, and findings at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from keyturn.audit.trail import KeyUsageEvent
from keyturn.errors import ConflictError, OutcomeUnknownError, StorageError
from keyturn.ports.ledger import UseCount
from keyturn.verifier.journal import MAX_LISTED, MAX_PENDING, Journal
from tests.fakes import BEGINNING, Process
from tests.unit.verifier.samples import key_id_of

MINUTE: Final = 29_539_440
AT: Final = MINUTE * 60_000_000
SUMMARIES: Final = ("key_used", "verify_failed", "integrity_failed")


def count_of(number: int | None = None, count: int = 1, **members: Any) -> UseCount:
    """So many uses of key `number`; of no key for None."""
    given: dict[str, Any] = {
        "tenant": "default",
        "key_id": "" if number is None else key_id_of(number),
        "version": 0 if number is None else 1,
        "code": "not_found" if number is None else "valid",
        "minute": MINUTE,
        "count": count,
        "last_at": AT,
        "last_ip": None,
        **members,
    }
    return UseCount(**given)


def tenants(count: int) -> list[str]:
    return [f"tenant-{number}" for number in range(count)]


def told(process: Process, *of: str) -> list[KeyUsageEvent]:
    """What the log says of verifications."""
    found: list[KeyUsageEvent] = []
    everybody = {"default", "system", *of}
    while some := process.node.trail.events(everybody, after=found[-1].position if found else 0, limit=1_000):
        found += some
    return [event for event in found if event.type in SUMMARIES]


def lines(event: KeyUsageEvent) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = event.details["listed"]
    return listed


@pytest.fixture
def journal(ours: Process) -> Journal:
    return Journal(ours.node.records)


def test_a_summary_says_how_often_when_and_from_where(ours: Process, journal: Journal) -> None:
    journal.gather([count_of(1, 5, last_at=AT + 1, last_ip="203.0.113.9"), count_of(2, 7, version=3)])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert (event.type, event.tenant, event.actor, event.time) == ("key_used", "default", "system", BEGINNING)
    assert event.subjects == (key_id_of(2), key_id_of(1))
    assert event.details == {
        "total": 12,
        "listed": [
            {
                "code": "valid", "count": 7, "key_id": key_id_of(2), "version": 3,
                "last_at": "2026-03-01T12:00:00.000000Z",
            },
            {
                "code": "valid", "count": 5, "key_id": key_id_of(1), "version": 1, "last_ip": "203.0.113.9",
                "last_at": "2026-03-01T12:00:00.000001Z",
            },
        ],
        "not_listed": 0,
    }  # fmt: skip


def test_there_is_one_entry_for_each_tenant_and_kind(ours: Process, journal: Journal) -> None:
    for tenant in tenants(2):
        journal.gather([count_of(number, tenant=tenant) for number in range(10)])
        journal.gather([count_of(number, code="revoked", tenant=tenant) for number in range(10)])
        journal.gather([count_of(None, tenant=tenant), count_of(None, code="malformed", tenant=tenant)])
    journal.summarise(BEGINNING)
    assert sorted(
        (event.tenant, event.type, event.details["total"]) for event in told(ours, *tenants(2))
    ) == [
        ("tenant-0", "key_used", 10),
        ("tenant-0", "verify_failed", 12),
        ("tenant-1", "key_used", 10),
        ("tenant-1", "verify_failed", 12),
    ]


def test_what_no_key_can_be_held_to_has_no_subject(ours: Process, journal: Journal) -> None:
    journal.gather([count_of(None, 3), count_of(None, 4, code="malformed")])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert (event.type, event.subjects) == ("verify_failed", ())
    assert [(line["code"], line["count"], "key_id" in line) for line in lines(event)] == [
        ("malformed", 4, False),
        ("not_found", 3, False),
    ]


def test_counts_of_several_flushes_and_minutes_are_one_line(ours: Process, journal: Journal) -> None:
    for minute in (0, 1, 0):
        journal.gather([count_of(1, 2, minute=MINUTE + minute, last_at=AT + minute * 60_000_000)])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert [(line["count"], line["last_at"]) for line in lines(event)] == [(6, "2026-03-01T12:01:00.000000Z")]


def test_nothing_is_said_when_there_was_nothing(ours: Process, journal: Journal) -> None:
    journal.summarise(BEGINNING)
    journal.report_incidents(BEGINNING)
    assert told(ours) == []
    journal.gather([count_of(1)])
    journal.summarise(BEGINNING)
    journal.summarise(BEGINNING)
    assert len(told(ours)) == 1


def test_two_hundred_keys_are_listed_the_busiest_and_the_rest_is_counted(
    ours: Process, journal: Journal
) -> None:
    journal.gather([count_of(number, number + 1) for number in range(250)])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert MAX_LISTED == 200
    assert [line["count"] for line in lines(event)] == list(range(250, 50, -1))
    assert (event.details["total"], event.details["not_listed"]) == (250 * 251 // 2, 50)
    assert len(event.subjects) == 200


def test_a_key_that_is_listed_under_several_codes_is_one_subject(ours: Process, journal: Journal) -> None:
    journal.gather([count_of(1, code=code) for code in ("expired", "revoked", "ip_denied")])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert event.subjects == (key_id_of(1),)
    assert len(lines(event)) == 3


def test_what_is_gathered_is_bounded_and_what_does_not_fit_is_in_the_total(
    ours: Process, journal: Journal
) -> None:
    journal.gather([count_of(number) for number in range(MAX_PENDING + 50)])
    assert MAX_PENDING == 20_000
    assert len(journal._pending) == MAX_PENDING
    journal.gather([count_of(0, 9)])
    journal.summarise(BEGINNING)
    (event,) = told(ours)
    assert event.details["total"] == MAX_PENDING + 50 + 9
    assert event.details["not_listed"] == MAX_PENDING - MAX_LISTED + 1
    journal.gather([count_of(1)])
    journal.summarise(BEGINNING)
    assert [told(ours)[-1].details[name] for name in ("total", "not_listed")] == [1, 0]


def test_what_did_not_fit_is_told_once(ours: Process, journal: Journal) -> None:
    journal.gather([count_of(None), *(count_of(number) for number in range(MAX_PENDING - 1))])
    journal.gather([count_of(MAX_PENDING + number) for number in range(50)])
    journal.summarise(BEGINNING)
    assert sum(event.details["total"] for event in told(ours)) == MAX_PENDING + 50


def test_what_did_not_fit_is_told_of_every_tenant(ours: Process, journal: Journal) -> None:
    journal.gather([count_of(number) for number in range(MAX_PENDING)])
    journal.gather([count_of(number, tenant="other") for number in range(50)])
    journal.summarise(BEGINNING)
    assert sum(event.details["total"] for event in told(ours, "other")) == MAX_PENDING + 50


@pytest.mark.parametrize("error", [StorageError("gone"), OutcomeUnknownError("lost")])
def test_a_summary_that_could_not_be_written_is_kept_and_then_says_all(
    ours: Process, journal: Journal, error: StorageError
) -> None:
    journal.gather([count_of(1, 5)])
    ours.ledger.fail(error, "commit")
    with pytest.raises(StorageError):
        journal.summarise(BEGINNING)
    journal.gather([count_of(1, 2)])
    ours.ledger.work_again()
    journal.summarise(BEGINNING + timedelta(minutes=1))
    (event,) = told(ours)
    assert event.details["total"] == 7


def test_summaries_of_a_thousand_tenants_are_written(ours: Process, journal: Journal) -> None:
    """At most 1,000 events fit in one change."""
    journal.gather(
        [count_of(1, tenant=tenant, code=code) for tenant in tenants(600) for code in ("valid", "expired")]
    )
    journal.summarise(BEGINNING)
    assert len(told(ours, *tenants(600))) == 1_200


def test_summaries_that_were_written_before_the_store_failed_are_not_written_again(
    ours: Process, journal: Journal
) -> None:
    journal.gather(
        [count_of(1, tenant=tenant, code=code) for tenant in tenants(600) for code in ("valid", "expired")]
    )

    def fail() -> None:
        raise StorageError("gone")

    ours.ledger.before("commit", lambda: None, fail)
    with pytest.raises(StorageError):
        journal.summarise(BEGINNING)
    journal.summarise(BEGINNING)
    assert len(told(ours, *tenants(600))) == 1_200


# Findings


def test_a_finding_is_told_once_and_says_which_row_and_what_is_wrong(ours: Process, journal: Journal) -> None:
    incidents = ours.node.records.incidents
    for _ in range(3):
        incidents.note(key_id_of(1), "default", "a row seal does not hold")
    incidents.note(f"{key_id_of(2)}.1", "a tenant that the row claims", "a row seal does not hold")
    incidents.note("keyring", "system", "another problem")
    journal.report_incidents(BEGINNING)
    journal.report_incidents(BEGINNING)
    found = told(ours)
    assert {(event.type, event.tenant, event.actor) for event in found} == {
        ("integrity_failed", "system", "system")
    }
    assert [(event.subjects, event.details) for event in found] == [
        ((key_id_of(1),), {"row": key_id_of(1), "problem": "a row seal does not hold"}),
        ((key_id_of(2),), {"row": f"{key_id_of(2)}.1", "problem": "a row seal does not hold"}),
        ((), {"row": "keyring", "problem": "another problem"}),
    ]


def test_a_finding_of_any_length_fits_into_an_entry(ours: Process, journal: Journal) -> None:
    """Whoever writes to the database chooses the ids of rows."""
    ours.node.records.incidents.note("x" * 100_000, "system", "y" * 100_000)
    journal.report_incidents(BEGINNING)
    (event,) = told(ours)
    assert event.details == {"row": "x" * 64, "problem": "y" * 500}


@pytest.mark.parametrize("error", [StorageError("gone"), ConflictError("moved"), OutcomeUnknownError("lost")])
def test_a_finding_that_could_not_be_told_is_put_back_and_told_in_order(
    ours: Process, journal: Journal, error: Exception
) -> None:
    incidents = ours.node.records.incidents
    incidents.note("first", "system", "problem")
    ours.ledger.fail(error, "commit")
    with pytest.raises(type(error)):
        journal.report_incidents(BEGINNING)
    incidents.note("second", "system", "problem")
    ours.ledger.work_again()
    journal.report_incidents(BEGINNING)
    assert [event.details["row"] for event in told(ours)] == ["first", "second"]


def test_a_thousand_findings_are_told(ours: Process, journal: Journal) -> None:
    for number in range(1_000):
        ours.node.records.incidents.note(f"row {number}", "system", "problem")
    journal.report_incidents(BEGINNING)
    assert len(told(ours)) == 1_000
