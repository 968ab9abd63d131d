"""Notices by calling a function of this process.

    notifier = CallingNotifier({"audit": lambda message: archive(message.id, message.body)})

It is for endpoints with the URL `call:audit`. What the function returns says nothing; what it raises is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keyturn.domain.notices.destination import Destination
from keyturn.ports.notifier import Message, Outcome

Receive = Callable[[Message], object]


class CallingNotifier:
    """Calls the function of an endpoint's name."""

    def __init__(self, functions: Mapping[str, Receive]) -> None:
        self._functions = dict(functions)

    def takes(self, to: Destination) -> bool:
        return to.name in self._functions

    def deliver(self, message: Message) -> Outcome:
        """Call it."""
        function = self._functions[message.to.name]
        try:
            function(message)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the notice has not been taken
            return Outcome(False, f"the callable raised {type(error).__name__}")
        return Outcome(True)
