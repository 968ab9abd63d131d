"""Findings: each once, in order, and never more than fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from keyturn.records.incidents import MAX_INCIDENTS, Incident, Incidents


def test_a_finding_is_kept_until_it_is_taken_and_then_not_found_again() -> None:
    incidents = Incidents()
    for _ in range(3):
        incidents.note("key_a", "default", "problem")
    assert incidents.drain() == [Incident("key_a", "default", "problem")]
    incidents.note("key_a", "default", "problem")
    assert incidents.drain() == []


def test_another_problem_of_the_same_row_is_another_finding() -> None:
    incidents = Incidents()
    for row, problem in (("key_a", "first"), ("key_a", "second"), ("key_b", "first")):
        incidents.note(row, "default", problem)
    assert [(found.row_id, found.problem) for found in incidents.drain()] == [
        ("key_a", "first"), ("key_a", "second"), ("key_b", "first"),
    ]  # fmt: skip


def test_a_tenant_column_cannot_multiply_findings() -> None:
    """It is the database's to say, and not to be trusted."""
    incidents = Incidents()
    for tenant in ("a", "b", "c"):
        incidents.note("key_a", tenant, "problem")
    assert len(incidents.drain()) == 1


def test_what_is_put_back_comes_first() -> None:
    incidents = Incidents()
    incidents.note("first", "system", "problem")
    taken = incidents.drain()
    incidents.note("second", "system", "problem")
    incidents.put_back(taken)
    assert [found.row_id for found in incidents.drain()] == ["first", "second"]


def test_a_thousand_findings_are_kept_and_the_rest_is_counted() -> None:
    incidents = Incidents()
    for number in range(MAX_INCIDENTS + 7):
        incidents.note(f"row {number}", "system", "problem")
    incidents.note("row 0", "system", "problem")
    assert MAX_INCIDENTS == 1_000
    assert (len(incidents.drain()), incidents.dropped) == (1_000, 7)


def test_one_finding_of_many_threads_is_one() -> None:
    incidents = Incidents()
    with ThreadPoolExecutor(8) as pool:
        for number in range(800):
            pool.submit(incidents.note, f"row {number % 10}", "system", "problem")
    assert len(incidents.drain()) == 10
