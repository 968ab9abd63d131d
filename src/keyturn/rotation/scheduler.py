"""Doing what is due: the next steps of rotations that are under way, and new ones. Any number of processes may do it.

Nothing that matters is kept between two runs but what is in the store, so that it makes no difference who goes on, or
when. Each step is a commit that requires the rows it was decided from: of two schedulers one loses, and goes on with
the next key. Steps and new rotations take turns, a page each, and so do the policies of all tenants: none that has
much to do keeps others waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, TypeVar

from keyturn.errors import InvalidInputError
from keyturn.rotation.advancing import Advancing
from keyturn.rotation.beginning import Beginning
from keyturn.rotation.events import RotationEvent

_PAGE: Final = 100  # rows read at a time
_T = TypeVar("_T")


class Scheduler:
    """Works off what is due, in every tenant, a page at a time."""

    def __init__(self, *, advancing: Advancing, beginning: Beginning) -> None:
        self._advancing = advancing
        self._beginning = beginning

    def work(self, limit: int | None = None) -> Iterator[RotationEvent]:
        """Do what is due, at most `limit` things, and give each as soon as it is done.

        Stop taking, and the rest stays due. What cannot be done now is given as ``rotation_failed`` without a
        rotation, once for each time that it was due, does not count as a thing done, and is tried again the next time.
        StorageError where the store does not answer.
        """
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidInputError("limit is a whole number from 0, or absent", field="limit")
        if limit == 0:
            return
        done, page = 0, _PAGE if limit is None else max(1, min(_PAGE, limit // 2))
        for events in _in_turn(self._advancing.pages(page), self._beginning.pages(page)):
            for event in events:
                yield event
                done += event.rotation_id is not None
                if done == limit:
                    return


def _in_turn(*sources: Iterator[_T]) -> Iterator[_T]:
    """One of each, again and again, until there are no more."""
    waiting = deque(sources)
    while waiting:
        source = waiting.popleft()
        for found in source:
            yield found
            waiting.append(source)
            break
