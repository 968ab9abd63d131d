"""When what was counted is written down, by whoever comes by."""

from __future__ import annotations

import logging

import pytest

from keyturn.errors import ConfigurationError, StorageError
from keyturn.verifier.recorder import FLUSH_SECONDS, RETRY_SECONDS, SHARE
from keyturn.verifier.uses import BATCH
from tests.fakes import TICK, Method, Process, Site
from tests.unit.verifier.samples import entry_of


def written(process: Process) -> int:
    """Valid uses in the ledger, of all keys."""
    counts = process.ledger.inner
    keys = [row.id for row in counts.list_owned("default", "acme", "", 1_000)]
    return sum(use.count for key in keys for use in counts.read_uses(key, 0, 1 << 40) if use.code == "valid")


def sealed_position(process: Process) -> int:
    """How far the log is vouched for."""
    sealed = process.ledger.inner.sealed_head()
    assert sealed is not None
    return sealed.position


def types(process: Process) -> list[str]:
    """The types of all entries in the log."""
    return [event.type for event in process.node.trail.events({"default", "system"}, limit=1_000)]


def used(process: Process, times: int = 1) -> None:
    key = process.issue(owner="acme")
    for _ in range(times):
        assert process.ask(key)


def test_nothing_is_written_before_a_second_has_passed(site: Site, ours: Process) -> None:
    used(ours)
    calls = ours.ledger.calls.copy()
    site.clock.set_steady(ours.node.recorder.due_at - TICK)
    ours.node.recorder.tick()
    assert ours.ledger.calls == calls
    site.clock.set_steady(ours.node.recorder.due_at)
    ours.node.recorder.tick()
    assert written(ours) == 1


def test_each_second_brings_one_flush_however_often_somebody_comes_by(site: Site, ours: Process) -> None:
    key = ours.issue(owner="acme")
    for _ in range(5):
        site.clock.pass_time(FLUSH_SECONDS)
        for _ in range(10):
            assert ours.ask(key)
            ours.node.recorder.tick()
    assert ours.ledger.calls["record_uses"] == 5
    ours.node.recorder.flush()
    assert written(ours) == 50


def test_the_librarys_next_call_after_a_second_writes_what_was_counted_before(
    site: Site, ours: Process
) -> None:
    store = ours.store()
    key = ours.issue(owner="acme")
    for _ in range(3):
        assert store.authenticate(key.secret)
    assert written(ours) == 0
    site.clock.pass_time(1.5)
    assert store.authenticate(key.secret)
    assert written(ours) == 4


def test_while_one_thread_writes_another_goes_on_at_once(site: Site, ours: Process) -> None:
    used(ours)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.ledger.before("record_uses", ours.node.recorder.tick)
    ours.node.recorder.tick()
    assert ours.ledger.calls["record_uses"] == 1


def test_when_the_store_does_not_answer_it_is_asked_again_after_two_seconds_and_loses_nothing(
    site: Site, ours: Process, caplog: pytest.LogCaptureFixture
) -> None:
    used(ours, 3)
    ours.ledger.fail(StorageError("gone"))
    site.clock.pass_time(FLUSH_SECONDS)
    failed_at = site.clock.steady()
    with caplog.at_level(logging.WARNING, "keyturn.recorder"):
        ours.node.recorder.tick()
    assert ours.node.recorder.due_at - failed_at == pytest.approx(RETRY_SECONDS, abs=0.001)
    assert "gone" in caplog.text
    ours.ledger.work_again()
    site.clock.set_steady(ours.node.recorder.due_at)
    ours.node.recorder.tick()
    assert written(ours) == 3


def seconds_until_the_next_write(site: Site, process: Process, method: str) -> float:
    """How long from now until `method` is called, where somebody comes by four times a second and keys are used."""
    began, calls, key = site.clock.steady(), process.ledger.calls[method], process.issue(owner="acme")
    while process.ledger.calls[method] == calls:
        site.clock.pass_time(0.25)
        assert process.ask(key)
        process.node.recorder.tick()
    return site.clock.steady() - began


@pytest.mark.parametrize(("seconds", "wait"), [(0.01, FLUSH_SECONDS), (0.5, 9.5), (2.0, 38.0)])
def test_writing_counts_takes_at_most_a_twentieth_of_the_time(
    site: Site, ours: Process, seconds: float, wait: float
) -> None:
    used(ours)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.ledger.before("record_uses", lambda: site.clock.pass_time(seconds))
    ours.node.recorder.tick()
    assert SHARE == 19
    assert seconds_until_the_next_write(site, ours, "record_uses") == pytest.approx(wait, abs=0.3)


def test_the_sealed_head_and_the_findings_do_not_wait_for_counts_that_take_long(
    site: Site, ours: Process, theirs: Process
) -> None:
    used(ours)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.ledger.before("record_uses", lambda: site.clock.pass_time(2.0))
    ours.node.recorder.tick()
    theirs.issue()
    ours.catch_up()
    ours.node.records.incidents.note("keyring", "system", "problem")
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert types(ours)[-1] == "integrity_failed"
    assert sealed_position(ours) == ours.ledger.inner.head()


@pytest.mark.parametrize("method", ["record_uses", "commit", "seal_head"])
def test_a_slow_failure_is_tried_again_after_two_seconds_and_so_is_all_the_rest(
    site: Site, ours: Process, theirs: Process, method: Method
) -> None:
    used(ours, 3)
    if method == "commit":
        ours.node.records.incidents.note("keyring", "system", "problem")
    else:
        theirs.issue()
        ours.catch_up()

    def time_out() -> None:
        site.clock.pass_time(10.0)
        raise StorageError("no answer")

    ours.ledger.before(method, time_out)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert ours.node.recorder.due_at - site.clock.steady() == pytest.approx(RETRY_SECONDS, abs=0.001)
    for _ in range(2):  # whatever was not tried then, and what failed
        site.clock.set_steady(ours.node.recorder.due_at)
        ours.node.recorder.tick()
    assert written(ours) == 3
    assert ("integrity_failed" in types(ours)) == (method == "commit")
    assert sealed_position(ours) == ours.ledger.inner.head()


def test_where_the_store_does_not_answer_the_rest_is_not_tried_in_the_same_call(
    site: Site, ours: Process, theirs: Process
) -> None:
    """Each attempt may take seconds, for which in library use somebody waits."""
    used(ours)
    theirs.issue()
    ours.catch_up()
    ours.node.records.incidents.note("keyring", "system", "problem")
    ours.ledger.fail(StorageError("gone"))
    calls = ours.ledger.calls.copy()
    for attempt in range(1, 8):
        site.clock.set_steady(ours.node.recorder.due_at)
        ours.node.recorder.tick()
        assert (ours.ledger.calls - calls).total() == attempt
    assert set(ours.ledger.calls - calls) == {"record_uses", "commit", "seal_head"}, "each in its turn"


def test_what_is_refused_for_itself_does_not_keep_the_rest(site: Site, ours: Process) -> None:
    used(ours)
    ours.ledger.fail(ConfigurationError("no right to call record_uses"), "record_uses")
    ours.node.records.incidents.note("keyring", "system", "problem")
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert types(ours)[-1] == "integrity_failed"
    assert sealed_position(ours) == ours.ledger.inner.head()


def test_where_more_waits_than_fits_into_a_batch_the_next_call_goes_on(site: Site, ours: Process) -> None:
    uses = ours.node.verifier._uses
    for number in range(BATCH + 1):
        uses.count(entry_of(number), site.clock.nanos(), None)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert ours.node.recorder.due_at <= site.clock.steady() + 0.001
    site.clock.set_steady(ours.node.recorder.due_at)
    ours.node.recorder.tick()
    assert ours.ledger.calls["record_uses"] == 2
    assert ours.node.recorder.due_at > site.clock.steady() + 0.9


# Summaries


def test_the_log_hears_of_uses_once_a_minute(site: Site, ours: Process) -> None:
    key = ours.issue(owner="acme")
    for _ in range(119):
        site.clock.pass_time(1.0)
        assert ours.ask(key)
        ours.node.recorder.tick()
    assert types(ours).count("key_used") == 1
    site.clock.pass_time(2.0)
    ours.node.recorder.tick()
    assert types(ours).count("key_used") == 2
    assert written(ours) == 119


def test_the_log_does_not_hear_of_a_minute_without_uses(site: Site, ours: Process) -> None:
    used(ours)
    for _ in range(10):
        site.clock.pass_time(61.0)
        ours.node.recorder.tick()
    assert types(ours).count("key_used") == 1


def test_a_summary_does_not_cool_the_cache(site: Site, ours: Process, theirs: Process) -> None:
    key = ours.issue(owner="acme")
    theirs.catch_up()
    assert ours.ask(key)
    assert theirs.ask(key)
    site.clock.pass_time(61.0)
    ours.node.recorder.tick()
    assert types(ours)[-1] == "key_used"
    theirs.catch_up()
    assert (ours.decide(key), theirs.decide(key)) == ("valid", "valid")


def test_a_finding_is_told_at_the_next_flush_and_does_not_wait_for_the_minute(
    site: Site, ours: Process
) -> None:
    ours.node.records.incidents.note("keyring", "system", "problem")
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert types(ours)[-1] == "integrity_failed"


# The head, and the end


def test_each_flush_vouches_for_the_log_as_far_as_it_was_read(site: Site, ours: Process) -> None:
    used(ours)
    site.clock.pass_time(FLUSH_SECONDS)
    ours.node.recorder.tick()
    assert sealed_position(ours) == ours.ledger.inner.head() == 2


def test_closing_writes_every_batch_the_summary_and_the_head(site: Site, ours: Process) -> None:
    uses = ours.node.verifier._uses
    used(ours, 3)
    for number in range(2 * BATCH):
        uses.count(entry_of(number), site.clock.nanos(), None)
    ours.node.records.incidents.note("keyring", "system", "problem")
    ours.node.recorder.close()
    assert written(ours) == 3
    assert types(ours)[-2:] == ["integrity_failed", "key_used"]
    assert sealed_position(ours) == ours.ledger.inner.head()
    assert not uses.flush(lambda _: None)
    assert ours.ledger.calls["record_uses"] == 3


def test_closing_without_a_store_says_what_is_lost_and_ends(
    ours: Process, caplog: pytest.LogCaptureFixture
) -> None:
    used(ours)
    ours.ledger.fail(StorageError("gone"))
    with caplog.at_level(logging.WARNING, "keyturn.recorder"):
        ours.node.recorder.close()
    assert "could not be written" in caplog.text


def test_a_flush_writes_what_was_counted_so_far_and_ends_though_others_go_on(ours: Process) -> None:
    key = ours.issue(owner="acme")
    assert ours.ask(key)

    def somebody_else() -> None:
        if ours.ledger.calls["record_uses"] > 50:
            raise RuntimeError("the flush does not end")
        assert ours.ask(key)

    ours.ledger.always("record_uses", somebody_else)
    ours.node.recorder.flush()
    assert written(ours) >= 1


# What could not be kept


def losses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of it."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def lose(process: Process, counts: int = 0, findings: int = 0) -> None:
    process.node.verifier._uses.dropped += counts
    process.node.records.incidents.dropped += findings


def test_what_could_not_be_kept_is_said_when_it_grows_but_not_each_second(
    site: Site, ours: Process, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    used(ours)
    ours.ledger.fail(StorageError("gone"))
    with caplog.at_level(logging.ERROR, "keyturn.recorder"):
        for counts, findings in ((0, 0), (1, 0), (0, 0), (1, 0), (0, 2), (3, 0), (3, 0)):
            lose(ours, counts, findings)
            site.clock.pass_time(RETRY_SECONDS)
            ours.node.recorder.tick()
            said.append(len(losses(caplog)))
    assert said == [0, 1, 1, 1, 2, 2, 3], "each time that there are more than twice as many"
    assert "8 counts of verifications and 2 findings" in losses(caplog)[-1]


def test_what_could_not_be_kept_is_said_at_the_end(ours: Process, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "keyturn.recorder"):
        ours.node.recorder.close()
        assert losses(caplog) == []
        lose(ours, 5, 1)
        ours.node.recorder.close()
    (said,) = losses(caplog)
    assert "5 counts of verifications and 1 findings" in said
