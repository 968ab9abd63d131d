"""Imported hashes that have to be computed: in threads of their own, bounded, while everything else goes on."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keyturn.crypto import slow_hashes
from keyturn.crypto.slow_hashes import Salted
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, StorageError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.serving.deciding import COMPUTING_THREADS, MAX_COMPUTATIONS
from tests.fakes import BY, Process
from tests.imported import FORMS, SLOW, TOKEN, WRONG
from tests.unit.server.test_deciding import ask, ask_all, deciding, hanging, in_time, running

COSTLY: Final = "costly_0123456789abcdef"


def take_in(process: Process, form: str) -> None:
    process.node.issuer.issue(FORMS[form](SecureKeyGenerator(clock=process.clock)), BY)


class Computing:
    """Computations that wait until they are let go."""

    def __init__(self) -> None:
        self.count = 0
        self.most = 0
        self.may_go_on = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()

    def matches_of(self) -> Callable[[Salted, Secret], bool]:
        """In place of a method of the hash: a bound one would not be given the hash."""

        def matches(slow: Salted, token: Secret) -> bool:
            return self._matches(slow, token)

        return matches

    def _matches(self, slow: Salted, token: Secret) -> bool:
        with self._lock:
            self.count += 1
            self._at_once += 1
            self.most = max(self.most, self._at_once)
        assert self.may_go_on.wait(20)
        with self._lock:
            self._at_once -= 1
        data = slow.salt + token.reveal_bytes()
        return hashlib.new(slow.algorithm, data).digest() == slow.digest


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Computing]:
    """What tests hold up of salted hashes: nothing else here is slow for certain."""
    held = Computing()
    monkeypatch.setattr(slow_hashes.Salted, "matches", held.matches_of())
    yield held
    held.may_go_on.set()


@contextmanager
def imported(process: Process, count: int) -> Iterator[list[str]]:
    """Salted hashes of so many tokens."""
    texts = [f"many_{number:04}_0123456789" for number in range(count)]
    generator = SecureKeyGenerator(clock=process.clock)
    batch = [
        generator.import_token_hash(
            hashlib.sha256(b"s" + text.encode()).hexdigest(), salt=b"s", start=text[:10]
        )
        for text in texts
    ]
    process.node.issuer.issue_all(batch, BY)
    yield texts


def test_warm_keys_are_answered_while_a_costly_hash_is_computed(ours: Process) -> None:
    key = ours.issue()
    assert ours.ask(key)
    encoded = Argon2id(
        salt=b"s" * 16, length=32, iterations=2, lanes=1, memory_cost=262_144
    ).derive_phc_encoded(COSTLY.encode())
    generator = SecureKeyGenerator(clock=ours.clock)
    ours.node.issuer.issue(generator.import_token_hash(encoded, algorithm="argon2id", start=COSTLY[:10]), BY)

    async def test() -> tuple[str, int]:
        async with deciding(ours) as decider:
            costly = asyncio.ensure_future(ask(decider, COSTLY))
            answered = 0
            while not costly.done():
                assert await ask(decider, key) == "valid"
                answered += bool(decider._computations.pending)
                await asyncio.sleep(0)
            return await costly, answered

    code, answered = running(test)
    assert code == "valid"
    assert answered > 20, "it takes some tenths of a second, in which the loop went on"


def test_requests_for_one_token_share_its_computation(ours: Process, computing: Computing) -> None:
    with imported(ours, 1) as (text,):

        async def test() -> None:
            async with deciding(ours) as decider:
                asked = asyncio.gather(*(ask(decider, text) for _ in range(50)))
                await in_time(lambda: computing.count)
                await asyncio.sleep(0.02)
                computing.may_go_on.set()
                assert Counter(await asked) == {"valid": 50}
                assert computing.count == 1

        running(test)


def test_one_credential_is_computed_for_one_caller_at_a_time(ours: Process, computing: Computing) -> None:
    with imported(ours, 1) as (text,):
        guesses = [f"{text[:-1]}{letter}" for letter in "abcdef"]

        async def test() -> None:
            async with deciding(ours) as decider:
                asked = asyncio.gather(*(ask(decider, guess) for guess in (*guesses, text)))
                await in_time(lambda: computing.count)
                await asyncio.sleep(0.05)
                assert computing.most == 1
                computing.may_go_on.set()
                assert Counter(await asked) == {"not_found": 6, "valid": 1}

        running(test)
    assert computing.most == 1


def test_computations_leave_the_threads_that_load_alone(ours: Process, computing: Computing) -> None:
    key = ours.issue()
    with imported(ours, 8) as texts:

        async def test() -> None:
            async with deciding(ours) as decider:
                asked = asyncio.ensure_future(ask_all(decider, texts))
                await in_time(lambda: computing.count == COMPUTING_THREADS)
                assert await ask(decider, key) == "valid"
                computing.may_go_on.set()
                assert list((await asked).items()) == [("valid", 8)]

        running(test)
    assert computing.most == COMPUTING_THREADS == 2


def test_past_so_many_computations_one_more_is_throttled(ours: Process, computing: Computing) -> None:
    with imported(ours, MAX_COMPUTATIONS + 1) as texts:

        async def test() -> None:
            async with deciding(ours) as decider:
                asked = asyncio.ensure_future(ask_all(decider, texts[:-1]))
                await in_time(lambda: len(decider._computations.pending) == MAX_COMPUTATIONS)
                assert await ask(decider, texts[-1]) == "throttled"
                computing.may_go_on.set()
                assert list((await asked).items()) == [("valid", MAX_COMPUTATIONS)]

        running(test)


def test_those_who_do_not_know_of_imports_share_one_glance_and_the_loop_makes_none(ours: Process) -> None:
    ours.issue()
    glances = ours.ledger.calls["has_credential_from"]

    async def test() -> None:
        async with deciding(ours) as decider:
            with hanging(ours, "has_credential_from") as may_go_on:
                asked = asyncio.gather(
                    *(ask(decider, f"garbage-{number:08}-garbage") for number in range(600))
                )
                await in_time(lambda: ours.ledger.calls["has_credential_from"] > glances)
                may_go_on.set()
                assert Counter(await asked) == {"malformed": 600}
            assert ours.ledger.calls["has_credential_from"] == glances + 1
            assert ours.ledger.calls["read_credentials"] == 0

    running(test)


@pytest.mark.parametrize("form", ["token", "sha512 hex", *list(SLOW)[:1], "argon2id"])
def test_a_loop_answers_as_a_thread_does(ours: Process, form: str) -> None:
    take_in(ours, form)

    async def test() -> list[Any]:
        async with deciding(ours) as decider:
            return [await ask(decider, text) for text in (WRONG, TOKEN, TOKEN, WRONG, "short")]

    assert running(test) == ["not_found", "valid", "valid", "not_found", "malformed"]


@pytest.mark.parametrize("method", ["has_credential_from", "read_credentials"])
def test_a_store_that_does_not_answer_makes_imported_tokens_stale(ours: Process, method: Any) -> None:
    take_in(ours, "token")

    async def test() -> list[Any]:
        codes = []
        async with deciding(ours) as decider:
            for error in (StorageError("away"), IntegrityError("altered")):
                ours.ledger.fail(error, method)
                codes.append(await ask(decider, TOKEN))
                codes.append(ours.ask(TOKEN).code)
                ours.ledger.work_again()
        return codes

    assert running(test) == ["stale", "stale", "integrity_failed", "integrity_failed"]
