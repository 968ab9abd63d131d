"""A few threads that give each tenant its turn, so that nobody's receivers keep the notices of others waiting.

    crew = Crew(serve)
    crew.take_on([Job(endpoint, is_doubtful=False)])
    while crew.is_busy:
        outcome = crew.outcome(1.0)

Tenants have their turns one after the other. One tenant never has more than half of the threads, and neither have
the endpoints that failed or were slow when last tried, all together: of those a tenant, or many, may have any number.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Final, Generic, NamedTuple, TypeVar

from keyturn.domain.notices.endpoint import Endpoint

THREADS: Final = 8
_HALF: Final = THREADS // 2

_T = TypeVar("_T")


class Job(NamedTuple):
    """An endpoint that has something due.

    Attributes:
        is_doubtful: whether it failed or was slow when last tried; such come after the others.
    """

    endpoint: Endpoint
    is_doubtful: bool

    @property
    def endpoint_id(self) -> str:
        """The endpoint's id."""
        return self.endpoint.endpoint_id

    @property
    def tenant(self) -> str:
        """The endpoint's tenant."""
        return self.endpoint.tenant


class Crew(Generic[_T]):
    """Does jobs until there are none: `serve` gets each, with what takes outcomes while it is at it."""

    def __init__(self, serve: Callable[[Job, Callable[[_T], None]], None]) -> None:
        self._serve = serve
        self._lock = threading.Lock()
        self._waiting = _Turns(), _Turns()
        self._at_work: Counter[str] = Counter()
        self._doubtful = 0
        self._outcomes: SimpleQueue[_T | Exception | None] = SimpleQueue()
        self._open = 0  # jobs whose end has not been seen

    @property
    def is_busy(self) -> bool:
        """Whether there are outcomes to come."""
        return self._open > 0

    def take_on(self, jobs: Iterable[Job]) -> None:
        """Do these too."""
        with self._lock:
            for job in jobs:
                self._open += 1
                self._waiting[job.is_doubtful].put(job)
        self._employ()

    def outcome(self, seconds: float) -> _T | None:
        """The next outcome; None where none came for so long. Whatever a job raises, this raises."""
        try:
            found = self._outcomes.get(timeout=seconds)
        except Empty:
            return None
        if found is None:
            self._open -= 1
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def drop(self) -> list[Job]:
        """Begin no other job; those that were not begun."""
        with self._lock:
            dropped = [job for turns in self._waiting for job in turns.clear()]
            self._open -= len(dropped)
            return dropped

    def _employ(self) -> None:
        """Begin what may begin, each in a thread of its own: beside what a job takes that costs nothing."""
        with self._lock:
            while job := self._next():
                self._at_work[job.tenant] += 1
                self._doubtful += job.is_doubtful
                name = f"keyturn-notice-{job.endpoint_id}"
                threading.Thread(target=self._do, args=(job,), name=name, daemon=True).start()

    def _next(self) -> Job | None:
        if self._at_work.total() >= THREADS:
            return None
        sound, doubtful = self._waiting
        job = sound.take(self._has_room)
        if job is None and self._doubtful < _HALF:
            job = doubtful.take(self._has_room)
        return job

    def _has_room(self, tenant: str) -> bool:
        return self._at_work[tenant] < _HALF

    def _do(self, job: Job) -> None:
        try:
            self._serve(job, self._outcomes.put)
        except Exception as error:  # noqa: BLE001 - it is raised where the outcome is waited for
            self._outcomes.put(error)
        finally:
            with self._lock:
                self._at_work[job.tenant] -= 1
                self._doubtful -= job.is_doubtful
            self._outcomes.put(None)
            self._employ()


class _Turns:
    """Jobs in the order of their tenants' turns."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Job]] = OrderedDict()

    def put(self, job: Job) -> None:
        self._of.setdefault(job.tenant, deque()).append(job)

    def take(self, has_room: Callable[[str], bool]) -> Job | None:
        """The job of the tenant whose turn it is, of those that have room."""
        for tenant, jobs in self._of.items():
            if has_room(tenant):
                job = jobs.popleft()
                if jobs:
                    self._of.move_to_end(tenant)
                else:
                    del self._of[tenant]
                return job
        return None

    def clear(self) -> list[Job]:
        dropped = [job for jobs in self._of.values() for job in jobs]
        self._of.clear()
        return dropped
