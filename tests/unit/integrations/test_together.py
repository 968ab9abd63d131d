"""Questions that come one after the other while a server is being asked: how they travel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from keyturn.domain.verdict import Code, Verification
from keyturn.integrations.required import Required
from keyturn.integrations.together import Question, Together


def test_those_that_come_while_two_requests_are_under_way_go_in_a_third() -> None:
    """A request costs an application many times what a question in it does."""
    requests: list[int] = []

    async def visit() -> list[Verification]:
        answered = asyncio.Event()

        async def ask_all(questions: Sequence[Question]) -> list[Verification]:
            requests.append(len(questions))
            await answered.wait()
            return [Verification(Code.VALID, "log:1")] * len(questions)

        together, asked = Together(ask_all), []
        for number in range(40):
            question = Question(f"token {number}", Required(), None)
            asked.append(asyncio.create_task(together.ask(question)))
            for _ in range(3):
                await asyncio.sleep(0)
        answered.set()
        return await asyncio.gather(*asked)

    assert all(asyncio.run(visit()))
    assert requests == [1, 1, 38]
