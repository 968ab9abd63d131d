"""Pausing what other threads are at before a fork, and going on, or beginning anew, on the two sides of it.

    survive_forks(self)     # an object with `pause`, `resume` and `start_afresh`

Of the threads only the one that forks exists in the child: locks that others held there are held for ever, and what
they had half done stays so. What the parent has yet to write is the parent's to write.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["survive_forks"]


class _Forkable(Protocol):
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def start_afresh(self) -> None: ...


class _Registry:
    def __init__(self) -> None:
        self._members: weakref.WeakSet[_Forkable] = weakref.WeakSet()
        self._paused: list[_Forkable] = []
        self._one_fork = threading.Lock()

    def add(self, member: _Forkable) -> None:
        self._members.add(member)

    def before(self) -> None:
        self._one_fork.acquire()
        for member in list(self._members):
            member.pause()
            self._paused.append(member)

    def in_parent(self) -> None:
        while self._paused:
            self._paused.pop().resume()
        self._one_fork.release()

    def in_child(self) -> None:
        self._one_fork = threading.Lock()
        self._paused.clear()
        for member in list(self._members):
            member.start_afresh()


_REGISTRY = _Registry()
os.register_at_fork(
    before=_REGISTRY.before, after_in_parent=_REGISTRY.in_parent, after_in_child=_REGISTRY.in_child
)


def survive_forks(member: _Forkable) -> None:
    """Call `pause` before every fork from now on, then `resume` in the parent and `start_afresh` in the child."""
    _REGISTRY.add(member)
