"""Questions to a server that wait together travel together: one request costs much more than what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyturn.domain.verdict import Verification
from keyturn.errors import KeyturnError
from keyturn.integrations.answers import Asked
from keyturn.integrations.required import Required

# Under way at once; further questions wait for the first of them. A request takes a millisecond of the processor, each
# question in it microseconds: with more under way each carries fewer questions, and fewer are answered a second.
MAX_REQUESTS: Final = 2
MAX_TOGETHER: Final = 100


@dataclass(frozen=True, slots=True)
class Question:
    """A token, what it must be good for, and where it comes from."""

    token: str = field(repr=False)
    required: Required
    ip: str | None

    @property
    def asked(self) -> Asked:
        """The same, without the secret."""
        return Asked.of(self.token, self.required, self.ip)


class _Waiting:
    """Those who wait for one answer."""

    __slots__ = ("answer", "count")

    def __init__(self) -> None:
        self.answer: asyncio.Future[Verification] = asyncio.get_running_loop().create_future()
        self.count = 0


AskAll = Callable[[Sequence[Question]], Awaitable[Sequence[Verification | KeyturnError]]]


class Together:
    """Asks for the requests of one event loop. `ask_all` gives answers and errors in order, or raises for all."""

    def __init__(self, ask_all: AskAll) -> None:
        self._ask_all = ask_all
        self._under_way: set[asyncio.Task[None]] = set()
        self._waiting: dict[Question, _Waiting] = {}

    async def ask(self, question: Question) -> Verification:
        """The answer; those who ask the same before it has been sent share it."""
        waiting = self._waiting.get(question)
        if waiting is None:
            waiting = self._waiting[question] = _Waiting()
            self._send_on()
        waiting.count += 1
        try:
            # One who gives up must not take it from the others.
            return await asyncio.shield(waiting.answer)
        finally:
            waiting.count -= 1
            # What nobody waits for any more must not go before what somebody does, nor be kept for ever.
            if waiting.count == 0 and self._waiting.get(question) is waiting:
                del self._waiting[question]

    def _send_on(self) -> None:
        if not self._waiting or len(self._under_way) >= MAX_REQUESTS:
            return
        # The task begins when what is ready to run now has run, and has asked what it has to ask.
        task = asyncio.get_running_loop().create_task(self._send())
        self._under_way.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send_on()

    def _taken(self) -> dict[Question, _Waiting]:
        """The questions that go next: of one requirement, so that one the server refuses concerns no other route."""
        if not self._waiting:
            return {}
        required = next(iter(self._waiting)).required
        same = [question for question in self._waiting if question.required == required][:MAX_TOGETHER]
        return {question: self._waiting.pop(question) for question in same}

    async def _send(self) -> None:
        answers = self._taken()
        if not answers:
            return  # those that were there have gone with others
        try:
            found: Sequence[Verification | Exception] = await self._ask_all(list(answers))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            found = [error] * len(answers)
        for waiting, said in zip(answers.values(), found, strict=True):
            answer = waiting.answer
            if isinstance(said, Exception):
                answer.set_exception(said)
                answer.exception()  # whoever waits has seen it; nobody may have
            else:
                answer.set_result(said)
