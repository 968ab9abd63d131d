"""What a process does beside answering, each in a thread: follow the log, write down what it counted, keep house."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Final

from keyturn.bootstrap import Node
from keyturn.domain.notices.announcements import DEFAULT_TERMS, Terms
from keyturn.errors import IntegrityError, KeyturnError
from keyturn.ports.notifier import Notifier

# Reads of the log within max_staleness: one may fail, or be late, without a stale answer.
POLLS_A_BOUND: Final = 4
_RECORDER_SECONDS: Final = 0.25
_HOUSEKEEPING_SECONDS: Final = 60
_ROTATION_SECONDS: Final = 30
# After a downtime all is due at once: so much is done, and then the store is left to others until the next turn.
_ROTATIONS_A_RUN: Final = 1_000
_NOTICE_SECONDS: Final = 1.0
_ANNOUNCING_SECONDS: Final = 600  # whether an hour has passed since the last sweep stands in the store
_PAGE_SECONDS: Final = 0.05  # between two pages, so that whoever asks meanwhile hardly waits
_AGAIN_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 5.0

_log = logging.getLogger("keyturn.background")


class Background:
    """The threads of one process; `stop` ends them. Notices are delivered by `notifiers`, where there are any."""

    def __init__(
        self,
        node: Node,
        notifiers: Mapping[str, Notifier] | None = None,
        *,
        announced: Terms = DEFAULT_TERMS,
    ) -> None:
        self._node = node
        self._announced = announced
        self._notifiers = notifiers or {}
        self._poll = node.verifier.max_staleness / POLLS_A_BOUND
        self._stopping = threading.Event()
        duties = [self._follow_log, self._record, self._keep_house, self._rotate, self._announce]
        duties += [self._notify] if self._notifiers else []
        self._threads = [self._thread(duty) for duty in duties]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them, waiting a little for what they are at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        name = f"keyturn-{target.__name__.strip('_')}"

        def run() -> None:
            while not self._stopping.is_set():
                try:
                    target()
                except Exception:  # noqa: BLE001 - a duty that ended with it would be missed until the next start
                    _log.exception("%s failed, and begins again", name)
                    self._stopping.wait(_AGAIN_SECONDS)
                else:
                    return

        return threading.Thread(target=run, name=name, daemon=True)

    def _follow_log(self) -> None:
        reachable = True
        while not self._stopping.is_set():
            try:
                self._node.records.log.catch_up()
                if not reachable:
                    _log.warning("the store answers again")
                reachable = True
                self._node.ledger.wait_for_news(self._poll)
            except IntegrityError:
                return  # the log does not hold: reported where it was found, and nothing is answered any more
            except KeyturnError as error:
                if reachable:
                    _log.warning("the log cannot be read: %s", error)
                reachable = False
                self._stopping.wait(self._poll / POLLS_A_BOUND)

    def _record(self) -> None:
        while not self._stopping.wait(_RECORDER_SECONDS):
            self._node.recorder.tick()

    def _keep_house(self) -> None:
        while not self._stopping.wait(_about(_HOUSEKEEPING_SECONDS)):
            for duty, what in (
                (self._node.lifecycle.expire_all, "expired keys could not be recorded"),
                (self._node.answers.forget_expired, "answers that have expired could not be deleted"),
            ):
                try:
                    duty()
                except KeyturnError as error:
                    _log.warning("%s yet: %s", what, error)

    def _rotate(self) -> None:
        """Do what rotation has due; whatever is not done when this ends stays due, for whoever comes next."""
        while not self._stopping.wait(_about(_ROTATION_SECONDS)):
            try:
                for event in self._node.rotation.scheduler.work(_ROTATIONS_A_RUN):
                    _log.info("%s: key %s, stage %s", event.type, event.key_id, event.stage)
                    if self._stopping.is_set():
                        return
                self._node.backlog.look()
            except KeyturnError as error:
                _log.warning("rotations that are due could not all be carried on: %s", error)

    def _announce(self) -> None:
        """Announce what is due; where this ends on the way, the next one goes on from there."""
        # Soon after the start, or what only runs for a short time now and then would never come to it.
        wait = _NOTICE_SECONDS
        while not self._stopping.wait(wait):
            wait = _ANNOUNCING_SECONDS / 2 + secrets.randbelow(_ANNOUNCING_SECONDS)
            try:
                for count in self._node.announcer.sweep(self._announced):
                    if count:
                        _log.info("%s things were announced", count)
                    if self._stopping.wait(_PAGE_SECONDS):
                        return
            except KeyturnError as error:
                _log.warning("what is due could not all be announced yet: %s", error)

    def _notify(self) -> None:
        """Deliver the notices that are due; whatever is not delivered when this ends is delivered by the next."""
        while not self._stopping.wait(_NOTICE_SECONDS):
            try:
                for delivery in self._node.notices.deliverer.work(self._notifiers, self._stopping.is_set):
                    outcome = delivery.outcome
                    if not outcome.delivered:
                        _log.warning(
                            "the entry %s could not be told to %s: %s",
                            delivery.position,
                            delivery.endpoint_id,
                            outcome.why,
                        )
            except KeyturnError as error:
                _log.warning("notices could not all be delivered: %s", error)


def _about(seconds: int) -> float:
    """Half as long to one and a half times: nodes that started together do not all do the same at the same time."""
    return seconds / 2 + secrets.randbelow(seconds * 1_000) / 1_000
